"""A key-ordered queue: items in order of arrival, or one at a time per key."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ("KeyedQueue",)

_T = TypeVar("_T")


class KeyedQueue(Generic[_T]):
    """A queue for several workers.

    Items with the same key are handed out one after another, each after the previous one is `done`;
    items without a key at once. The producer must bound the number of items.
    """

    def __init__(self) -> None:
        self._ready: asyncio.Queue[_T] = asyncio.Queue()
        self._lanes: dict[str, deque[_T]] = {}

    def put(self, item: _T, key: str | None = None) -> None:
        """Add an item, after those with the same key."""
        if key is None:
            self._ready.put_nowait(item)
            return
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = deque()
            self._ready.put_nowait(item)
        else:
            lane.append(item)

    def again(self, item: _T) -> None:
        """Hand out an item again that is not done; its lane still waits."""
        self._ready.put_nowait(item)

    def done(self, key: str | None) -> None:
        """Release the next item with this key."""
        if key is None:
            return
        lane = self._lanes[key]
        if lane:
            self._ready.put_nowait(lane.popleft())
        else:
            del self._lanes[key]

    async def get(self) -> _T:
        """Wait for the next item."""
        return await self._ready.get()
