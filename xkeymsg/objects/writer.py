"""Uploads chunks: pipelined, acknowledged, and in order."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from contextlib import aclosing
from typing import Final

from xkeymsg.ambient import random_bytes
from xkeymsg.arguments import Buffer
from xkeymsg.client.jetstream.api import PubAck
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, DeliveryError, LimitExceededError
from xkeymsg.objects.chunks import ChunkSealer, draw_key
from xkeymsg.objects.manifest import HASH, INLINE, LARGEST, SMALLEST, Manifest
from xkeymsg.objects.names import chunk_subject, id_of, list_subject, nuid_of
from xkeymsg.objects.sources import Source, blocks

__all__ = ("OutOfOrderError", "Upload", "chunk_length")

_TIMEOUT: Final = 60.0
"""Seconds for an acknowledgement, with retries; less than a bucket's duplicate window."""
_GRACE: Final = 5.0
"""Seconds to wait for what is in flight when an upload has failed."""
_ROOM: Final = 256
"""Bytes of a chunk's tag and headers, at most."""


class OutOfOrderError(DeliveryError):
    """A lost connection has changed the order of the chunks; put the object again."""


def chunk_length(max_payload: int) -> int:
    """Return the length of the chunks' plaintext for a server's limit.

    Raises:
        ConfigurationError: If the limit is too small for the smallest chunks.
    """
    length = LARGEST
    while 0 < max_payload < length + _ROOM:
        length //= 2
    if length < SMALLEST:
        raise ConfigurationError(f"the server's max_payload ({max_payload}) is too small")
    return length


class _Track:
    """Chunks with one id, on one subject, in order."""

    def __init__(self, publisher: StreamPublisher, subject: str, sealer: ChunkSealer) -> None:
        self.hashes = bytearray()
        """Hashes of the chunks that were stored, or are on their way."""
        self._publisher = publisher
        self._subject = subject
        self._sealer = sealer
        self._flying: deque[asyncio.Future[PubAck]] = deque()
        self._last = 0

    async def store(self, data: Buffer, *, last: bool) -> bytes:
        """Seal and send the next chunk; return its ciphertext."""
        number = self._sealer.count
        sealed, found = self._sealer.seal(data, last=last)
        self.hashes += found
        # The subject holds the unguessable id: nobody else has used these.
        headers = b"NATS/1.0\r\nNats-Msg-Id: %b.%d\r\n\r\n" % (self._subject.encode(), number)
        self._flying.append(
            await self._publisher.submit(self._subject, sealed, headers, timeout=_TIMEOUT)
        )
        while self._flying and self._flying[0].done():
            self._landed(self._flying.popleft().result())
        return sealed

    async def finish(self) -> None:
        """Wait until the bucket has all chunks, in their order."""
        while self._flying:
            self._landed(await self._flying.popleft())

    def _landed(self, ack: PubAck) -> None:
        if ack.sequence <= self._last:
            raise OutOfOrderError("a lost connection changed the order of the chunks; try again")
        self._last = ack.sequence

    async def abandon(self) -> None:
        """Wait until nothing is in flight: a purge would miss it."""
        flying = set(self._flying)
        self._flying.clear()
        if flying:
            done, left = await asyncio.wait(flying, timeout=_GRACE)
            for future in done:
                if not future.cancelled():
                    future.exception()  # retrieved
            for future in left:
                future.cancel()


class Upload(SafeRepr):
    """The chunks of one object, and of the list of their hashes if there are many."""

    def __init__(self, publisher: StreamPublisher, bucket: str, subject: str, chunk: int) -> None:
        self._publisher = publisher
        self._bucket = bucket
        self._chunk = chunk
        self.salt = nuid_of(random_bytes(16))
        """Proves to other writers that the id is of the entry with this subject."""
        self._id = id_of(subject, self.salt)
        self._listed = random_bytes(16)
        self._key = draw_key()
        self.nuid = nuid_of(self._id)
        """The id in subjects."""
        self._chunks = self._track(chunk_subject(bucket, self.nuid), self._id)
        self._list: _Track | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    def _track(self, subject: str, id: bytes) -> _Track:  # noqa: A002 - the spec's term
        return _Track(self._publisher, subject, ChunkSealer(self._key, id))

    async def store(self, source: Source) -> None:
        """Store all chunks of the data, and a list of their hashes if they are many.

        Raises:
            XKeyMsgError: If the bucket does not take them; nothing is an object then.
            Exception: As the source does.
        """
        async with aclosing(blocks(source, self._chunk)) as cut:
            async for block, last in cut:
                self._size += len(block)
                self._digest.update(await self._chunks.store(block, last=last))
                if len(self._chunks.hashes) > INLINE * HASH:
                    await self._store_hashes()
        await self._chunks.finish()
        if self._list is not None:
            await self.store_list()

    async def _store_hashes(self) -> None:
        """Store complete chunks of hashes, except one that could be the last."""
        if self._list is None:
            self._list = self._track(
                list_subject(self._bucket, self.nuid, self._listed), self._listed
            )
        hashes = self._chunks.hashes
        while len(hashes) > self._chunk:
            await self._list.store(bytes(hashes[: self._chunk]), last=False)
            del hashes[: self._chunk]
        if len(self._list.hashes) >= INLINE * HASH:
            raise LimitExceededError("chunks of the list of hashes", INLINE + 1, INLINE)

    async def store_list(self) -> None:
        """Store the hashes that are left as the end of a list."""
        await self._store_hashes()
        assert self._list is not None  # noqa: S101 - made above
        await self._list.store(bytes(self._chunks.hashes), last=True)
        await self._list.finish()

    @property
    def is_listed(self) -> bool:
        """Whether the hashes are stored as a list."""
        return self._list is not None

    def manifest(self) -> tuple[Manifest, bytes]:
        """Return the manifest, and the SHA-256 of the whole ciphertext."""
        listed = None if self._list is None else self._listed
        hashes = bytes((self._list or self._chunks).hashes)
        manifest = Manifest(self._id, self._key, self._size, self._chunk, hashes, listed)
        return manifest, self._digest.digest()

    async def abandon(self) -> None:
        """Wait, for a short time, until nothing is in flight."""
        await self._chunks.abandon()
        if self._list is not None:
            await self._list.abandon()

    def __repr__(self) -> str:
        return f"<Upload of {self.nuid}, {self._size} bytes>"
