"""A source that listens on a subject of the trusted server: core NATS, which stores nothing."""

from __future__ import annotations

import asyncio

from xkeymsg.daemons.sender.pipeline import Pipeline
from xkeymsg.daemons.sender.route_sealer import Sealed
from xkeymsg.errors import PayloadTooLargeError, XKeyMsgError
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("SubjectSource",)


class SubjectSource:
    """Reads messages while fewer than `max_in_flight` are pending; the link bounds the backlog."""

    ends = False

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._report = pipeline.report
        self.name = pipeline.route.name
        self._room = asyncio.Semaphore(pipeline.route.max_in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: RawSubscription | None = None

    async def begin(self, source: Link) -> None:
        """Subscribe; the link's `confirm` raises if the server refuses it.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        route = self._pipeline.route
        self._subscription = await source.subscribe(route.subject or ">", queue=route.queue or "")

    async def run(self) -> None:
        """Run until `stop`, then until every accepted message is settled."""
        assert self._subscription is not None  # noqa: S101 - `begin` was called
        try:
            async for raw in self._subscription:
                await self._room.acquire()
                await self._take(raw)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            if self._tasks:
                self._report.cut_off(len(self._tasks))
            for task in self._tasks:
                task.cancel()

    async def stop(self) -> None:
        """Read no more; `run` ends when earlier messages are settled."""
        if self._subscription is not None:
            await self._subscription.drain()

    def tick(self) -> None:
        """Count dropped messages."""
        if self._subscription is not None:
            self._report.dropped(self._subscription.dropped)

    async def _take(self, raw: Raw) -> None:
        self._report.metrics.received.inc()
        try:
            sealed = await self._pipeline.seal(raw.data, raw.subject_text, raw.headers)
        except Exception as error:  # noqa: BLE001 - no message may end the loop
            self._room.release()
            self._report.refused(error, subject=raw.subject_text)
            return
        task = asyncio.create_task(self._send(sealed, raw.subject_text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, sealed: Sealed, subject: str) -> None:
        try:
            await self._pipeline.send(sealed, subject=subject)
        except PayloadTooLargeError as error:
            self._report.refused(error, subject=subject)
        except XKeyMsgError as error:
            self._report.lost(error, subject=subject)
        finally:
            self._room.release()
