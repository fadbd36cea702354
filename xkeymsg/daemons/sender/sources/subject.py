"""A source that listens on a subject of the trusted server: core NATS, which stores nothing."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from xkeymsg.daemons.common.subject_loop import SubjectLoop
from xkeymsg.daemons.sender.pipeline import Pipeline
from xkeymsg.daemons.sender.route_sealer import Sealed
from xkeymsg.errors import PayloadTooLargeError, XKeyMsgError
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw

__all__ = ("SubjectSource",)


class SubjectSource:
    """Seals the messages of a subject, and sends each."""

    ends = False

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._report = pipeline.report
        self.name = pipeline.route.name
        self._loop = SubjectLoop(pipeline.route.max_in_flight, self._take)
        self.stop = self._loop.stop

    async def begin(self, source: Link) -> None:
        """Subscribe; the link's `confirm` raises if the server refuses it.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        route = self._pipeline.route
        await self._loop.begin(source, route.subject or ">", route.queue or "")

    async def run(self) -> None:
        """Run until `stop`, then until every accepted message is settled."""
        try:
            await self._loop.run()
        finally:
            if self._loop.pending:
                self._report.cut_off(self._loop.pending)

    def tick(self) -> None:
        """Count dropped messages."""
        self._report.dropped(self._loop.dropped)

    async def _take(self, raw: Raw) -> Coroutine[Any, Any, None] | None:
        self._report.metrics.received.inc()
        try:
            sealed = await self._pipeline.seal(raw.data, raw.subject_text, raw.headers)
        except Exception as error:  # noqa: BLE001 - no message may end the loop
            self._report.refused(error, subject=raw.subject_text)
            return None
        return self._send(sealed, raw.subject_text)

    async def _send(self, sealed: Sealed, subject: str) -> None:
        try:
            await self._pipeline.send(sealed, subject=subject)
        except PayloadTooLargeError as error:
            self._report.refused(error, subject=subject)
        except XKeyMsgError as error:
            self._report.lost(error, subject=subject)
