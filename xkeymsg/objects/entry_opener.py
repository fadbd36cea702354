"""Opens entries: what a writer has sealed about an object (docs/spec/objects.md, "Reading")."""

from __future__ import annotations

from xkeymsg.ambient import now_ns
from xkeymsg.arguments import milliseconds
from xkeymsg.client.core import Core
from xkeymsg.client.memory import RollbackMemory, Sealing, mark_name, memory_of
from xkeymsg.envelope.message import Message
from xkeymsg.errors import (
    ConfigurationError,
    MalformedError,
    ObjectNotFoundError,
    StaleError,
    UnauthenticatedDeletionError,
    XKeyMsgError,
)
from xkeymsg.limits import AtRest, Limits
from xkeymsg.objects.bucket import milliseconds_of
from xkeymsg.objects.entry import check_entry, parse_entry
from xkeymsg.objects.feed import Arrival
from xkeymsg.objects.info import ObjectInfo
from xkeymsg.objects.manifest import Manifest, parse_manifest
from xkeymsg.objects.names import name_of
from xkeymsg.transport.raw import Raw

__all__ = ("EntryOpener",)


class EntryOpener:
    """Opens the entries of one bucket, and remembers the newest one of each name.

    Args:
        core: The client's keys and trust.
        bucket: The bucket.
        memory: The rollback marks.
        max_age: The greatest age of an object, in seconds.
        require_signature: Whether to refuse manifests that the writer's user has not signed.
    """

    def __init__(
        self,
        core: Core,
        bucket: str,
        *,
        memory: RollbackMemory | None = None,
        max_age: float | None = None,
        require_signature: bool = False,
    ) -> None:
        self._bucket = bucket
        self._limits = core.limits or Limits()
        self._skew_ms = milliseconds("skew", self._limits.skew)
        self._max_age_ms = None if max_age is None else milliseconds("max_age", max_age)
        if self._max_age_ms is not None and self._max_age_ms <= 0:
            raise ConfigurationError("max_age must be above 0")
        self._scope = core.scope(
            subjects=f"$O.{bucket}.M.*",
            match_wire=True,
            replay=AtRest(),
            require_signature=require_signature,
        )
        self.memory = memory_of(memory)
        """What this reader remembers against rollback."""

    def open(
        self, arrival: Arrival, memory: RollbackMemory | None = None
    ) -> tuple[ObjectInfo, Manifest | None]:
        """Open an entry; without a manifest, the object was deleted.

        Args:
            arrival: The entry.
            memory: The rollback marks of a watch, instead of the reader's.

        Raises:
            XKeyMsgError: If it is refused.
            Exception: If trust raises it.
        """
        subject, sequence, data = arrival
        name = name_of(self._bucket, subject)
        if name is None:
            raise MalformedError("the subject is not that of an object")
        entry = parse_entry(data, self._bucket, name, self._limits)
        if entry.envelope:
            message = self._scope.open(Raw(subject.encode(), b"", b"", entry.envelope))
            manifest = parse_manifest(message.data)
            if manifest is None or not entry.deleted:
                if not entry.deleted:
                    check_entry(entry, manifest)
                self._check_time(message)
                self.remember(
                    subject,
                    Sealing.of_message(message),
                    sequence,
                    live=manifest is not None,
                    memory=memory,
                )
                return _described(self._bucket, name, sequence, message, manifest), manifest
        # Foreign clients delete without a tombstone, and so can the server.
        return _deletion(self._bucket, name, sequence), None

    def _check_time(self, message: Message) -> None:
        created_ms, now_ms = milliseconds_of(message.created), now_ns() // 10**6
        if created_ms > now_ms + self._skew_ms:
            raise StaleError("the object was sealed in the future: compare clocks")
        if self._max_age_ms is not None and created_ms < now_ms - self._max_age_ms:
            raise StaleError("the object is older than max_age")

    def remember(
        self,
        subject: str,
        sealing: Sealing,
        sequence: int,
        *,
        live: bool,
        memory: RollbackMemory | None = None,
    ) -> None:
        """Remember an entry as the newest of its name.

        Raises:
            ValueRollbackError: If a newer one was opened before (B-22).
            LimitExceededError: If the memory has too many names.
            ConfigurationError: If the memory's file cannot be written.
        """
        memory = self.memory if memory is None else memory
        memory.accept(mark_name(subject), sealing, sequence, live=live, exact=True)

    def absent(self, subject: str, deletion: ObjectInfo | None) -> XKeyMsgError:
        """Return the error for a name without an object, or with a deletion (B-23)."""
        mark = self.memory.mark(mark_name(subject))
        if deletion is not None and deletion.sender is not None:
            return ObjectNotFoundError(f"the object was deleted by {deletion.sender}")
        if mark is not None and not mark.live:
            return ObjectNotFoundError("the object was deleted")
        if deletion is not None or mark is not None:
            return UnauthenticatedDeletionError(
                "the object is gone, but no admitted sender has deleted it"
            )
        return ObjectNotFoundError("the bucket has no such object")


def _described(
    bucket: str, name: str, sequence: int, message: Message, manifest: Manifest | None
) -> ObjectInfo:
    """Return what the writer has sealed."""
    return ObjectInfo(
        bucket=bucket,
        name=name,
        nuid="" if manifest is None else manifest.nuid,
        size=0 if manifest is None else manifest.size,
        chunks=0 if manifest is None else manifest.chunks,
        created=message.created,
        sender=message.sender,
        signer=message.signer,
        admitted=message.admitted,
        content_type=message.content_type,
        headers=message.headers,
        deleted=manifest is None,
        revision=sequence,
    )


def _deletion(bucket: str, name: str, sequence: int) -> ObjectInfo:
    """Return the deletion of an object that only the server claims."""
    return ObjectInfo(
        bucket=bucket,
        name=name,
        nuid="",
        size=0,
        chunks=0,
        created=None,
        sender=None,
        deleted=True,
        revision=sequence,
    )
