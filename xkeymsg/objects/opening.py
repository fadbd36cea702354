"""Opens entries: what a writer has sealed about an object (docs/spec/objects.md, "Reading")."""

from __future__ import annotations

from xkeymsg.ambient import now_ns
from xkeymsg.arguments import milliseconds
from xkeymsg.client.core import Core
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConfigurationError, MalformedError, StaleError
from xkeymsg.limits import AtRest, Limits
from xkeymsg.objects.bucket import milliseconds_of
from xkeymsg.objects.entry import check_entry, parse_entry
from xkeymsg.objects.feed import Arrival
from xkeymsg.objects.info import ObjectInfo
from xkeymsg.objects.manifest import Manifest, parse_manifest
from xkeymsg.objects.names import name_of
from xkeymsg.objects.newest import Newest
from xkeymsg.transport.raw import Raw

__all__ = ("EntryOpener",)


class EntryOpener:
    """Opens the entries of one bucket, and remembers the newest of each name.

    Args:
        core: The client's keys and trust.
        bucket: The bucket.
        max_age: The greatest age of an object, in seconds.
        require_signature: Whether to refuse manifests that the writer's user has not signed.
    """

    def __init__(
        self,
        core: Core,
        bucket: str,
        *,
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
        self.newest = Newest()
        """What it remembers."""

    def open(
        self, arrival: Arrival, newest: Newest | None = None
    ) -> tuple[ObjectInfo, Manifest | None]:
        """Open an entry; without a manifest, the object was deleted.

        Args:
            arrival: The entry.
            newest: What the caller remembers, if it is not what the opener does.

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
                self._check_time(message, sequence, newest or self.newest)
                return _described(self._bucket, name, sequence, message, manifest), manifest
        # Foreign clients delete without a tombstone, and so can the server.
        return _deletion(self._bucket, name, sequence), None

    def _check_time(self, message: Message, sequence: int, newest: Newest) -> None:
        created_ms, now_ms = milliseconds_of(message.created), now_ns() // 10**6
        if created_ms > now_ms + self._skew_ms:
            raise StaleError("the object was sealed in the future: compare clocks")
        if self._max_age_ms is not None and created_ms < now_ms - self._max_age_ms:
            raise StaleError("the object is older than max_age")
        newest.check(message.subject, created_ms, sequence, message.message_id)


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
