"""`Opener`: opens envelopes for one reader.

    bytes --locate--> Located --admit--> Admitted --unlock--> Unlocked --read--> Read
          --release--> Message, or View

Only `Opener._release` makes a `Message` or `View` from an envelope. It performs steps 11 to 16 of
the specification ("Opening order") in their order. The replay mark is the last check, so that a
refused message leaves no mark (E-72, E-89).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar

from xkeymsg import native
from xkeymsg.ambient import now_ns
from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.display import SafeRepr
from xkeymsg.envelope import open as reading
from xkeymsg.envelope.admission import Admit, Senders, admission_of, knows_users
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayMemory, ReplayState, StreamPosition
from xkeymsg.envelope.subject import Matcher, matcher
from xkeymsg.envelope.unlock import Read, admit, locate
from xkeymsg.errors import (
    ConfigurationError,
    ExpiredError,
    SignatureMissingError,
    SubjectMismatchError,
    XKeyMsgError,
)
from xkeymsg.fields.join import join
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.limits import AtRest, Limits, Live, Replay, Stream
from xkeymsg.misuse import Usage
from xkeymsg.models import conversion
from xkeymsg.refusals import redact, refusing

__all__ = ("DOCUMENT", "PAYLOAD", "Form", "Opener", "View")

_Model = TypeVar("_Model")
_Content = TypeVar("_Content")
_Made = TypeVar("_Made", bound=Message)


class View(Message):
    """The fields of a document that one reader may see, with the attributes of a message."""

    __slots__ = ("document", "withheld")

    def __init__(
        self,
        head: Head,
        document: tuple[Any, int],
        admitted: bool,
        signer: str | None,
        content_type: str | None,
        headers: Headers,
    ) -> None:
        super().__init__(head, b"", admitted, signer, content_type, headers)
        self.document = document[0]
        """The fields that this reader may see; lists hold `WITHHELD` instead of withheld items."""
        self.withheld = document[1]
        """The number of parts of the document that this reader may not see."""

    @refusing
    def into(self, model: type[_Model]) -> _Model:
        """Return the document as an instance of a dataclass, pydantic model or msgspec Struct.

        The document is always validated, so that validators run again on what the sender's model
        has validated. Fields of dataclasses get exactly the annotated types.

        The model must have a default for every withheld field; in the result, a withheld field
        cannot be told from one with that value. A list may be shorter than the sender's, and a list
        with a withheld item is refused unless its items can be anything. The model need not be the
        sender's, nor be annotated with `Readers`.

        Raises:
            PolicyError: If the model has no default for a withheld field; names every such place.
                If a field of a dataclass has an unsupported type.
            MalformedError: If the document does not fit the model; names the first places, and the
                expected types of a dataclass, but no values. Also if a validator raises an error.
            LimitExceededError: If it has more than 4,096 items in sets, or in dicts whose keys are
                not str.
            TypeError: If `model` is not one of these kinds.
        """
        return conversion.into(model, self.document, self.withheld)

    def __repr__(self) -> str:
        return f"<View {self.message_id.hex()}, {self.withheld} parts withheld>"


class Form(NamedTuple, Generic[_Content, _Made]):
    """The kind of content that a call opens: a parser, and a constructor for the result."""

    parse: Callable[[Read, Limits], tuple[_Content, str | None, Headers]]
    make: Callable[[Head, _Content, bool, str | None, str | None, Headers], _Made]


def _document(message: Read, limits: Limits) -> tuple[tuple[Any, int], str | None, Headers]:
    """Join the granted parts of a document; count the withheld ones."""
    contents, content_type, headers = reading.fields(message, limits)
    # Every reader is granted the metadata part, if there is one.
    withheld = len(message.body[1]) - len(message.granted)
    plaintexts = [contents[number] for number in sorted(contents)]
    return (join(plaintexts, limits), withheld), content_type, headers


PAYLOAD: Final = Form(reading.payload, Message)
DOCUMENT: Final = Form(_document, View)


class Opener(SafeRepr):
    """Opens messages for one reader, in one scope: a subscription, or a durable consumer.

        opener = Opener(bob, senders={alice.public})
        message = opener.open(envelope, subject="orders.new")
        view = opener.open_document(envelope, subject="ehr.patients")

    An opener remembers the messages that it opened and refuses them the second time; two
    subscriptions that get the same messages need an opener each. Thread-safe. After a fork, each
    process has its own replay memory.

    An opener for each message is unsafe: it does not know the earlier messages, so that copies of
    them open. A RuntimeWarning reports many openers that have lived for less than a second.
    """

    @refusing
    def __init__(
        self,
        keys: XKeyPair | Keyring,
        senders: Senders | None = None,
        *,
        replay: Replay = Live(),
        require_signature: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """Initialize with the reader's keys and the senders that it admits.

        Args:
            keys: A key pair, or a keyring with retired keys and the reader's user.
            senders: The admitted keys; a mapping from key to user nkey `U…`, if messages must
                name that user; trust; or `ANYONE`. Without it, each call must give `senders`.
            replay: `Live()`, `Stream()`, or `AtRest()`, which switches replay protection off.
            require_signature: Whether to refuse messages that the sender's user has not signed.
            limits: The limits to enforce.

        Raises:
            ConfigurationError: If signatures are required but no sender's user can be known, or an
                argument has an invalid value.
            KeyFormatError: If a user is not a public user key.
            TypeError: If an argument has the wrong type.
        """
        if not isinstance(replay, Live | Stream | AtRest):
            raise TypeError("replay must be Live(), Stream() or AtRest()")
        self._replay, self._limits = replay, replay.limits(limits or Limits())
        self._require_signature = require_signature
        self._admit = None if senders is None else self._admission(senders)
        self.rekey(keys)
        self._usage = Usage()
        self._memory = ReplayMemory(self._limits, now_ns() // 1_000_000)

    def open(
        self,
        envelope: Buffer,
        *,
        subject: str | Iterable[str],
        senders: Senders | None = None,
        wire_subject: str | None = None,
        position: StreamPosition | None = None,
    ) -> Message:
        """Open a payload.

        Args:
            envelope: The received bytes; they need not be trusted.
            subject: The subject it may be sealed for: exact, a NATS pattern, or several.
            senders: The admitted senders, instead of the opener's.
            wire_subject: The subject on which the broker delivered it, if the sealed subject must
                equal it.
            position: The message's position in a stream, from JetStream's own metadata: the same
                message at the same position is a redelivery. Call `settle` before acknowledging it,
                and `release` after a negative acknowledgement.

        Raises:
            XKeyMsgError: Any of `EnvelopeError` and `OpenError`; `code` says which check failed,
                `public_code` is what others may learn. It contains no plaintext.
            ConfigurationError: If neither the opener nor the call gives `senders`; or if
                `Stream()` needs a position, or `AtRest()` has one.
            TypeError: If an argument has the wrong type.
        """
        now_ms = now_ns() // 1_000_000
        try:
            return self._open(now_ms, envelope, PAYLOAD, subject, senders, wire_subject, position)
        except Exception as error:
            redact(error)
            raise

    def open_document(
        self,
        envelope: Buffer,
        *,
        subject: str | Iterable[str],
        senders: Senders | None = None,
        wire_subject: str | None = None,
        position: StreamPosition | None = None,
    ) -> View:
        """Open the fields of a document that this reader may see.

        Args:
            envelope: As for `open`.
            subject: As for `open`.
            senders: As for `open`.
            wire_subject: As for `open`.
            position: As for `open`.

        Raises:
            NotARecipientError: If this reader may see no field.
            XKeyMsgError: As for `open`.
            TypeError: As for `open`.
        """
        now_ms = now_ns() // 1_000_000
        try:
            return self._open(now_ms, envelope, DOCUMENT, subject, senders, wire_subject, position)
        except Exception as error:
            redact(error)
            raise

    def rekey(self, keys: XKeyPair | Keyring) -> None:
        """Replace the keys of the same reader; the replay memory is kept.

        Raises:
            TypeError: If an argument has the wrong type.
        """
        keyring = Keyring.of(keys)
        self._public = keyring.active.public
        self._unlocker = native.unlocker(keyring, self._limits)

    def settle(self, message: Message, *, handled: bool = True) -> None:
        """End the handling of a message of a stream, before it is acknowledged.

        A handled message never opens again here, unless it was forgotten before it was settled
        because more than `Limits.replay_pending` messages were pending. With `handled=False` the
        message is forgotten and opens again at any position. A rejected message counts as handled.

        Raises:
            TypeError: If an argument has the wrong type.
        """
        self._memory.settle(_head_of(message), handled=handled)

    def release(self, message: Message) -> None:
        """Keep a message pending for its redelivery, after a negative acknowledgement.

        Raises:
            TypeError: If the argument has the wrong type.
        """
        self._memory.release(_head_of(message))

    def replay_state(self) -> ReplayState:
        """Return how full the replay memory is, for metrics."""
        return self._memory.state(now_ns() // 1_000_000)

    def _admission(self, senders: Senders) -> Admit:
        if self._require_signature and not knows_users(senders):
            raise ConfigurationError("require_signature requires senders with a known user")
        return admission_of(senders)

    def _open(
        self,
        now_ms: int,
        envelope: Buffer,
        form: Form[_Content, _Made],
        subject: str | Iterable[str],
        senders: Senders | None,
        wire_subject: str | None,
        position: StreamPosition | None,
    ) -> _Made:
        """Open at a given time, in milliseconds since 1970."""
        envelope = as_bytes("an envelope", envelope)
        if wire_subject is not None or position is not None:
            _check_place(wire_subject, position)
        if isinstance(self._replay, Stream if position is None else AtRest):
            raise ConfigurationError("Stream() requires a position, AtRest() allows none")
        admission = self._admit if senders is None else self._admission(senders)
        if admission is None:
            raise ConfigurationError("no senders: pass senders=…, or ANYONE")
        expected = matcher(subject)
        unlocked = self._unlocker.unlock(admit(locate(envelope, self._limits), admission))
        try:
            message = reading.read(unlocked, self._limits)
            return self._release(now_ms, message, form, expected, wire_subject, position)
        except XKeyMsgError as error:
            error.public_code = "refused"  # a wrap has verified (E-90)
            raise

    def _release(
        self,
        now_ms: int,
        message: Read,
        form: Form[_Content, _Made],
        expected: Matcher,
        wire_subject: str | None,
        position: StreamPosition | None,
    ) -> _Made:
        """Perform steps 11 to 16; nothing else makes a message from an envelope."""
        (_, head, admission, _, _), (parse, make) = message, form
        _, _, _, _, subject, _, _, expires_ms = head
        if not expected(subject):
            raise SubjectMismatchError("sealed for an unexpected subject")
        if wire_subject is not None and wire_subject != subject:
            raise SubjectMismatchError("the subject of delivery differs from the sealed subject")
        content, content_type, headers = parse(message, self._limits)
        if expires_ms is not None and now_ms >= expires_ms:
            raise ExpiredError("expired: the sender limited how long the message may be opened")
        once = type(self._replay) is not AtRest
        if once:
            self._memory.check_fresh(head, position, now_ms=now_ms)
        signer = reading.signer_of(message) if admission.users else None
        if signer is None and (self._require_signature or admission.always_signs):
            raise SignatureMissingError("not signed by a known user of the sender")
        if once:
            self._usage.check(head, position)
            self._memory.mark(head, position, admitted=admission.admitted, now_ms=now_ms)
        return make(head, content, admission.admitted, signer, content_type, headers)

    def __repr__(self) -> str:
        return f"<Opener for {self._public}>"


def _head_of(message: object) -> Head:
    if not isinstance(message, Message):
        raise TypeError(f"expected a Message, not {type(message).__name__}")
    return message._head  # noqa: SLF001 - made here


def _check_place(wire_subject: object, position: object) -> None:
    # A value that is not a str equals no subject: that is the caller's fault, not the message's.
    if wire_subject is not None and not isinstance(wire_subject, str):
        raise TypeError(f"a wire subject must be a str, not {type(wire_subject).__name__}")
    if position is not None and not isinstance(position, StreamPosition):
        raise TypeError(f"a position must be a StreamPosition, not {type(position).__name__}")
    if position is not None and [type(each) for each in position] != [str, int, int]:
        raise TypeError("a position must hold a str and two ints")
