"""A route from a subject of the trusted server: core NATS, which keeps nothing."""

from __future__ import annotations

import asyncio

from xkeymsg.daemons.sender.pipeline import Pipeline
from xkeymsg.daemons.sender.route_sealer import Sealed
from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("SubjectSource",)


class SubjectSource:
    """Takes messages as long as there is room for them; what waits is the connection's to bound."""

    ends = False

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._report = pipeline.report
        self.name = pipeline.route.name
        self._room = asyncio.Semaphore(pipeline.route.max_in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._subscription: RawSubscription | None = None
        self._dropped = 0

    async def begin(self, source: Link) -> None:
        """Subscribe; the link's `confirm` says whether the server permits it.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        route = self._pipeline.route
        self._subscription = await source.subscribe(route.subject or ">", queue=route.queue or "")

    async def run(self) -> None:
        """Work until `stop`, and then until all that was accepted is done with."""
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
        """Take no more; `run` ends when what came before is done with."""
        if self._subscription is not None:
            await self._subscription.drain()

    def tick(self) -> None:
        """Count what found no room."""
        if self._subscription is None or self._subscription.dropped == self._dropped:
            return
        more = self._subscription.dropped - self._dropped
        self._dropped += more
        self._report.metrics.dropped.inc(more)
        self._report.log.often(
            "warning", "dropped", "route", route=self._report.route, messages=more
        )

    async def _take(self, raw: Raw) -> None:
        self._report.metrics.received.inc()
        try:
            sealed = await self._pipeline.seal(raw.data, raw.subject_text, parse_block(raw.headers))
        except Exception as error:  # noqa: BLE001 - whatever it is, no message ends this
            self._room.release()
            self._report.refused(error)
            return
        task = asyncio.create_task(self._send(sealed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, sealed: Sealed) -> None:
        try:
            await self._pipeline.send(sealed)
        except XKeyMsgError as error:
            self._report.lost(error)
        finally:
            self._room.release()
