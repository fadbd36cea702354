"""Sealing and sending of a route's messages, with pauses after failures."""

from __future__ import annotations

import asyncio
from time import perf_counter

from xkeymsg.client.telemetry import sending
from xkeymsg.daemons.common.logs import reason
from xkeymsg.daemons.sender.config import SenderRoute
from xkeymsg.daemons.sender.outputs import Output
from xkeymsg.daemons.sender.reports import SenderReporter
from xkeymsg.daemons.sender.route_sealer import RouteSealer, Sealed
from xkeymsg.errors import DeliveryError, XKeyMsgError

__all__ = ("Pipeline",)


class Pipeline:
    """Seals and sends the messages of a route, for any source."""

    def __init__(
        self, route: SenderRoute, sealing: RouteSealer, output: Output, report: SenderReporter
    ) -> None:
        self.route = route
        self.report = report
        self._sealing = sealing
        self._output = output

    async def seal(self, data: bytes, subject: str = "", headers: bytes = b"") -> Sealed:
        """Seal a message.

        Raises:
            XKeyMsgError: If it cannot be sealed.
        """
        begun = perf_counter()
        sealed = await self._sealing.seal(data, subject, headers)
        self.report.sealed(perf_counter() - begun)
        return sealed

    async def send_once(self, sealed: Sealed, name: str | None = None, **where: object) -> None:
        """Send a message, and count it.

        Args:
            sealed: The message.
            name: Its id, as for `Output.send`.
            **where: Its place, for the log.

        Raises:
            XKeyMsgError: As `Output.send`.
        """
        begun = perf_counter()
        self.report.metrics.in_flight.inc()
        try:
            with sending(sealed.trace):
                await self._output.send(sealed, name)
        except XKeyMsgError as error:
            self.report.not_delivered(error, **where)
            raise
        except Exception as error:  # noqa: BLE001 - counts as a failed delivery
            fault = DeliveryError(reason(error))
            self.report.not_delivered(fault, **where)
            raise fault from None
        finally:
            self.report.metrics.in_flight.dec()
        if sealed.left_out:
            self.report.left_out(sealed.left_out, **where)
        self.report.delivered(perf_counter() - begun)

    async def send(self, sealed: Sealed, name: str | None = None, **where: object) -> None:
        """Send a message; retry the same bytes, up to `attempts` in total.

        Raises:
            XKeyMsgError: As `Output.send`, from the last attempt.
        """
        for attempt in range(1, self.route.attempts):
            try:
                await self.send_once(sealed, name, **where)
            except DeliveryError:
                await asyncio.sleep(self.pause(attempt))
            else:
                return
        await self.send_once(sealed, name, **where)

    def pause(self, attempt: int) -> float:
        """Return the pause after an attempt, in seconds."""
        return min(self.route.backoff_most, self.route.backoff * 2.0 ** min(attempt - 1, 20))
