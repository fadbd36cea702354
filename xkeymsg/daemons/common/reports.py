"""Reports of a route: to the log, to metrics, and to `nats micro`."""

from __future__ import annotations

from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.metrics import OTHER, RouteMetrics
from xkeymsg.daemons.common.service import Endpoint
from xkeymsg.errors import XKeyMsgError

__all__ = ("Reporter", "code_of")


def code_of(error: BaseException) -> str:
    """Return our code of an error."""
    return (error.code or OTHER) if isinstance(error, XKeyMsgError) else OTHER


class Reporter:
    """Reports what both daemons do on a route; each daemon has a subclass for the rest."""

    def __init__(self, route: str, log: Log, metrics: RouteMetrics, endpoint: Endpoint) -> None:
        self.route = route
        self.log = log
        self.metrics = metrics
        self.endpoint = endpoint

    def delivered(self, seconds: float) -> None:
        """A message was accepted at its destination, after `seconds` with all attempts."""
        self.metrics.delivered.inc()
        self.metrics.delivery_time.observe(seconds)
        self.endpoint.requests += 1
        self.endpoint.seconds += seconds

    def failed(self, code: str) -> None:
        """A message failed: `nats micro` counts it."""
        self.endpoint.requests += 1
        self.endpoint.errors += 1
        self.endpoint.last_error = code
