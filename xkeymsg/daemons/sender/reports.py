"""Reports of a route: to the log, to metrics, and to `nats micro`.

The log line of a refused message shows its place, the reason, and the pointers of fields that no
rule matches; nothing else of its content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.metrics import RouteMetrics
from xkeymsg.daemons.common.reports import Reporter, code_of, why
from xkeymsg.daemons.common.service import Endpoint
from xkeymsg.errors import XKeyMsgError

__all__ = ("SenderReporter",)


class SenderReporter(Reporter):
    """Reports what happens on one route."""

    def __init__(self, route: str, log: Log, metrics: RouteMetrics, endpoint: Endpoint) -> None:
        super().__init__(route, log, metrics, endpoint)
        self._warned_of_numbers = False
        self.unsent = 0
        """Number of messages refused or lost."""

    def sealed(self, seconds: float) -> None:
        """Report a sealed message."""
        self.metrics.sealed.inc()
        self.metrics.seal_time.observe(seconds)

    def numbers_changed(self, count: int, first: Callable[[], str]) -> None:
        """Report numbers of a document whose digits changed; only the first time is logged."""
        self.metrics.changed_numbers.inc(count)
        if not self._warned_of_numbers:
            self._warned_of_numbers = True
            self.log.warning(
                "digits of numbers change", route=self.route, first=first(),
                advice='numbers = "exact" keeps them',
            )  # fmt: skip

    def left_out(self, names: Sequence[str], **where: object) -> None:
        """Report headers of a delivered message that could not be sealed with it."""
        self.metrics.headers_left_out.inc(len(names))
        self.log.often(
            "warning", "headers left out", "route",
            route=self.route, headers=len(names), first=names[0], **where,
            why="not valid text, a reserved name, or more than an envelope takes",
        )  # fmt: skip

    def refused(self, error: BaseException, *, often: bool = True, **where: object) -> None:
        """Report a message that could not be sealed.

        Args:
            error: The reason.
            often: Whether others control how often this happens: then at most one line per second.
            **where: The place of the message.
        """
        code = code_of(error)
        self.unsent += 1
        self._refused(code)
        if often:
            self._often("warning", "refused", error, **where)
        else:
            self.log.warning("refused", route=self.route, code=code, why=why(error), **where)

    def not_delivered(self, error: XKeyMsgError, **where: object) -> None:
        """Report a failed attempt; another may follow."""
        self.metrics.failures.inc()
        self._often("warning", "not delivered", error, **where)

    def standing_still(self, error: XKeyMsgError, **where: object) -> None:
        """Report that the route waits for a correction of its configuration."""
        self._often("error", "standing still", error, **where)

    def not_recorded(self, error: XKeyMsgError) -> None:
        """Report that the progress through files was not recorded."""
        self._often("error", "progress not recorded", error)

    def lost(self, error: XKeyMsgError, **where: object) -> None:
        """Report a message that is lost: the last attempt failed, and no stream keeps it."""
        self.unsent += 1
        self.metrics.lost.inc()
        self.failed(error.code)
        self._often("error", "lost", error, **where)

    def cut_off(self, messages: int, **where: object) -> None:
        """Report messages in flight at the deadline: they may or may not have been accepted.

        Args:
            messages: Their number.
            **where: The place of the first one.
        """
        self.unsent += messages
        self.metrics.lost.inc(messages)
        self.log.error("no time to send", route=self.route, messages=messages, **where)
