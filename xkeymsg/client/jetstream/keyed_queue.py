"""Who is next: in the order of arrival, or one at a time for each sealed subject."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ("KeyedQueue",)

_T = TypeVar("_T")


class KeyedQueue(Generic[_T]):
    """A queue for several workers.

    With keys, what has the same key is handed out one after another, each when the one before is
    `done`; what has none is handed out at once. It is bounded by who puts into it.
    """

    def __init__(self) -> None:
        self._ready: asyncio.Queue[_T] = asyncio.Queue()
        self._lanes: dict[str, deque[_T]] = {}

    def put(self, item: _T, key: str | None = None) -> None:
        """Add something, behind what has the same key."""
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
        """Hand out once more what was handed out and is not done: its lane still waits."""
        self._ready.put_nowait(item)

    def done(self, key: str | None) -> None:
        """Let the next with this key pass."""
        if key is None:
            return
        lane = self._lanes[key]
        if lane:
            self._ready.put_nowait(lane.popleft())
        else:
            del self._lanes[key]

    async def get(self) -> _T:
        """Wait for the next."""
        return await self._ready.get()
