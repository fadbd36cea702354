"""Takes the messages of a subject in order, and settles several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("SubjectLoop",)


class SubjectLoop:
    """Reads messages while fewer than `most` are pending; the link bounds the backlog.

    Args:
        most: How many messages may be pending.
        take: Called with each message, in order; it returns what settles the message, or None if
            the message was refused. It does not raise.
    """

    def __init__(
        self, most: int, take: Callable[[Raw], Awaitable[Coroutine[Any, Any, None] | None]]
    ) -> None:
        self._room = asyncio.Semaphore(most)
        self._take = take
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: RawSubscription | None = None
        self._in_hand = 0

    async def begin(self, link: Link, subject: str, queue: str) -> None:
        """Subscribe; the link's `confirm` raises if the server refuses it.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        self._subscription = await link.subscribe(subject, queue=queue)

    async def run(self) -> None:
        """Run until `stop`, then until every accepted message is settled."""
        assert self._subscription is not None  # noqa: S101 - `begin` was called
        try:
            async for raw in self._subscription:
                self._in_hand = 1
                await self._room.acquire()
                settling = await self._take(raw)
                self._in_hand = 0
                if settling is None:
                    self._room.release()
                    continue
                task = asyncio.create_task(settling)
                self._tasks.add(task)
                task.add_done_callback(self._done)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def stop(self) -> None:
        """Read no more; `run` ends when earlier messages are settled."""
        if self._subscription is not None:
            await self._subscription.drain()

    @property
    def pending(self) -> int:
        """How many messages have arrived and are not settled."""
        waiting = 0 if self._subscription is None else self._subscription.pending
        return len(self._tasks) + self._in_hand + waiting

    @property
    def dropped(self) -> int:
        """How many messages the link has dropped, because its buffer was full."""
        return 0 if self._subscription is None else self._subscription.dropped
