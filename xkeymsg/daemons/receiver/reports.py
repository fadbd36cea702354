"""Reports of a route: to the log, to metrics, and to `nats micro`.

The line of a refused message has its code and nothing else of it: all of it is a stranger's.
"""

from __future__ import annotations

from xkeymsg.daemons.common.logs import Log, reason
from xkeymsg.daemons.common.metrics import OTHER, RouteMetrics
from xkeymsg.daemons.common.service import Endpoint
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import DeliveryError, XKeyMsgError

__all__ = ("Reporter",)


class Reporter:
    """Tells what happens on one route."""

    def __init__(self, route: str, log: Log, metrics: RouteMetrics, endpoint: Endpoint) -> None:
        self.route = route
        self.log = log
        self.metrics = metrics
        self.endpoint = endpoint

    def opened(self, seconds: float) -> None:
        """A message was opened."""
        self.metrics.opened.inc()
        self.metrics.open_time.observe(seconds)

    def refused(self, error: BaseException) -> None:
        """A message was not opened."""
        code = error.code if isinstance(error, XKeyMsgError) else OTHER
        self.metrics.refused(code)
        self._failed(code)
        fields = {} if isinstance(error, XKeyMsgError) else {"error": reason(error)}
        self.log.often("warning", "refused", "route", "code", route=self.route, code=code, **fields)

    def delivered(self, seconds: float) -> None:
        """The sink has taken a message, which took it so long with all attempts."""
        self.metrics.delivered.inc()
        self.metrics.delivery_time.observe(seconds)
        self.endpoint.requests += 1
        self.endpoint.seconds += seconds

    def not_delivered(self, error: DeliveryError) -> None:
        """An attempt has failed; another may follow."""
        self.metrics.failures.inc()
        why = str(error)
        self.log.often("warning", "not delivered", "route", "why", route=self.route, why=why)

    def lost(self, error: DeliveryError) -> None:
        """The last attempt has failed, and nobody keeps the message."""
        self.metrics.lost.inc()
        self._failed(error.code)
        self.log.often("error", "lost", "route", "why", route=self.route, why=str(error))

    def remembered(self, state: ReplayState, max_age: float) -> None:
        """Report the state of the route's replay memory."""
        self.metrics.replay(state, max_age)
        if state.covers is not None and state.covers < max_age:
            self.log.often(
                "warning", "replay memory is short", "route", route=self.route,
                covers=round(state.covers), max_age=round(max_age),
                why="older messages are refused as stale: raise replay_bytes",
            )  # fmt: skip

    def _failed(self, code: str) -> None:
        self.endpoint.requests += 1
        self.endpoint.errors += 1
        self.endpoint.last_error = code
