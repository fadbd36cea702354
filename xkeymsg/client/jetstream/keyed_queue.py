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

    Items that are tried again alternate with new ones: however many fail each time, and however
    many are new, neither make the others wait.
    """

    def __init__(self) -> None:
        self._count = asyncio.Semaphore(0)
        self._new: deque[_T] = deque()
        self._retried: deque[_T] = deque()
        self._was_new = False
        self._lanes: dict[str, deque[_T]] = {}

    def put(self, item: _T, key: str | None = None) -> None:
        """Add an item, after those with the same key."""
        lane = None if key is None else self._lanes.get(key)
        if lane is not None:
            lane.append(item)
            return
        if key is not None:
            self._lanes[key] = deque()
        self._add(item)

    def _add(self, item: _T) -> None:
        self._new.append(item)
        self._count.release()

    def again(self, item: _T) -> None:
        """Hand out an item again that is not done; its lane still waits."""
        self._retried.append(item)
        self._count.release()

    def back(self, item: _T, *, new: bool) -> None:
        """Return an item that was not tried this time; it is handed out next."""
        (self._new if new else self._retried).appendleft(item)
        self._count.release()

    def done(self, key: str | None) -> None:
        """Release the next item with this key."""
        if key is None:
            return
        lane = self._lanes[key]
        if lane:
            self._add(lane.popleft())
        else:
            del self._lanes[key]

    async def get(self, *, new_first: bool = False) -> _T:
        """Wait for the next item; with `new_first`, one that is tried again only if none is new."""
        await self._count.acquire()
        new = bool(self._new) and (new_first or not self._was_new or not self._retried)
        self._was_new = new
        return (self._new if new else self._retried).popleft()
