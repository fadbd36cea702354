"""Opening, in the order of the specification ("Opening order"); the first check that fails counts.

`unlocking` finds and opens our wrap (steps 1 to 7). Behind it every byte is the sender's, who may
still be malicious, and here is what it says (steps 8 to 16). Nothing of the plaintext is released
before all of it has passed, and the mark against replay is the last check, so that what is refused
leaves none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import count
from typing import Final, Generic, Literal, NamedTuple, TypeVar
from warnings import warn

from xkeymsg import nkey, primitives
from xkeymsg.ambient import monotonic, now_ns
from xkeymsg.envelope import derive, frame
from xkeymsg.envelope.admission import (
    Admission,
    Admit,
    Senders,
    admission_of,
    knows_users,
)
from xkeymsg.envelope.content import Headers, PartType, decode_message_array, unpadded
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import LiveMemory, StreamMemory, StreamPosition
from xkeymsg.envelope.subject import matcher
from xkeymsg.envelope.unlocking import Unlocked, Unlocker
from xkeymsg.errors import (
    AuthenticationError,
    CommitmentError,
    ConfigurationError,
    ContentTypeError,
    ExpiredError,
    MalformedError,
    SignatureInvalidError,
    SignatureMissingError,
    SubjectMismatchError,
    XKeyMsgError,
)
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.refusals import bare, refusing
from xkeymsg.shown import safe_repr

__all__ = ("NO_HEADERS", "Opened", "Opener")

_COPIED: Final = 1 << 14
"""Bytes of an envelope up to which parts of it are copied."""

Replay = Literal["live", "file"]

Payload = tuple[bytes, str | None, Headers]
"""Data, content type and headers."""
Fields = tuple[dict[int, bytes], str | None, Headers]
"""The contents of parts by number, content type and headers."""

_BRIEF: Final = 1.0
_MANY: Final = 1000
_brief_openers: Final = count(1)
"""Of openers that lived so briefly, in seconds, the one to warn of."""

_T = TypeVar("_T")


class Opened(NamedTuple, Generic[_T]):
    """What an envelope gave, once all checks have passed."""

    head: Head
    admitted: bool
    signer: str | None
    content: _T

    def __repr__(self) -> str:
        return "<Opened>"  # a NamedTuple would show the plaintext


@safe_repr
class Opener:
    """Opens messages for one reader, in one scope: a subscription, or a durable consumer.

        opener = Opener(bob, senders={alice.public})
        message = opener.open(envelope, subject="orders.new")

    An opener remembers what it has opened, so that nothing opens twice; two subscriptions that get
    the same messages have an opener each. Thread-safe. After a fork each process remembers for
    itself.

    An opener for each message is unsafe: it knows nothing of the messages before, so that copies of
    them open. When many have lived for less than a second, a RuntimeWarning says so.
    """

    @refusing
    def __init__(
        self,
        keys: XKeyPair | Keyring,
        senders: Senders | None = None,
        *,
        replay: Replay = "live",
        max_age: timedelta | None = None,
        require_signature: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """Take the reader's keys, and whom it admits.

        Args:
            keys: A key pair, or a keyring with retired keys and the reader's user.
            senders: The keys that are admitted; a mapping from key to user nkey `U…`, where the
                message has to name that user; trust; or `ANYONE`. Without it, each call says.
            replay: `"live"`: messages are fresh and open once. `"file"`: neither is checked, for
                data at rest. A call with a position has the policy of streams.
            max_age: How old a message may be when it comes, in the place of the limits' value.
            require_signature: Whether to refuse what is not signed by the sender's user.
            limits: What is taken at most.

        Raises:
            ConfigurationError: If signatures are demanded and no sender's user is known, or a value
                makes no sense.
            KeyFormatError: If a user is not a public user key.
            TypeError: If an argument has the wrong type.
        """
        keyring = _keyring(keys)
        self._limits = limits or Limits()
        if max_age is not None:
            self._limits = dataclasses.replace(self._limits, max_age=max_age)
        if replay not in ("live", "file"):
            raise ConfigurationError("replay is 'live' or 'file'; a position makes it a stream's")
        self._replay = replay
        self._require_signature = require_signature
        self._admit = None if senders is None else self._admission(senders)
        self._public = keyring.active.public
        self._unlocker = Unlocker(keyring, self._limits)
        self._live = LiveMemory(self._limits, now_ns() // 1_000_000)
        self._place: tuple[StreamPosition | None, Head | None] = (None, None)
        self._made, self._used = monotonic(), False
        self._stream = StreamMemory(self._limits)

    def open(
        self,
        envelope: bytes,
        *,
        subject: str | Iterable[str],
        senders: Senders | None = None,
        wire_subject: str | None = None,
        position: StreamPosition | None = None,
    ) -> Message:
        """Open a payload.

        Args:
            envelope: What came, from anybody.
            subject: The subject it may be sealed for: exact, a NATS pattern, or several.
            senders: Who may have sealed it, in the place of the opener's.
            wire_subject: What the broker said the subject is, if the sealed one has to be equal.
            position: Where a stream keeps it, from JetStream's own metadata: the same message at
                the same place is a redelivery. Call `settle` when it is acknowledged.

        Raises:
            XKeyMsgError: Any of `EnvelopeError` and `OpenError`; `code` says which check failed,
                `outside` what others may learn of it. Nothing of the plaintext is in it.
            ConfigurationError: If neither the opener nor the call says who may send.
            TypeError: If an argument has the wrong type.
        """
        now_ms = now_ns() // 1_000_000
        try:
            opened = self._open_at(
                now_ms, envelope, self._payload, subject, senders, wire_subject, position
            )
        except XKeyMsgError as error:
            raise bare(error) from None
        head, admitted, signer, (data, content_type, headers) = opened
        return Message(head, data, admitted, signer, content_type, headers)

    def rekey(self, keys: XKeyPair | Keyring) -> None:
        """Take other keys of the same reader, and keep what was remembered against replay.

        Raises:
            TypeError: If an argument has the wrong type.
        """
        keyring = _keyring(keys)
        self._public = keyring.active.public
        self._unlocker = Unlocker(keyring, self._limits)

    def settle(self, message: Message) -> None:
        """Say that a message of a stream was acknowledged or terminated: its mark is final."""
        if not isinstance(message, Message):
            raise TypeError(f"what is settled is a Message, not {type(message).__name__}")
        self._stream.settle(message._head)  # noqa: SLF001 - made here

    def _admission(self, senders: Senders) -> Admit:
        if self._require_signature and not knows_users(senders):
            raise ConfigurationError(
                "signatures can be demanded only of senders whose user is known"
            )
        return admission_of(senders)

    def _open_at(
        self,
        now_ms: int,
        envelope: bytes,
        parse: Callable[[frame.Body, dict[int, bytes]], _T],
        subject: str | Iterable[str],
        senders: Senders | None,
        wire_subject: str | None,
        position: StreamPosition | None,
    ) -> Opened[_T]:
        """Open at a given time, in milliseconds.

        `parse` is step 12: it makes the content of the parts that are granted, by number.
        """
        if type(envelope) is not bytes:
            raise TypeError(f"an envelope is bytes, not {type(envelope).__name__}")
        if wire_subject is not None or position is not None:
            _check_place(wire_subject, position)
        admit = self._admit if senders is None else self._admission(senders)
        if admit is None:
            raise ConfigurationError("say who may send: senders=…, or ANYONE")
        expected = matcher(subject)
        # A slice of bytes is a copy, which costs less than a view where it is short.
        view = envelope if len(envelope) <= _COPIED else memoryview(envelope)
        unlocked = self._unlocker.unlock(envelope, admit, view)
        head, admission, _, _ = unlocked
        try:
            # Steps 8 to 15: what it says. Every byte is the sender's, who may be malicious.
            body, granted = self._decrypt(envelope, view, unlocked)
            if not expected(head.subject):
                raise SubjectMismatchError("sealed for another subject than those expected")
            if wire_subject is not None and wire_subject != head.subject:
                raise SubjectMismatchError("came on another subject than it is sealed for")
            content = parse(body, granted)
            self._check_time(head, position, now_ms)
            signer = self._check_signature(view, head, admission, body)
            self._mark(head, admission, position, now_ms)
        except XKeyMsgError as error:
            error.outside = "refused"  # the sender is proven
            raise
        return tuple.__new__(Opened, (head, admission.admitted, signer, content))

    def _decrypt(
        self, envelope: bytes, view: bytes | memoryview, unlocked: Unlocked
    ) -> tuple[frame.Body, dict[int, bytes]]:
        """Parse the body, and decrypt the parts that are granted: index to plaintext."""
        head, _, (start, end), grant = unlocked
        body = frame.parse_body(envelope, start, end, self._limits)
        views, parts, signature, _, _ = body
        if signature[0] != signature[1] and head.identity is None:
            raise MalformedError("a signature of nobody")
        index, key = grant[0], grant[1:]
        if index >= (len(views) or 1):
            raise MalformedError("a wrap for a view that is not there")
        granted = _open_view(view, body, head, index, key) if views else {0: key}
        ephemeral, nonce = head.ephemeral, head.nonce
        for number, content_key in granted.items():
            _, _, start, end = parts[number]
            keys = derive.part_keys(content_key, ephemeral, nonce, number)
            granted[number] = _open_committed(view, start, end, keys)
        return body, granted

    def _payload(self, body: frame.Body, granted: dict[int, bytes]) -> Payload:
        """Return the data of a payload."""
        kind, padded, _, _ = body.parts[0]
        if kind is not _PAYLOAD and kind is not _MESSAGE:
            raise ContentTypeError("a document, which open_document opens")
        content = unpadded(granted[0]) if padded else granted[0]
        if kind is _PAYLOAD:
            return content, None, NO_HEADERS
        content_type, headers, at = decode_message_array(content, self._limits)
        return content[at:], content_type, headers

    def _fields(self, body: frame.Body, granted: dict[int, bytes]) -> Fields:
        """Return the contents of a document's parts, by number, which the layer above joins."""
        parts = body.parts
        if parts[0].kind in (_PAYLOAD, _MESSAGE):
            raise ContentTypeError("a payload, which open opens")
        fields, array = {}, None
        for number, plaintext in granted.items():
            kind, padded, _, _ = parts[number]
            content = unpadded(plaintext) if padded else plaintext
            if kind is _FIELDS:
                fields[number] = content
            else:
                array = content
        if array is None:
            return fields, None, NO_HEADERS
        content_type, headers, end = decode_message_array(array, self._limits)
        if end != len(array):
            raise MalformedError("something follows the document's metadata")
        return fields, content_type, headers

    def _check_time(self, head: Head, position: StreamPosition | None, now_ms: int) -> None:
        if head.expires_ms is not None and now_ms >= head.expires_ms:
            raise ExpiredError("the sender let it expire")
        if position is not None:
            self._stream.check_fresh(head, position, now_ms=now_ms)
        elif self._replay == "live":
            self._live.check_fresh(head, now_ms=now_ms)

    def _check_signature(
        self, view: bytes | memoryview, head: Head, admission: Admission, body: frame.Body
    ) -> str | None:
        """Return the user whose signature counts, or None.

        Where no user is known for the key, a signature is nobody's: anybody can sign his own
        message, and that proves nothing (E-65).
        """
        start, end = body.signature
        if admission.users and head.identity is not None and start != end:
            digest = primitives.sha256(view[: body.signed_end])
            message, signature = derive.signed_bytes(digest), bytes(view[start:end])
            if not primitives.ed25519_verify(head.identity, message, signature):
                raise SignatureInvalidError("not signed by the sender's user")
            return nkey.encode_public(nkey.Prefix.USER, head.identity)
        if self._require_signature or admission.always_signs:
            raise SignatureMissingError("not signed by a user who is known for the key")
        return None

    def _mark(
        self, head: Head, admission: Admission, position: StreamPosition | None, now_ms: int
    ) -> None:
        self._used = True
        if position is not None:
            self._check_own_place(head, position)
            self._stream.mark(head, position)
        elif self._replay == "live":
            self._live.mark(head, admitted=admission.admitted, now_ms=now_ms)

    def _check_own_place(self, head: Head, position: StreamPosition) -> None:
        """Refuse a position that the message before had: then it is not the broker's metadata."""
        (place, before), self._place = self._place, (position, head)
        if place == position and before is not None and _name(before) != _name(head):
            raise ConfigurationError(
                "two messages with one StreamPosition: each has its own, in its JetStream metadata"
            )

    def __del__(self) -> None:
        """Warn of openers that are made for one message each: a replay opens again in the next."""
        if not getattr(self, "_used", False) or self._replay != "live":
            return
        if monotonic() - self._made < _BRIEF and next(_brief_openers) == _MANY:
            text = f"{_MANY} openers lived less than {_BRIEF:g} s: one for each message is unsafe,"
            warn(f"{text} as replays open again; keep one per subscription", RuntimeWarning, 2)

    def __repr__(self) -> str:
        return f"<Opener for {self._public}>"


NO_HEADERS: Final = Headers()
_PAYLOAD: Final = PartType.PAYLOAD
_MESSAGE: Final = PartType.MESSAGE
_FIELDS: Final = PartType.FIELDS


def _open_view(
    view: bytes | memoryview, body: frame.Body, head: Head, index: int, key: bytes
) -> dict[int, bytes]:
    """Open our view: part index to content key, ascending."""
    start, end = body.views[index]
    keys = derive.view_keys(key, head.ephemeral, head.nonce, index)
    grants = _open_committed(view, start, end, keys)
    granted, last, fields, metadata = dict[int, bytes](), -1, False, False
    for at in range(0, len(grants), frame.GRANT_SIZE):
        part = grants[at]
        if not last < part < len(body.parts):
            raise MalformedError(
                "a view whose parts are not in strictly ascending order, or not there"
            )
        granted[part] = grants[at + 1 : at + frame.GRANT_SIZE]
        last = part
        if body.parts[part].kind is _FIELDS:
            fields = True
        else:
            metadata = True
    if not fields:
        raise MalformedError("a view without fields")
    if body.metadata and not metadata:
        raise MalformedError("a view without the document's metadata")
    return granted


def _open_committed(view: bytes | memoryview, start: int, end: int, keys: bytes) -> bytes:
    """Open `commitment || ciphertext`: first the commitment, on every opening (E-57)."""
    sealed = start + frame.COMMIT_SIZE
    if not primitives.equal(bytes(view[start:sealed]), keys[32:]):
        raise CommitmentError("not the plaintext that the sender committed to for all its readers")
    aead = primitives.AEAD(keys[:32])
    plaintext = primitives.aead_open(aead, derive.ZERO_NONCE, view[sealed:end], None)
    if plaintext is None:
        raise AuthenticationError
    return plaintext


def _name(head: Head) -> tuple[bytes, ...]:
    """Return the session and counter: two messages that share them are a clone's (E-71)."""
    return head.sender, head.ephemeral, head.nonce[:4]


def _check_place(wire_subject: object, position: object) -> None:
    # What is no str would be unlike every subject: a wrong call, and no wrong message.
    if wire_subject is not None and not isinstance(wire_subject, str):
        raise TypeError(f"a wire subject is a str, not {type(wire_subject).__name__}")
    if position is not None and not isinstance(position, StreamPosition):
        raise TypeError(f"a position is a StreamPosition, not {type(position).__name__}")
    if position is not None and [type(each) for each in position] != [str, int, int]:
        raise TypeError("a position is a str and two of int")


def _keyring(keys: XKeyPair | Keyring) -> Keyring:
    keyring = keys if isinstance(keys, Keyring) else Keyring(keys)
    for pair in (keyring.active, *keyring.retired):
        if not isinstance(pair, XKeyPair):
            raise TypeError(f"a reader's key is an XKeyPair, not {type(pair).__name__}")
    return keyring
