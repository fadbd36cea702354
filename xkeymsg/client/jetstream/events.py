"""What a consumer reports: counts, events, and why it is not ready."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from xkeymsg.errors import DeliveryError

__all__ = ("ConsumerEvent", "ConsumerStatus", "Reject", "Trouble")

Trouble = Literal["outage", "unproved", "clock", "permission", "paused"]
"""Why a consumer is not ready. `outage`: nothing can be handled. `unproved`: nothing opens; the key
or the peers are probably wrong. `clock`: a message was stored later than our clock says.
`permission`: the server does not permit acknowledgements. `paused`: an administrator has paused the
durable."""


class Reject(Exception):  # noqa: N818 - a result, not an error
    """Raised by a handler to reject a message for good: it is terminated without quarantine.

    On work-queue and interest streams that deletes it. The server publishes `reason`, of at most
    200 characters, in an advisory: use a code.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConsumerEvent(NamedTuple):
    """A consumer lifecycle event, for logs and metrics, without message content."""

    kind: Literal[
        "retry",
        "drop",
        "rejected",
        "quarantined",
        "lost",
        "blocked",
        "unblocked",
        "recreated",
        "rewound",
        "delivery",
        "trouble",
        "recovered",
    ]
    """`retry`: a message will be retried later. `drop`: a handled message was redelivered,
    acknowledged and dropped. `rejected`: the handler raised `Reject`, and the message is
    terminated; `code` is its reason, and the default `on_event` does not log it. `quarantined`: a
    message was stored in quarantine and terminated. `lost`: an unproven message was terminated
    without a record. `blocked`: a message cannot be stored in quarantine, and consuming is blocked;
    an alarm. `unblocked`: it was stored. `recreated`: the consumer was missing and was created
    again. `rewound`: the consumer was reset or recreated by someone else; everything it delivers
    opens again. `delivery`: a reply to JetStream could not be sent. `trouble`: consuming holds, or
    nothing opens; `code` is a `Trouble`, and `error` says why. `recovered`: the trouble with this
    code is over."""
    code: str = ""
    """The code of the failure; `handler` if the handler failed."""
    sequence: int = 0
    """The stream sequence of the message."""
    error: Exception | None = None


class ConsumerStatus:
    """Counts and troubles of a consumer, and the events that report them to `on_event`."""

    def __init__(self, on_event: Callable[[ConsumerEvent], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.troubles: dict[Trouble, str] = {}
        """Why the consumer is not ready, by kind."""
        self._on_event = on_event

    def tell(
        self, kind: str, code: str = "", sequence: int = 0, error: Exception | None = None
    ) -> None:
        """Count an event, and report it."""
        self.counts[kind] += 1
        try:
            self._on_event(ConsumerEvent(kind, code, sequence, error))  # type: ignore[arg-type]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as fault:  # noqa: BLE001 - no await, so not a cancellation
            context = {"message": "on_event raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    def trouble(self, code: Trouble, why: str, sequence: int = 0) -> None:
        """Report a trouble, unless it is known."""
        if code not in self.troubles:
            self.troubles[code] = why
            self.tell("trouble", code, sequence, DeliveryError(why))

    def recovered(self, code: Trouble) -> None:
        """Report that a trouble is over, if there was one."""
        if self.troubles.pop(code, None) is not None:
            self.tell("recovered", code)
