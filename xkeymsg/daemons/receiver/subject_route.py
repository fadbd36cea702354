"""A route that listens on a subject; messages are opened in order and offered to the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.common.subject_loop import SubjectLoop
from xkeymsg.daemons.receiver.batches import Outlet
from xkeymsg.daemons.receiver.config import ReceiverRoute
from xkeymsg.daemons.receiver.reports import ReceiverReporter
from xkeymsg.daemons.receiver.scope import RouteScope
from xkeymsg.errors import DeliveryError
from xkeymsg.keys import Keyring
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw

__all__ = ("SubjectRoute",)


class SubjectRoute:
    """Opens the messages of a subject, and offers each to the sink."""

    def __init__(
        self, route: ReceiverRoute, opening: RouteScope, outlet: Outlet, report: ReceiverReporter
    ) -> None:
        self._route = route
        self._opening = opening
        self._outlet = outlet
        self._report = report
        self._loop = SubjectLoop(route.max_in_flight, self._take)
        self.stop = self._loop.stop

    async def begin(self, link: Link) -> None:
        """Subscribe; the link's `confirm` raises if the server refuses it.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        assert self._route.subject is not None  # noqa: S101 - checked by the configuration
        await self._loop.begin(link, self._route.subject, self._route.queue or "")

    async def run(self) -> None:
        """Run until `stop`, then until every accepted message is settled."""
        try:
            await self._loop.run()
        finally:
            if self._loop.pending:
                self._report.cut_off(self._loop.pending)

    def rekey(self, keys: Keyring) -> None:
        """Use other keys of the same recipient."""
        self._opening.rekey(keys)

    def tick(self) -> None:
        """Count dropped messages, and report the replay memory."""
        self._report.remembered(self._opening.replay_state(), self._opening.max_age)
        self._report.dropped(self._loop.dropped)

    async def _take(self, raw: Raw) -> Coroutine[Any, Any, None] | None:
        self._report.metrics.received.inc()
        try:
            if len(raw.data) < self._opening.large:
                record, span = self._opening.read(raw)
            else:
                record, span = await asyncio.to_thread(self._opening.read, raw)
        except Exception as error:  # noqa: BLE001 - no message may end the loop
            self._report.refused(error, raw.data)
            return None
        return self._handle(record, span)

    async def _handle(self, record: Record, span: AbstractContextManager[object]) -> None:
        with self._report.metrics.in_flight.track_inprogress(), span:
            await self._deliver(record)

    async def _deliver(self, record: Record) -> None:
        begun, pause = perf_counter(), self._route.backoff
        for attempt in range(1, self._route.attempts + 1):
            try:
                await self._outlet.deliver(record)
            except DeliveryError as error:
                self._report.not_delivered(error)
                if attempt == self._route.attempts:
                    if self._opening.tracing is not None:
                        self._opening.tracing.failed(error)
                    self._report.lost(error)
                    return
            else:
                self._report.delivered(perf_counter() - begun)
                return
            await asyncio.sleep(min(pause, self._route.backoff_most))
            pause *= 2
