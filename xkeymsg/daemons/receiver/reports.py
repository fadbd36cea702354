"""Reports of a route: to the log, to metrics, and to `nats micro`.

The log line of a refused message shows its place, the code and the text of the error; no text of an
error has content of a message.
"""

from __future__ import annotations

from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.metrics import RouteMetrics
from xkeymsg.daemons.common.reports import Reporter, code_of
from xkeymsg.daemons.common.service import Endpoint
from xkeymsg.daemons.receiver.refused_senders import RefusedSenders
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import DeliveryError

__all__ = ("ReceiverReporter",)


class ReceiverReporter(Reporter):
    """Reports what happens on one route.

    Args:
        route: Its name.
        log: The log.
        metrics: Its metrics.
        endpoint: Its part of the replies to `nats micro`.
        routes: The number of routes of the daemon.
    """

    def __init__(
        self, route: str, log: Log, metrics: RouteMetrics, endpoint: Endpoint, *, routes: int
    ) -> None:
        super().__init__(route, log, metrics, endpoint)
        self._senders = RefusedSenders(routes)
        endpoint.more = lambda: {"refused_senders": self._senders.counts()}

    def opened(self, seconds: float) -> None:
        """Report an opened message."""
        self.metrics.opened.inc()
        self.metrics.open_time.observe(seconds)

    def refused(self, error: BaseException, envelope: bytes, **where: object) -> None:
        """Report a refused message.

        Args:
            error: The reason.
            envelope: The message.
            **where: The place of the message.
        """
        self._senders.note(envelope, self._refused(code_of(error)), error)
        self._often("warning", "refused", error, **where)

    def not_delivered(self, error: DeliveryError) -> None:
        """Report a failed attempt; another may follow."""
        self.metrics.failures.inc()
        self._often("warning", "not delivered", error)

    def lost(self, error: DeliveryError) -> None:
        """Report a message that is lost: the last attempt failed, and no stream keeps it."""
        self.metrics.lost.inc()
        self.failed(error.code)
        self._often("error", "lost", error)

    def cut_off(self, messages: int) -> None:
        """Report messages of a subject that are given up at the deadline.

        Args:
            messages: Their number; the sink may have taken some.
        """
        self.metrics.lost.inc(messages)
        self.log.error("no time to deliver", route=self.route, messages=messages)

    def remembered(self, state: ReplayState, max_age: float) -> None:
        """Report the state of the route's replay memory."""
        self.metrics.replay(state, max_age)
        self.endpoint.data["replay"] = {"covers": state.covers, "max_age": max_age}
        if state.covers is not None and state.covers < max_age:
            self.log.often(
                "warning", "replay memory is short", "route", route=self.route,
                covers=round(state.covers), max_age=round(max_age),
                why="older messages are refused as stale: raise replay_bytes",
            )  # fmt: skip
