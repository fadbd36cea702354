"""`ObjectReader`: the verified data of an object, chunk by chunk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Self

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.refusals import refusing
from xkeymsg.display import SafeRepr
from xkeymsg.objects.chunks import DataOpener
from xkeymsg.objects.feed import Feed
from xkeymsg.objects.info import ObjectInfo
from xkeymsg.objects.manifest import Manifest
from xkeymsg.objects.names import chunk_subject, list_subject

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
        self._opener = DataOpener(manifest)
        nuid, bucket, listed = manifest.nuid, info.bucket, manifest.listed
        window = max(8, min(256, _WINDOW // manifest.chunk))
        self._feed = Feed(api, stream, chunk_subject(bucket, nuid), window=window)
        self._list: Feed | None = None
        if listed is not None:
            self._list = Feed(api, stream, list_subject(bucket, nuid, listed), window=2)

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
            DeliveryError: If the server does not answer; or the object was replaced.
        """
        if not self._opener.left:
            raise StopAsyncIteration
        if self._list is not None and self._opener.needs_list:
            self._opener.open_list(await self._next(self._list))
        return self._opener.open(await self._next(self._feed))

    async def _next(self, feed: Feed) -> bytes:
        arrival = await feed.next()
        if arrival is None:
            raise await self._on_missing()
        return arrival.data

    def __repr__(self) -> str:
        return f"<ObjectReader, {self._opener!r}>"
