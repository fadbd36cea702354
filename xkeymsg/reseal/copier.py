"""Opens a message and seals its content to other recipients, without I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Final, Literal

from xkeymsg.ambient import now_ns
from xkeymsg.client.core import Core
from xkeymsg.client.outgoing import Room
from xkeymsg.client.trust import To
from xkeymsg.envelope.admission import ANYONE
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.envelope.inspect import inspect
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import as_recipient
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.errors import (
    ConfigurationError,
    ContentTypeError,
    EnvelopeError,
    ExpiredError,
    LimitExceededError,
    OpenError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.fields.values import WITHHELD
from xkeymsg.keys import Recipient
from xkeymsg.kv.codec import KEY, OPERATION
from xkeymsg.limits import AtRest, Limits, Stream
from xkeymsg.nkey import Prefix, encode_public
from xkeymsg.opener import Opener, View
from xkeymsg.origins import ORIGINS, Origin, id_text
from xkeymsg.primitives import digest, label, sha256
from xkeymsg.reseal.ledger import Job
from xkeymsg.reseal.reader import StreamMessage

__all__ = ("Copier", "Documents", "copy_id", "origin_of")

Documents = Literal["refuse", "part"]

_OWN: Final = "xkm-"
_KEPT: Final = frozenset({OPERATION, KEY})
"""Our headers that are copied: they say which key of a bucket was deleted, or has a value."""
_JOB: Final = "xkm-reseal-job"
"""The header that tells the resealer for whom, and for which target, it has made a copy."""
_LABEL: Final = label(b"xkm1/reseal-job")
_EVERYTHING: Final = "reseal"
_MARGINS: Final = (0, 10, 1000, 60_000)
"""Milliseconds by which a copy may expire earlier: the clock is read again while it is sealed."""
_POLICY: Final = Policy([("/**", [_EVERYTHING])])


def copy_id(message_id: bytes, key: object) -> str:
    """Return the `Nats-Msg-Id` of a copy."""
    return f"reseal.{id_text(message_id)}.{key}"


class Copier:
    """Reseals messages as one reader.

    Args:
        core: The reader's keys, trust and options.
        to: The recipients of the copies; the reader's own key is added.
        documents: Whether to reseal the part of a document that the reader can read.
        max_age: How many seconds before it was stored a message may have been sealed.

    Raises:
        ConfigurationError: If trust admits anyone.
        XKeyMsgError: If a recipient is unknown.
    """

    def __init__(
        self, core: Core, to: To, *, documents: Documents = "refuse", max_age: float | None = None
    ) -> None:
        if core.client_trust.senders is ANYONE:
            raise ConfigurationError("trust=ANYONE: a reseal vouches for senders, so name them")
        self._core, self._documents = core, documents
        self.public = core.keyring.active.public
        """The resealer's key."""
        user = core.keyring.user
        own = None if user is None else encode_public(Prefix.USER, user)
        wanted = core.client_trust.recipients(to)
        own_recipient = Recipient(self.public, own)
        self._to = tuple(dict.fromkeys(map(as_recipient, (*wanted, own_recipient))))
        limits = core.limits or Limits()
        replay = Stream(max_age)
        self.window_ms = int(1000 * (replay.limits(limits).max_age + limits.skew)) + 1
        """A copy of a message is stored at most this long after it."""
        self._opener = Opener(
            core.keyring, core.client_trust.senders, replay=replay, limits=core.limits
        )
        self._verifier = Opener(core.keyring, {self.public}, replay=AtRest(), limits=core.limits)
        self._secret = core.keyring.active.derive(b"xkm-reseal-job")
        self._mark = ""

    @property
    def recipients(self) -> Sequence[Recipient]:
        """The recipients of the copies."""
        return (*self._to, *self._core.client_trust.always_to())

    def fingerprint(self) -> str:
        """Return a hash of the recipients."""
        each = sorted(bytes(one.key) + one.user for one in set(self.recipients))
        return sha256(b"".join(each)).hex()

    def begin(self, job: Job) -> None:
        """Make and recognize copies of a job only.

        Their mark reveals nothing: a hash without the key would confirm a guess of the recipients.
        """
        data = json.dumps([job.target, job.target_created, job.recipients]).encode()
        mark = digest(_LABEL, data, key=self._secret, size=16)
        self._mark = base64.urlsafe_b64encode(mark)[:22].decode()

    def open(self, stored: StreamMessage, stream: str, *, match_wire: bool = False) -> Message:
        """Open a message of a stream, and mark it: a copy of it is a replay from now on.

        Raises:
            XKeyMsgError: If it is refused.
        """
        position = StreamPosition(stream, stored.sequence, stored.stored_ms)
        wire = stored.subject if match_wire else None
        message = _opened(self._opener, stored.data, wire, position)
        self._opener.settle(message)
        return message

    def seal(self, message: Message, room: Room, *, own: Sequence[tuple[str, str]] = ()) -> bytes:
        """Seal the content of a message to the recipients, for the same subject.

        Args:
            message: The message.
            room: The size limit.
            own: More sealed headers with reserved names.

        Raises:
            PayloadTooLargeError: If the envelope would exceed `room`.
            LimitExceededError: If the message was resealed too often, or a limit is exceeded.
            ContentTypeError: If it is a document that is not to be resealed.
        """
        headers = _headers(message, ((_JOB, self._mark), *own))
        for margin_ms in _MARGINS:
            expires = _remaining(message, margin_ms)
            envelope = self._sealed(message, headers, expires, room)
            if expires is None or _expires_in_time(envelope, message):
                return envelope
        raise ExpiredError("the message expires too soon to be sealed again in time")

    def _sealed(
        self, message: Message, headers: TransportHeaders, expires: float | None, room: Room
    ) -> bytes:
        sealer = self._core.outgoing.sealer()
        if not isinstance(message, View):
            return sealer.seal(
                message.data,
                to=self._to,
                subject=message.subject,
                headers=headers,
                content_type=message.content_type,
                expires=expires,
                revision=self._core.client_trust.revision,
                check_size=room.check,
            )
        if self._documents != "part":
            raise ContentTypeError("documents are resealed in part only: see `documents`")
        if _has_hole(message.document):
            raise ContentTypeError("items of a list are withheld: their places would be lost")
        return sealer.seal_document(
            message.document,
            policy=_POLICY,
            readers={_EVERYTHING: self._to},
            subject=message.subject,
            headers=headers,
            content_type=message.content_type,
            expires=expires,
            revision=self._core.client_trust.revision,
            check_size=room.check,
        )

    def verify(self, data: bytes, wire_subject: str | None = None) -> Message | None:
        """Return a message that this reader has resealed for this job, or None."""
        try:
            message = _opened(self._verifier, data, wire_subject)
        except (EnvelopeError, OpenError):
            return None
        is_known = message.resealed is not None and bool(message.resealed.origins)
        return message if is_known and message.headers.all(_JOB) == (self._mark,) else None


def origin_of(message: Message) -> Origin:
    """Return the description of a message that is to be resealed."""
    withheld = message.withheld if isinstance(message, View) else 0
    created_ms = round(message.created.timestamp() * 1000)
    return Origin(message.sender, message.message_id, created_ms, withheld)


def _opened(
    opener: Opener, data: bytes, wire: str | None, position: StreamPosition | None = None
) -> Message:
    """Open a payload or a document.

    Raises:
        XKeyMsgError: If it is refused.
    """
    try:
        return opener.open(data, subject=">", wire_subject=wire, position=position)
    except ContentTypeError:
        return opener.open_document(data, subject=">", wire_subject=wire, position=position)


def _headers(message: Message, own: Sequence[tuple[str, str]]) -> TransportHeaders:
    """Return the sealed headers of a copy: its origins, `own`, then those of the message."""
    before: tuple[Origin, ...] = ()
    if message.resealed is not None:
        before = message.resealed.origins
        if not before:
            raise ContentTypeError("the message has an invalid description of its original")
    if len(before) >= ORIGINS:
        raise LimitExceededError("number of times resealed", len(before) + 1, ORIGINS)
    claims = [each.header() for each in (*before, origin_of(message))]
    others = [
        (name, value)
        for name, value in message.headers.pairs
        if name in _KEPT or not name.lower().startswith(_OWN)
    ]
    return TransportHeaders((*claims, *own, *others))


def _remaining(message: Message, margin_ms: int) -> float | None:
    """Return the seconds until a message expires, less a margin; None if it does not expire."""
    if message.expires is None:
        return None
    left_ms = round(message.expires.timestamp() * 1000) - now_ns() // 1_000_000 - margin_ms
    if left_ms <= 0:
        raise ExpiredError("expired: the sender limited how long the message may be opened")
    return left_ms / 1000


def _expires_in_time(envelope: bytes, message: Message) -> bool:
    expires = inspect(envelope).expires
    return expires is not None and message.expires is not None and expires <= message.expires


def _has_hole(value: object) -> bool:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if each is WITHHELD:
            return True
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return False
