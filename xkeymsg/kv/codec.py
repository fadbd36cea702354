"""`KVCodec`: seals the entries of a bucket, and opens them, without I/O (docs/spec/kv.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from xkeymsg.ambient import now_ns
from xkeymsg.client.core import Core
from xkeymsg.client.outgoing import Room
from xkeymsg.client.scope import Request
from xkeymsg.client.threads import in_thread
from xkeymsg.client.trust import To
from xkeymsg.display import SafeRepr
from xkeymsg.envelope.frame import locate_head
from xkeymsg.envelope.head import Head, decode_head
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.plan import Headers
from xkeymsg.errors import (
    ConfigurationError,
    ContentTypeError,
    MalformedError,
    NotSealedError,
    StaleError,
    UnauthenticatedDeletionError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.kv.entry import KVEntry, Operation, StoredEntry
from xkeymsg.kv.names import NAME_KEY, BlindNames, check_key
from xkeymsg.limits import AtRest, Limits
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.raw import Raw

__all__ = (
    "CLEAR_OPERATION",
    "KEY",
    "OPERATION",
    "REPLACES",
    "KVCodec",
    "KVOptions",
    "ReaderOptions",
    "is_marker",
    "operation_of",
    "replaces_of",
)

OPERATION: Final = "xkm-kv"
REPLACES: Final = "xkm-kv-replaces"
KEY: Final = "xkm-kv-key"
"""Names of our sealed headers."""

CLEAR_OPERATION: Final[Mapping[Operation, Mapping[str, str]]] = {
    "put": {},
    "delete": {"KV-Operation": "DEL"},
    "purge": {"KV-Operation": "PURGE"},
}
"""The broker's header of each operation, which other clients understand."""
_MARKERS: Final = ("kv-operation", "nats-marker-reason")
"""Names of the broker's headers for deletions."""
_MAX: Final = 2**63


class ReaderOptions(NamedTuple):
    """What a reader accepts."""

    documents: bool
    require_signature: bool
    max_age: float | None
    """Greatest age of a newest entry, in seconds."""


class KVOptions(NamedTuple):
    """For whom entries are sealed."""

    to: To | None
    policy: Policy | None
    readers: Mapping[str, To] | None


class _NatsEntry(Protocol):
    """An entry of nats-py's `KeyValue`."""

    key: str
    value: bytes | None
    revision: int | None


def is_marker(entry: StoredEntry) -> bool:
    """Return whether an entry is a marker of the broker: a deletion without sealed content."""
    return not entry.data and any(
        name.lower() in _MARKERS for name, _ in parse_block(entry.headers)
    )


def operation_of(message: Message, own: Mapping[str, str]) -> Operation:
    """Return the sealed operation of an opened entry, whose sealed headers are `own`.

    Raises:
        MalformedError: If it is not a valid one (K-9).
    """
    match own.get(OPERATION):
        case None:
            return "put"
        case "delete" | "purge" as operation if not message.data:
            return operation
    raise MalformedError("an invalid tombstone")


def replaces_of(own: Mapping[str, str]) -> int | None:
    """Return the revision that an entry replaces by its sealed headers, or None.

    Raises:
        MalformedError: If it is not a valid one (K-9).
    """
    text = own.get(REPLACES)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _MAX):
        raise MalformedError("an invalid revision in a sealed header")
    return int(text)


class KVCodec(SafeRepr):
    """Seals and opens the entries of one bucket.

    With nats-py's own `KeyValue`, `seal` and `open` do what a codec of ADR-54 does; unlike that,
    they get the key, so that a value is bound to it.
    """

    def __init__(
        self,
        core: Core,
        bucket: str,
        origin: str,
        options: KVOptions,
        reader: ReaderOptions,
    ) -> None:
        self.origin = origin
        self._core, self._bucket = core, bucket
        self._options, self._reader = options, reader
        self._limits = core.limits or Limits()
        self.names: BlindNames | None = None
        """Set in buckets with blinded names."""
        accepted: dict[str, Any] = {
            "subjects": f"$KV.{origin}.>",
            "match_wire": True,
            "replay": AtRest(),
            "require_signature": reader.require_signature,
        }
        self._payloads = core.scope(**accepted)
        self._documents = core.scope(documents=True, **accepted) if reader.documents else None

    # --- sealing ----------------------------------------------------------------------------------

    def name_of(self, key: str) -> str:
        """Return the name of a key on the wire.

        Raises:
            MalformedError: If the key is invalid.
        """
        check_key(key)
        return key if self.names is None else self.names.blind(key)

    def seal(self, key: str, value: Any) -> tuple[str, bytes]:
        """Seal a value for nats-py: `await kv.put(*codec.seal("a.b", b"…"))`.

        Returns:
            The key on the wire, and the envelope.

        Raises:
            ConfigurationError: If the bucket was opened without recipients.
            MalformedError: If the key is invalid.
            XKeyMsgError: If sealing fails.
        """
        name = self.name_of(key)
        return name, self.envelope(key, name, value, Room(0, 0))

    def envelope(
        self,
        key: str,
        name: str,
        value: Any,
        room: Room,
        *,
        operation: Operation = "put",
        replaces: int | None = None,
        headers: Headers = (),
        content_type: str | None = None,
        expires: float | None = None,
        as_payload: bool = False,
    ) -> bytes:
        """Seal an entry; `value` is ignored in tombstones.

        With a policy, tombstones and, with `as_payload`, values are payloads for all its readers.

        Raises:
            ConfigurationError: If the bucket was opened without recipients.
            XKeyMsgError: If sealing fails.
        """
        own: tuple[tuple[str, str], ...] = ()
        if operation != "put":
            own += ((OPERATION, operation),)
        if replaces is not None:
            own += ((REPLACES, str(replaces)),)
        if self.names is not None and name != key:
            own += ((KEY, key),)
        subject, (to, policy, readers) = f"$KV.{self.origin}.{name}", self._options
        outgoing, trust = self._core.outgoing, self._core.client_trust
        more: dict[str, Any] = {"own": own, "content_type": content_type, "expires": expires}
        if policy is not None and operation == "put" and not as_payload:
            more |= {"policy": policy, "readers": readers, "headers": headers}
            return outgoing.document(subject, value, room=room, **more)
        if policy is not None:
            holders = outgoing.holders(policy, readers)
            recipients = tuple({each: None for some in holders.values() for each in some})
        elif to is not None:
            recipients = trust.recipients(to)
        else:
            raise ConfigurationError("writing requires recipients: client.kv(…, to=…)")
        data = value if operation == "put" else b""
        return outgoing.payload(subject, data, recipients, room=room, headers=headers, **more)

    def head_of(self, envelope: bytes) -> Head:
        """Return the head of an own envelope."""
        return decode_head(envelope, *locate_head(envelope, self._limits))

    # --- opening ----------------------------------------------------------------------------------

    def open(self, entry: _NatsEntry) -> KVEntry:
        """Open an entry that nats-py has read; it does not check for rollback.

        Raises:
            XKeyMsgError: As `opened`.
        """
        stored = StoredEntry(entry.key, entry.revision or 0, b"", entry.value or b"")
        return self.opened(stored)

    async def open_async(self, stored: StoredEntry, *, fresh: bool = True) -> KVEntry:
        """Open an entry; a large one in a thread. Arguments and errors are those of `opened`."""
        large = (self._documents or self._payloads).large
        if len(stored.data) >= large:
            return await in_thread(self.opened, stored, fresh=fresh)
        return self.opened(stored, fresh=fresh)

    def opened(self, stored: StoredEntry, *, fresh: bool = True, blinded: bool = True) -> KVEntry:
        """Open an entry.

        Args:
            stored: The entry as the broker delivers it.
            fresh: Whether `max_age` applies: not to past revisions.
            blinded: Whether its name is blinded, if names are.

        Raises:
            MalformedError: If the key is invalid or reserved (K-3).
            NotSealedError: If it is not an envelope (K-6).
            UnauthenticatedDeletionError: If it is the broker's marker of a deletion (K-15).
            StaleError: If it is older than `max_age`, or sealed in the future.
            XKeyMsgError: If it is refused: `subject_mismatch` if it belongs to another key or
                bucket, `sender_not_admitted` if its sender may not write the key.
        """
        name, revision, _, data = stored
        if self.names is None and blinded:
            check_key(name)
        if not data.startswith((b"xkm", b"xkv1")):
            if is_marker(stored):
                raise UnauthenticatedDeletionError(
                    "the value is gone, but no admitted sender has deleted it"
                )
            raise NotSealedError("the entry is not sealed: anyone can have written it")
        message = self._message(name, data)
        own = message._origin.own if isinstance(message._origin, Request) else {}  # noqa: SLF001
        operation = operation_of(message, own)
        created = message._head.created_ms  # noqa: SLF001
        now = now_ns() // 1_000_000
        if created > now + self._limits.skew * 1000:
            raise StaleError("sealed in the future, by the clock here")
        max_age = self._reader.max_age
        if fresh and max_age is not None and created < now - max_age * 1000:
            raise StaleError("older than max_age")
        key = name
        if self.names is not None and blinded:
            key = self.names.check(own.get(KEY), name)
        replaces = replaces_of(own)
        return KVEntry(self._bucket, key, revision, operation, message=message, replaces=replaces)

    def _message(self, name: str, data: bytes) -> Message:
        raw = Raw(f"$KV.{self.origin}.{name}".encode("utf-8", "surrogateescape"), b"", b"", data)
        message: Message
        if self._documents is None:
            message = self._payloads.open(raw)
            return message
        try:
            message = self._documents.open(raw)
        except ContentTypeError:
            message = self._payloads.open(raw)
            own = message._origin  # noqa: SLF001
            if name != NAME_KEY and not (isinstance(own, Request) and OPERATION in own.own):
                raise  # a payload, where documents are expected
        return message

    def __repr__(self) -> str:
        return f"<KVCodec {self._bucket}>"
