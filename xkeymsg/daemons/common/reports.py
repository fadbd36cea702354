"""Reports of a route's events: to the log, to metrics, and to `nats micro`."""

from __future__ import annotations

from typing import Final

from xkeymsg.client.jetstream.events import ConsumerEvent
from xkeymsg.daemons.common.logs import Level, Log, reason
from xkeymsg.daemons.common.metrics import CODES, OTHER, RouteMetrics
from xkeymsg.daemons.common.service import Endpoint
from xkeymsg.errors import XKeyMsgError

__all__ = ("Reporter", "code_of", "why")

_EVENTS: Final = {
    "recreated": "durable recreated",
    "rewound": "durable rewound",
    "delivery": "reply to JetStream not sent",
}
"""Log lines for events of a consumer."""


def code_of(error: BaseException) -> str:
    """Return the code of an error; `error` if it is not an error of this package."""
    return (error.code or OTHER) if isinstance(error, XKeyMsgError) else OTHER


def why(error: BaseException) -> str:
    """Return the text of an error for a log line, without anything that could be plaintext."""
    return str(error) if isinstance(error, XKeyMsgError) else reason(error)


class Reporter:
    """Reporter of the events of a route that both daemons have; each daemon has a subclass."""

    def __init__(self, route: str, log: Log, metrics: RouteMetrics, endpoint: Endpoint) -> None:
        self.route = route
        self.log = log
        self.metrics = metrics
        self.endpoint = endpoint
        self._dropped = 0

    def delivered(self, seconds: float) -> None:
        """Record a message accepted at its destination, after `seconds` including all attempts."""
        self.metrics.delivered.inc()
        self.metrics.delivery_time.observe(seconds)
        self.endpoint.requests += 1
        self.endpoint.seconds += seconds

    def dropped(self, total: int) -> None:
        """Report messages that a full subscription has dropped since the last call.

        Args:
            total: All that it has dropped.
        """
        more, self._dropped = total - self._dropped, total
        if more:
            self.metrics.dropped.inc(more)
            self.log.often("warning", "dropped", "route", route=self.route, messages=more)

    def noted(self, event: ConsumerEvent) -> None:
        """Log an event of a stream's consumer, unless it is about one attempt, or logged before."""
        if event.kind in ("retry", "drop", "rejected"):
            return
        fields: dict[str, object] = {"route": self.route, "code": event.code}
        if event.sequence:
            fields["sequence"] = event.sequence
        if event.error is not None:
            fields["why"] = why(event.error)
        level: Level = "error" if event.kind in ("blocked", "trouble") else "warning"
        self.log.often(level, _EVENTS.get(event.kind, event.kind), "route", "code", **fields)

    def blocked(self, *, is_blocked: bool) -> None:
        """Record whether the route is blocked."""
        self.metrics.blocked.set(is_blocked)
        self.endpoint.data["blocked"] = is_blocked

    def _refused(self, code: str) -> str:
        """Record a refused message; return the code under which it is counted."""
        self.metrics.refused(code)
        self.failed(code)
        counts = self.endpoint.data.setdefault("refused", {})
        code = code if code in CODES else OTHER
        counts[code] = counts.get(code, 0) + 1
        return code

    def failed(self, code: str) -> None:
        """Record a failed message, for `nats micro`."""
        self.endpoint.requests += 1
        self.endpoint.errors += 1
        self.endpoint.last_error = code

    def _often(self, level: Level, event: str, error: BaseException, **where: object) -> None:
        """Log an event that can repeat at any rate: one line a second for each code."""
        fields = {"route": self.route, "code": code_of(error), "why": why(error), **where}
        self.log.often(level, event, "route", "code", **fields)
