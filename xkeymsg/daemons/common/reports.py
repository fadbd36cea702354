"""Reports of a route's events: to the log, to metrics, and to `nats micro`."""

from __future__ import annotations

from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.metrics import OTHER, RouteMetrics
from xkeymsg.daemons.common.service import Endpoint
from xkeymsg.errors import XKeyMsgError

__all__ = ("Reporter", "code_of")


def code_of(error: BaseException) -> str:
    """Return the code of an error; `error` if it is not an error of this package."""
    return (error.code or OTHER) if isinstance(error, XKeyMsgError) else OTHER


class Reporter:
    """Reporter of the events of a route that both daemons have; each daemon has a subclass."""

    def __init__(self, route: str, log: Log, metrics: RouteMetrics, endpoint: Endpoint) -> None:
        self.route = route
        self.log = log
        self.metrics = metrics
        self.endpoint = endpoint

    def delivered(self, seconds: float) -> None:
        """Record a message accepted at its destination, after `seconds` including all attempts."""
        self.metrics.delivered.inc()
        self.metrics.delivery_time.observe(seconds)
        self.endpoint.requests += 1
        self.endpoint.seconds += seconds

    def failed(self, code: str) -> None:
        """Record a failed message, for `nats micro`."""
        self.endpoint.requests += 1
        self.endpoint.errors += 1
        self.endpoint.last_error = code
