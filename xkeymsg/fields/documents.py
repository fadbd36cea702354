"""Sealing and opening documents: the envelope below, fields above."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

from xkeymsg.ambient import now_ns
from xkeymsg.envelope import frame, opening, sealing
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.envelope.sharing import Sharing
from xkeymsg.errors import XKeyMsgError
from xkeymsg.fields import models, splitting
from xkeymsg.fields.holders import KnownHolders, Readers
from xkeymsg.fields.joining import join
from xkeymsg.fields.policy import Policy
from xkeymsg.refusals import bare, refusing
from xkeymsg.shown import safe_repr

__all__ = ("Opener", "Sealer", "View")

_Model = TypeVar("_Model")


class Sealer(sealing.Sealer):
    """Seals messages from one key, whole ones and documents; see `seal` and `seal_document`.

        sealer = Sealer(alice)
        envelope = sealer.seal(b"…", to=[bob.public, carol.public], subject="orders.new")

    One sealer serves a whole process: it is thread-safe, and the keys it shares with recipients are
    kept in a session, so that only the first message to somebody costs an X25519. The session ends
    by itself after an hour or 2^20 messages, when a process is forked, and with `close`.
    """

    @cached_property
    def _holders(self) -> KnownHolders:
        return KnownHolders()

    @refusing
    def seal_document(
        self,
        document: Any,
        *,
        policy: Policy,
        readers: Readers,
        subject: str,
        headers: sealing.Headers = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
        revision: int | None = None,
        check_size: Callable[[int], None] | None = None,
    ) -> bytes:
        """Seal a document of which every reader sees only what its permissions allow.

        Args:
            document: `None`, `bool`, `int`, `float`, `str`, `bytes`, `Decimal`, aware `datetime`,
                `UUID`, and `list` and `dict` of these, with text as names; nothing may change it
                meanwhile.
            policy: Which permissions may read which field.
            readers: The keys that hold each permission; one that stands under several is one
                recipient with the union. Those of `always_to` hold all.
            subject: As for `seal`.
            headers: As for `seal`; every reader gets them.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.
            check_size: Called with the length of the envelope before anything is encrypted; what it
                raises ends this.

        Raises:
            FieldDeniedError: If no rule matches a field; names every such field. Nothing is sealed.
            PolicyError: If a permission of the policy has no readers, and is not in `allow_unread`.
            MalformedError: If the document holds what it cannot hold, or nobody can read it; and as
                for `seal`.
            LimitExceededError: If it is too deep or too large; and as for `seal`.
            ExpiredError: If `expires` is not in the future.
        """
        contents, sharing = self._planned(document, policy, readers, headers, content_type)
        if check_size is not None:
            sizes = [len(content) for _, content in contents]
            check_size(self._shared_size(sizes, sharing, subject, expires, revision))
        return self._seal_parts_at(now_ns(), contents, sharing, subject, expires, revision)

    def _planned(
        self,
        document: Any,
        policy: Policy,
        readers: Readers,
        headers: sealing.Headers,
        content_type: str | None,
    ) -> tuple[list[tuple[int, bytes]], Sharing]:
        """Return the parts of a document, ready to be sealed, and who gets which."""
        holders = self._holders.of(policy, readers)
        split = splitting.split(document, policy, self._limits)
        parts = len(split.parts)
        contents = self._contents([part.plaintext for part in split.parts], headers, content_type)
        metadata = len(contents) > parts
        sharing = holders.sharing(
            (split.sets, metadata),
            lambda: self._sharing(holders.grants(split.sets), parts, metadata=metadata),
        )
        splitting.check_size(split, sharing.views, self._limits)
        return contents, sharing

    @refusing
    def sealed_document_size(
        self,
        document: Any,
        *,
        policy: Policy,
        readers: Readers,
        subject: str,
        headers: sealing.Headers = (),
        content_type: str | None = None,
        expires: timedelta | None = None,
        revision: int | None = None,
    ) -> int:
        """Return how many bytes `seal_document` makes of a document, without sealing it.

        Args:
            document: As for `seal_document`.
            policy: As for `seal_document`.
            readers: As for `seal_document`.
            subject: As for `seal`.
            headers: As for `seal`.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.

        Raises:
            XKeyMsgError: As `seal_document`, but for the limit of a whole envelope.
        """
        contents, sharing = self._planned(document, policy, readers, headers, content_type)
        sizes = [len(content) for _, content in contents]
        return self._shared_size(sizes, sharing, subject, expires, revision)


@safe_repr
class View(Message):
    """What one reader may see of a document, with all that a message tells."""

    __slots__ = ("document", "withheld")

    def __init__(
        self,
        head: Head,
        document: Any,
        withheld: int,
        *,
        admitted: bool,
        signer: str | None,
        content_type: str | None,
        headers: Headers,
    ) -> None:
        super().__init__(
            head,
            b"",
            admitted=admitted,
            signer=signer,
            content_type=content_type,
            headers=headers,
        )
        self.document = document
        """The fields that this reader may see; lists hold `WITHHELD` in the place of others."""
        self.withheld = withheld
        """How many parts of the document this reader may not see."""

    @refusing
    def into(self, model: type[_Model]) -> _Model:
        """Return the document as an instance of a dataclass, pydantic model or msgspec Struct.

        What this reader may not see has to have a default in the model, and is not to be told from
        it there. A list may be shorter than it was, and is refused with an item withheld unless its
        items can be anything. The model need not be the sender's, nor be annotated with `Readers`.

        Raises:
            PolicyError: If the model has no default for what this reader may not see; names every
                such place.
            MalformedError: If the document does not fit the model; names the places, and no value.
            TypeError: If it is no such model.
        """
        return models.into(model, self.document, self.withheld)

    def __repr__(self) -> str:
        return f"<View {self.message_id.hex()}, {self.withheld} parts withheld>"


class Opener(opening.Opener):
    """Opens messages for one reader, in one scope: a subscription, or a durable consumer.

        opener = Opener(bob, senders={alice.public})
        message = opener.open(envelope, subject="orders.new")
        view = opener.open_document(envelope, subject="ehr.patients")

    An opener remembers what it has opened, so that nothing opens twice; two subscriptions that get
    the same messages have an opener each. Thread-safe. After a fork each process remembers for
    itself.

    An opener for each message is unsafe: it knows nothing of the messages before, so that copies of
    them open. When many have lived for less than a second, a RuntimeWarning says so.
    """

    def open_document(
        self,
        envelope: bytes,
        *,
        subject: str | Iterable[str],
        senders: Senders | None = None,
        wire_subject: str | None = None,
        position: StreamPosition | None = None,
    ) -> View:
        """Open what this reader may see of a document.

        Args:
            envelope: What came, from anybody.
            subject: As for `open`.
            senders: As for `open`.
            wire_subject: As for `open`.
            position: As for `open`.

        Raises:
            NotARecipientError: If it may see no field; and everything else that `open` raises.
        """
        now_ms = now_ns() // 1_000_000
        try:
            opened = self._open_at(
                now_ms, envelope, self._document, subject, senders, wire_subject, position
            )
        except XKeyMsgError as error:
            raise bare(error) from None
        document, withheld, content_type, headers = opened.content
        return View(
            opened.head,
            document,
            withheld,
            admitted=opened.admitted,
            signer=opened.signer,
            content_type=content_type,
            headers=headers,
        )

    def _document(
        self, body: frame.Body, granted: dict[int, bytes]
    ) -> tuple[Any, int, str | None, Headers]:
        fields, content_type, headers = self._fields(body, granted)
        # The metadata, if there is any, is granted to everybody.
        withheld = len(body.parts) - len(granted)
        plaintexts = [fields[number] for number in sorted(fields)]
        return join(plaintexts, self._limits), withheld, content_type, headers
