"""Sealing and opening documents: the envelope below, fields above."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from xkeymsg.ambient import now_ns
from xkeymsg.envelope import frame, opening, sealing
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.content import Headers, PartType
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.errors import PolicyError
from xkeymsg.fields import models
from xkeymsg.fields.joining import join
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.splitting import Part, check_holes, split
from xkeymsg.keys import Recipient, XKey
from xkeymsg.limits import Limits

__all__ = ("Opener", "Sealer", "View", "plan")

_Model = TypeVar("_Model")

Readers = Mapping[str, Iterable[XKey | Recipient]]
"""Who holds each permission."""


class Sealer(sealing.Sealer):
    """Seals messages from one key, whole ones and documents; see `seal` and `seal_document`.

        sealer = Sealer(alice)
        envelope = sealer.seal(b"…", to=[bob.public, carol.public], subject="orders.new")

    One sealer serves a whole process: it is thread-safe, and the keys it shares with recipients are
    kept in a session, so that only the first message to somebody costs an X25519. The session ends
    by itself after an hour or 2^20 messages, when a process is forked, and with `close`.
    """

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
    ) -> bytes:
        """Seal a document of which every reader sees only what its permissions allow.

        Args:
            document: `None`, `bool`, `int`, `float`, `str`, `bytes`, `Decimal`, aware `datetime`,
                `UUID`, and `list` and `dict` of these, with text as names.
            policy: Which permissions may read which field.
            readers: The keys that hold each permission; one that stands under several is one
                recipient with the union. Those of `always_to` hold all.
            subject: As for `seal`.
            headers: As for `seal`; every reader gets them.
            content_type: As for `seal`.
            expires: As for `seal`.
            revision: As for `seal`.

        Raises:
            FieldDeniedError: If no rule matches a field; names every such field. Nothing is sealed.
            PolicyError: If a permission of the policy has no readers, and is not in `allow_unread`.
            MalformedError: If the document holds what it cannot hold, or nobody can read it; and as
                for `seal`.
            LimitExceededError: If it is too deep or too large; and as for `seal`.
            ExpiredError: If `expires` is not in the future.
        """
        parts, grants = plan(document, policy, readers, self._limits)
        return self.seal_parts(
            [part.plaintext for part in parts],
            grants=grants,
            subject=subject,
            headers=headers,
            content_type=content_type,
            expires=expires,
            revision=revision,
        )


def plan(
    document: Any, policy: Policy, readers: Readers, limits: Limits
) -> tuple[list[Part], dict[Recipient, set[int]]]:
    """Split a document, and say which parts each reader is granted, by their numbers.

    Raises:
        PolicyError: If a permission of the policy has no readers (F-35).
        FieldDeniedError: If no rule matches a field (F-32).
        MalformedError: If the document holds what it cannot hold (F-2 to F-4).
        LimitExceededError: If it is too deep or too large, or one of its readers would find too
            many holes in lists (F-5, F-6).
    """
    holders = _holders(policy, readers)
    parts = split(document, policy, limits)
    grants: dict[Recipient, set[int]] = {}
    for number, part in enumerate(parts):
        # To whoever holds one of its permissions (F-45).
        for permission in part.permissions:
            for reader in holders[permission]:
                grants.setdefault(reader, set()).add(number)
    for granted in {frozenset(numbers) for numbers in grants.values()}:
        if len(granted) < len(parts):  # who may see everything finds no holes
            check_holes([parts[number] for number in granted], limits)
    return parts, grants


def _holders(policy: Policy, readers: Readers) -> dict[str, tuple[Recipient, ...]]:
    """Return who holds each permission of the policy; each has to have somebody (F-35)."""
    holders = {
        name: tuple(
            one if isinstance(one, Recipient) else Recipient(one) for one in readers.get(name, ())
        )
        for name in policy.permissions
    }
    unread = sorted(
        name for name, keys in holders.items() if not keys and name not in policy.allow_unread
    )
    if unread:
        raise PolicyError(f"no readers for permission {', '.join(unread)}")
    return holders


class View(Message):
    """What one reader may see of a document, with all that a message tells."""

    __slots__ = ("document", "withheld")

    def __init__(
        self,
        opened: opening.Opened[Any],
        document: Any,
        withheld: int,
        content_type: str | None,
        headers: Headers,
    ) -> None:
        super().__init__(
            opened.head,
            b"",
            admitted=opened.admitted,
            signer=opened.signer,
            content_type=content_type,
            headers=headers,
        )
        self.document = document
        """The fields that this reader may see; lists hold `WITHHELD` in the place of others."""
        self.withheld = withheld
        """How many parts of the document this reader may not see."""

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
        opened = self._open_at(
            now_ns() // 1_000_000,
            envelope,
            self._document,
            subject,
            senders,
            wire_subject,
            position,
        )
        return View(opened, *opened.content)

    def _document(
        self, body: frame.Body, granted: dict[int, bytes]
    ) -> tuple[Any, int, str | None, Headers]:
        fields, content_type, headers = self._fields(body, granted)
        parts = sum(part.kind is PartType.FIELDS for part in body.parts)
        return join(fields, self._limits), parts - len(fields), content_type, headers
