"""Reports of a route: to the log, to metrics, and to `nats micro`.

The line of a refused message has its code and nothing else of it: all of it is a stranger's.
"""

from __future__ import annotations

from xkeymsg.daemons.common.logs import reason
from xkeymsg.daemons.common.reports import Reporter, code_of
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import DeliveryError, XKeyMsgError

__all__ = ("ReceiverReporter",)


class ReceiverReporter(Reporter):
    """Tells what happens on one route."""

    def opened(self, seconds: float) -> None:
        """A message was opened."""
        self.metrics.opened.inc()
        self.metrics.open_time.observe(seconds)

    def refused(self, error: BaseException) -> None:
        """A message was not opened."""
        code = code_of(error)
        self.metrics.refused(code)
        self.failed(code)
        fields = {} if isinstance(error, XKeyMsgError) else {"error": reason(error)}
        self.log.often("warning", "refused", "route", "code", route=self.route, code=code, **fields)

    def not_delivered(self, error: DeliveryError) -> None:
        """An attempt has failed; another may follow."""
        self.metrics.failures.inc()
        why = str(error)
        self.log.often("warning", "not delivered", "route", "why", route=self.route, why=why)

    def lost(self, error: DeliveryError) -> None:
        """The last attempt has failed, and nobody keeps the message."""
        self.metrics.lost.inc()
        self.failed(error.code)
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
