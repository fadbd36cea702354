"""`client.objects`: a store of sealed objects in a bucket of JetStream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, Literal

from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.client.memory import RollbackMemory, Sealing
from xkeymsg.client.outgoing import Room
from xkeymsg.client.refusals import refusing
from xkeymsg.client.stats import Events, Where
from xkeymsg.client.threads import in_thread
from xkeymsg.client.trust import ONE, To
from xkeymsg.display import SafeRepr
from xkeymsg.envelope.content import Headers as SealedHeaders
from xkeymsg.envelope.frame import locate_head
from xkeymsg.envelope.head import decode_head
from xkeymsg.envelope.inspect import inspect
from xkeymsg.envelope.plan import Headers, pairs_of
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    LimitExceededError,
    ObjectNotFoundError,
    ObjectTruncatedError,
    PayloadTooLargeError,
    TransportError,
    UnauthenticatedDeletionError,
    ValueRollbackError,
    XKeyMsgError,
)
from xkeymsg.objects.bucket import Bucket
from xkeymsg.objects.entry import encode_entry, nuid_in, parse_entry
from xkeymsg.objects.entry_opener import EntryOpener
from xkeymsg.objects.feed import Arrival
from xkeymsg.objects.info import ObjectInfo, ObjectResult
from xkeymsg.objects.manifest import TOMBSTONE, Manifest, encode_manifest
from xkeymsg.objects.names import chunk_subject, metadata_subject
from xkeymsg.objects.reader import ObjectReader
from xkeymsg.objects.sources import Source, check_source, rewinder
from xkeymsg.objects.watch import ObjectWatch
from xkeymsg.objects.writer import OutOfOrderError, Upload, chunk_length

__all__ = ("ObjectStore",)

_FLYING: Final = 4 << 20
"""Bytes of chunks that are not acknowledged yet."""
_RETRIES: Final = 2
"""How often to begin again when chunks are out of order."""
_WRITE: Final = 1 << 20
"""Bytes that are written into a file at once."""
_HEADERS: Final = 256
"""Bytes of the header block of an entry, at most."""
_MOST: Final = 64 << 20
MOST_ENTRIES: Final = 1_000_000
"""Entries that `list` reads; each has less than 1 KiB in memory."""


class ObjectStore(Bucket, SafeRepr):
    """Sealed objects in a bucket; made by `client.objects`.

        info = await store.put("scan.tif", file)
        async with store.open("scan.tif") as reader:
            async for piece in reader: ...

    Objects are stored and read in chunks, so that memory is bounded in both directions. The store
    remembers the newest object of each name that it has opened, and refuses an older one. Without a
    `RollbackMemory` on disk, a new store cannot know whether the bucket has gone back.
    """

    def __init__(
        self,
        api: API,
        core: Core,
        events: Events,
        bucket: str,
        *,
        to: To | None = None,
        memory: RollbackMemory | None = None,
        max_age: float | None = None,
        require_signature: bool = False,
    ) -> None:
        super().__init__(api, bucket, core.limits)
        self._core, self._events, self._to = core, events, to
        self._opener = EntryOpener(
            core, bucket, memory=memory, max_age=max_age, require_signature=require_signature
        )

    # --- writing ----------------------------------------------------------------------------------

    @refusing
    async def put(
        self,
        name: str,
        data: Source,
        *,
        to: To | None = None,
        headers: Headers = (),
        content_type: str | None = None,
    ) -> ObjectInfo:
        """Store an object; it replaces one with the same name.

        Until the manifest is stored, which comes last, the previous object stays; of two writers at
        a time, the last one wins. If the task is cancelled, or the data ends with an exception,
        nothing has changed.

        Args:
            name: The name of the object, which the server sees.
            data: Bytes, a binary file, or an async iterable of bytes.
            to: The recipients; by default those of the store.
            headers: Sealed headers.
            content_type: A media type, sealed.

        Raises:
            DeliveryError: If the server refuses, or does not answer. If that was the answer for the
                manifest, the object may or may not be stored.
            ConflictError: If the creation time of the present object is in the future, or others
                keep writing.
            XKeyMsgError: As `client.publish`.
            TypeError: If an argument has the wrong type.
            Exception: As reading the data does.
        """
        subject, wanted = metadata_subject(self.bucket, name), self._wanted(to)
        pairs = pairs_of(headers)
        sealed: Any = {"headers": pairs, "content_type": content_type}
        self._entry(name, wanted, None, **sealed)  # refuses arguments before anything is stored
        publisher = StreamPublisher(self._api, in_flight_bytes=_FLYING)
        try:
            try:
                upload = await self._upload(publisher, subject, data)
            except DeliveryError as error:
                raise await self._explained(error) from None

            def make(_: Stored | None) -> bytes:
                return self._entry(name, wanted, upload, **sealed)

            try:
                replaced, stored = await self._store_entry(subject, make, upload)
            except XKeyMsgError as error:
                # Without an answer, it is unknown whether the entry is stored.
                if not isinstance(error, DeliveryError) or error.err_code is not None:
                    await self._discard(upload)
                raise
        finally:
            await publisher.close()
        # The server chooses the old entry, which must not name the new chunks.
        await self._purge_replaced(None if replaced == upload.nuid else replaced)
        return self._own(name, stored, upload.manifest()[0], pairs, content_type)

    async def _store_entry(
        self, subject: str, make: Callable[[Stored | None], bytes], upload: Upload
    ) -> tuple[str | None, Arrival]:
        try:
            return await self._write(subject, make)
        except PayloadTooLargeError:
            if upload.is_listed:
                raise
        await upload.store_list()  # then the entry has fewer hashes
        return await self._write(subject, make)

    def _own(
        self,
        name: str,
        stored: Arrival,
        manifest: Manifest,
        pairs: list[tuple[str, str]],
        content_type: str | None,
    ) -> ObjectInfo:
        """Return what was just stored, and remember it."""
        about = inspect(self._remember_own(name, stored, live=True), self._limits)
        return ObjectInfo(
            bucket=self.bucket,
            name=name,
            nuid=manifest.nuid,
            size=manifest.size,
            chunks=manifest.chunks,
            created=about.created,
            sender=about.sender,
            signer=about.identity if about.signed else None,
            admitted=True,
            content_type=content_type,
            headers=SealedHeaders(pairs),
            revision=stored.sequence,
        )

    def _remember_own(self, name: str, stored: Arrival, *, live: bool) -> bytes:
        """Remember the entry that was just stored, and return its envelope."""
        envelope = parse_entry(stored.data, self.bucket, name, self._limits).envelope
        sealing = Sealing.of(decode_head(envelope, *locate_head(envelope, self._limits)))
        with suppress(ValueRollbackError):  # another writer was faster
            self._opener.remember(stored.subject, sealing, stored.sequence, live=live)
        return envelope

    def _wanted(self, to: To | None) -> To:
        wanted = self._to if to is None else to
        if wanted is None:
            raise ConfigurationError("no recipients: give `to` here, or to client.objects()")
        return wanted if isinstance(wanted, ONE) else tuple(wanted)

    async def _upload(self, publisher: StreamPublisher, subject: str, data: Source) -> Upload:
        check_source(data)
        rewind, left = await in_thread(rewinder, data), _RETRIES
        while True:
            chunk = chunk_length(self._api.link.max_payload)
            upload = Upload(publisher, self.bucket, subject, chunk)
            try:
                await upload.store(data)
            except BaseException as error:
                await self._discard(upload)
                if rewind is None or not left or type(error) is not OutOfOrderError:
                    raise
                await in_thread(rewind)
                left -= 1
            else:
                return upload

    async def _discard(self, upload: Upload) -> None:
        """Delete the chunks of an upload that failed."""
        await upload.abandon()
        with suppress(XKeyMsgError):
            await self._purge(upload.nuid)

    def _entry(
        self,
        name: str,
        to: To,
        upload: Upload | None,
        *,
        nuid: str = "",
        headers: Any = (),
        content_type: Any = None,
    ) -> bytes:
        """Seal a manifest, or a tombstone; return the entry around it."""
        manifest, digest = (None, b"") if upload is None else upload.manifest()
        salt = "" if upload is None else upload.salt
        mtime = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        nuid = nuid if manifest is None else manifest.nuid
        outside: Any = {"nuid": nuid, "salt": salt, "digest": digest, "mtime": mtime}
        frame = encode_entry(self.bucket, name, manifest, b"", **outside)
        limit = self._api.link.max_payload
        room = max(1, (limit - len(frame) - _HEADERS) * 3 // 4) if limit else 0
        envelope = self._core.outgoing.payload(
            metadata_subject(self.bucket, name),
            TOMBSTONE if manifest is None else encode_manifest(manifest),
            self._core.client_trust.recipients(to),  # as trust is now: an upload can take hours
            room=Room(room, 0),
            headers=headers,
            content_type=content_type,
        )
        return encode_entry(self.bucket, name, manifest, envelope, **outside)

    async def _purge_replaced(self, nuid: str | None) -> None:
        """Delete the chunks of a replaced object; what fails is left for `purge_leftovers`."""
        if nuid is not None:
            try:
                await self._purge(nuid)
            except TransportError as error:
                self._events.tell(error, Where("connection", chunk_subject(self.bucket, nuid)))

    @refusing
    async def delete(self, name: str, *, to: To | None = None) -> None:
        """Delete an object: replace it by a sealed tombstone, and delete its chunks.

        Args:
            name: The name of the object.
            to: The recipients of the tombstone; by default those of the store.

        Raises:
            ObjectNotFoundError: If the bucket has no such object.
            XKeyMsgError: As `put`.
            TypeError: If an argument has the wrong type.
        """
        subject, wanted = metadata_subject(self.bucket, name), self._wanted(to)

        def make(present: Stored | None) -> bytes:
            nuid = None if present is None else nuid_in(present.data)
            if nuid is None:
                raise ObjectNotFoundError("no such object")
            return self._entry(name, wanted, None, nuid=nuid)

        replaced, stored = await self._write(subject, make)
        self._remember_own(name, stored, live=False)
        await self._purge_replaced(replaced)

    # --- reading ----------------------------------------------------------------------------------

    @refusing
    async def info(self, name: str) -> ObjectInfo:
        """Return what the writer of an object has sealed about it.

        Args:
            name: The name of the object.

        Raises:
            ObjectNotFoundError: If the bucket has no such object, or an admitted sender has deleted
                it.
            UnauthenticatedDeletionError: If the object is gone, and no admitted sender has deleted
                it.
            ObjectError: If the entry is not what a writer has sealed.
            ValueRollbackError: If a newer object of this name was opened here.
            StaleError: If it is older than `max_age`, or from the future.
            XKeyMsgError: As opening a message.
            TypeError: If the name is not a str.
        """
        return (await self._find(name))[0]

    async def _find(self, name: str) -> tuple[ObjectInfo, Manifest]:
        subject = metadata_subject(self.bucket, name)
        with suppress(ValueRollbackError, UnauthenticatedDeletionError):
            return await self._newest(subject)
        return await self._newest(subject)  # another read, or a write, may have overtaken this one

    async def _newest(self, subject: str) -> tuple[ObjectInfo, Manifest]:
        stored = await self._last(subject)
        if stored is None:
            raise self._opener.absent(subject, None)
        info, manifest = self._opener.open(Arrival(subject, stored.sequence, stored.data))
        if manifest is None:
            raise self._opener.absent(subject, info)
        return info, manifest

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[ObjectReader]:
        """Open an object for the duration of a block, to read its data piece by piece.

        Args:
            name: The name of the object.

        Raises:
            XKeyMsgError: As `info`; reading raises the errors of `ObjectReader`.
            TypeError: If the name is not a str.
        """
        async with await self._reader(name) as reader:
            yield reader

    @refusing
    async def _reader(self, name: str) -> ObjectReader:
        info, manifest = await self._find(name)

        async def missing() -> Exception:
            subject = metadata_subject(self.bucket, name)
            present = await self._last(subject)
            if present is None or nuid_in(present.data) != info.nuid:
                return DeliveryError("the object was replaced or deleted while it was read")
            return ObjectTruncatedError("chunks of the object are missing")

        return ObjectReader(self._api, self._stream, info, manifest, missing)

    @refusing
    async def get(
        self, name: str, *, into: BinaryIO | None = None, max_bytes: int = _MOST
    ) -> ObjectResult:
        """Return an object with its data, or write the data into a file.

        Args:
            name: The name of the object.
            into: A file that is open for writing bytes. If an error occurs, it has a beginning of
                the data, which is authentic.
            max_bytes: The greatest size to return, in bytes; without effect if there is a file.

        Raises:
            LimitExceededError: If the object is larger than `max_bytes`.
            XKeyMsgError: As `open`, and as reading.
            TypeError: If the name is not a str.
            Exception: As writing into the file does.
        """
        async with self.open(name) as reader:
            if into is None and reader.info.size > max_bytes:
                raise LimitExceededError("bytes of the object", reader.info.size, max_bytes)
            held = bytearray()
            async for piece in reader:
                held += piece
                if into is not None and len(held) >= _WRITE:
                    await in_thread(_write_all, into, bytes(held))
                    held.clear()
            if into is not None:
                await in_thread(_write_all, into, bytes(held))
                held.clear()
            return ObjectResult(reader.info, bytes(held))

    async def list(self, *, ignore_deletes: bool = True) -> list[ObjectInfo]:
        """Return the objects of the bucket.

        Refused entries are skipped, counted in `client.stats.refused`, and reported to `on_error`.
        The server can withhold any.

        Args:
            ignore_deletes: Whether to leave out deleted objects.

        Raises:
            DeliveryError: If the bucket does not exist, or the server does not answer.
            LimitExceededError: If there are more than a million.
            ConnectionFailedError: If the client is closed.
        """
        found: dict[str, ObjectInfo] = {}  # what is replaced meanwhile can arrive twice
        count = 0
        try:
            async with self._watch("last_per_subject", ignore_deletes=False) as entries:
                async for info in entries:
                    count += 1
                    if count > MOST_ENTRIES:
                        raise LimitExceededError("entries of the bucket", count, MOST_ENTRIES)
                    found[info.name] = info
        except DeliveryError as error:
            raise await self._explained(error) from None
        return [info for info in found.values() if not (info.deleted and ignore_deletes)]

    def watch(self, *, updates_only: bool = False, ignore_deletes: bool = False) -> ObjectWatch:
        """Return the objects of the bucket, and then each change; use it with `async with`.

        Args:
            updates_only: Whether to begin with the next change.
            ignore_deletes: Whether to leave out deleted objects.
        """
        policy: Literal["last_per_subject", "new"] = "new" if updates_only else "last_per_subject"
        return self._watch(policy, ignore_deletes=ignore_deletes, follow=True)

    def _watch(
        self,
        policy: Literal["last_per_subject", "new"],
        *,
        ignore_deletes: bool,
        follow: bool = False,
    ) -> ObjectWatch:
        feed, memory = self._feed(policy, follow=follow), self._opener.memory.view()
        return ObjectWatch(
            feed,
            lambda arrival: self._opener.open(arrival, memory)[0],
            self._events,
            ignore_deletes=ignore_deletes,
        )

    def __repr__(self) -> str:
        return f"<ObjectStore {self.bucket}>"


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]
