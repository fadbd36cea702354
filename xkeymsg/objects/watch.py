"""`ObjectWatch`: the entries of a bucket, opened, as they are now and as they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from xkeymsg.client.stats import Events, Where
from xkeymsg.objects.feed import Arrival, Feed
from xkeymsg.objects.info import ObjectInfo

__all__ = ("ObjectWatch",)


class ObjectWatch:
    """Yields objects with `async for`; made by `ObjectStore.watch`.

    Refused entries are skipped, counted in `client.stats.refused`, and reported to `on_error`. The
    server decides which entries it shows, and can withhold any.
    """

    def __init__(
        self,
        feed: Feed,
        describe: Callable[[Arrival], ObjectInfo],
        events: Events,
        *,
        ignore_deletes: bool,
    ) -> None:
        self._feed = feed
        self._describe = describe
        self._events = events
        self._ignore_deletes = ignore_deletes

    async def __aenter__(self) -> Self:
        """Start the watch; it yields every object that changes from now on.

        Raises:
            DeliveryError: If the server refuses, or does not answer.
            ConnectionFailedError: If the connection is closed.
        """
        await self._feed.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._feed.close()

    def __aiter__(self) -> Self:
        """Return the watch itself."""
        return self

    async def __anext__(self) -> ObjectInfo:
        """Return the next object.

        Raises:
            DeliveryError: If the server refuses, or does not answer.
            ConnectionFailedError: If the connection is closed.
        """
        while (arrival := await self._feed.next()) is not None:
            try:
                info = self._describe(arrival)
            except Exception as error:  # noqa: BLE001 - also of trust: the next entry may be valid
                self._events.refused(error, Where("message", arrival.subject))
                continue
            if not (info.deleted and self._ignore_deletes):
                return info
        raise StopAsyncIteration
