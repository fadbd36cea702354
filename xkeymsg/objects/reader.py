"""`ObjectReader`: the verified data of an object, chunk by chunk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Self

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.refusals import refusing
from xkeymsg.objects.chunks import ChunkOpener
from xkeymsg.objects.feed import Feed
from xkeymsg.objects.info import ObjectInfo
from xkeymsg.objects.manifest import HASH, Manifest
from xkeymsg.objects.names import chunk_subject, list_subject
from xkeymsg.shown import SafeRepr

__all__ = ("ObjectReader",)

_WINDOW: Final = 2 << 20
"""Bytes of chunks that are requested at a time."""


class ObjectReader(SafeRepr):
    """Yields the data of an object with `async for`; made by `ObjectStore.open`.

    Each piece is authentic and at its place. If a later one is refused, the pieces before it are
    still the beginning of the object.
    """

    def __init__(
        self,
        api: API,
        stream: str,
        info: ObjectInfo,
        manifest: Manifest,
        on_missing: Callable[[], Awaitable[Exception]],
    ) -> None:
        self.info = info
        """The object."""
        self._on_missing = on_missing
        size, chunk, listed = manifest.size, manifest.chunk, manifest.listed
        key, nuid, bucket = manifest.content_key, manifest.nuid, info.bucket
        self._feed = Feed(api, stream, chunk_subject(bucket, nuid), window=_window(chunk))
        self._list: Feed | None = None
        if listed is None:
            hashes = manifest.hashes
        else:
            hashes = b""
            self._list = Feed(api, stream, list_subject(bucket, nuid, listed), window=2)
            self._hashes = ChunkOpener(
                key, listed, size=HASH * manifest.chunks, chunk=chunk, hashes=manifest.hashes
            )
        self._chunks = ChunkOpener(key, manifest.id, size=size, chunk=chunk, hashes=hashes)

    async def __aenter__(self) -> Self:
        """Return the reader itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._feed.close()
        if self._list is not None:
            await self._list.close()

    def __aiter__(self) -> Self:
        """Return the reader itself."""
        return self

    @refusing
    async def __anext__(self) -> bytes:
        """Return the next piece of the data.

        Raises:
            ObjectError: If a chunk is missing, replaced, or at another place.
            AuthenticationError: If a chunk does not open.
            DeliveryError: If the server does not answer; or the object was replaced meanwhile.
        """
        if not self._chunks.left:
            raise StopAsyncIteration
        if self._list is not None and self._chunks.needs_hashes:
            self._chunks.expect(self._hashes.open(await self._next(self._list)))
        return self._chunks.open(await self._next(self._feed))

    async def _next(self, feed: Feed) -> bytes:
        arrival = await feed.next()
        if arrival is None:
            raise await self._on_missing()
        return arrival.data

    def __repr__(self) -> str:
        return f"<ObjectReader, {self._chunks!r}>"


def _window(chunk: int) -> int:
    return max(8, min(256, _WINDOW // chunk))
