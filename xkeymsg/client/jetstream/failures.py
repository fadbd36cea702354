"""What becomes of a message that cannot be opened, or that its handler does not take.

    a copy, its first is pending               again later: then it is dropped, or opens; after ten
                                              minutes, or where too many wait, unproven
    handled before (its mark is here)          acknowledged, dropped, counted
    a key that may yet arrive                  again later, for a time, and few of them
    anything else before a wrap verified       quarantine, unproven: anybody can send it
    anything else behind it                    quarantine, proven: an admitted sender's
    the handler failed                         again later, so many times; then quarantine, proven

Strangers can send any number of messages whose key never arrives. Those that wait take from what
the consumer may have pending: they are never more than a share of it, so that honest ones pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from xkeymsg.errors import (
    ConfigurationError,
    NotARecipientError,
    ReplayError,
    SenderNotAdmittedError,
    SessionClonedError,
    UnknownKeyError,
    XKeyMsgError,
)
from xkeymsg.shown import safe_repr

__all__ = ("FailurePolicy", "Failures", "Reason", "Verdict")

Reason = Literal["undecryptable", "refused", "handler"]
"""What a quarantine record says (docs/spec/envelope.md, E-90); the code is for the local log."""

_MOST: Final = 1e6
_FIRST: Final = 600.0
"""Seconds for which a copy waits until the first of its message is settled."""
_REMEMBERED: Final = 10_000
"""Messages whose failures are counted; each is forgotten when it is done with."""


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """How often, and for how long, a consumer tries before the quarantine.

    Raises:
        ConfigurationError: If a value is not positive, or beyond what JetStream can wait.
    """

    deliveries: int = 5
    """How many times a handler gets a message."""
    backoff: float = 1.0
    """Seconds before the second time, doubled with each further one."""
    backoff_most: float = 60.0
    patience: float = 30.0
    """Seconds to wait for a key that may yet arrive, from when its message was first seen."""
    key_delay: float = 0.8
    """Seconds between two attempts of such a message."""
    wait_for: frozenset[str] = frozenset(
        (SenderNotAdmittedError.code, UnknownKeyError.code, NotARecipientError.code)
    )
    """The codes of refusals that a key can mend, which a directory brings late."""
    waiting_share: float = 0.05
    """The part of the consumer's `max_ack_pending` that may wait for keys, at most this much."""

    def __post_init__(self) -> None:
        for name in ("deliveries", "backoff", "backoff_most", "key_delay"):
            if not 0 < getattr(self, name) <= _MOST:
                raise ConfigurationError(f"{name} has to be above 0, and at most {_MOST:g}")
        if not 0 <= self.patience <= _MOST:
            raise ConfigurationError(f"patience is between 0 and {_MOST:g}")
        if not 0 <= self.waiting_share <= 0.05:
            raise ConfigurationError("waiting_share is between 0 and 0.05")


class Verdict(NamedTuple):
    """What to do with a message."""

    action: Literal["retry", "drop", "quarantine"]
    delay: float = 0.0
    """With `retry`: in how many seconds."""
    reason: Reason = "undecryptable"
    """With `quarantine`."""

    @property
    def proven(self) -> bool:
        """Whether an admitted sender made the message, so that it may not be lost."""
        return self.reason != "undecryptable"


_DROP: Final = Verdict("drop")
_UNPROVEN: Final = Verdict("quarantine")


class Failures:
    """Judges the failures of one consumer; time is an argument."""

    def __init__(self, policy: FailurePolicy, *, max_ack_pending: int, max_deliver: int) -> None:
        """Take the policy, and the consumer's bounds.

        Args:
            policy: How often and how long to try.
            max_ack_pending: Messages that the consumer has out at a time; 0 or less for any number.
            max_deliver: How often it delivers one; 0 or less for ever.
        """
        self._policy = policy
        self._bounds = max_ack_pending, max_deliver
        pending = max_ack_pending if max_ack_pending > 0 else 1000
        self._most = int(pending * policy.waiting_share)
        self._max_deliver = max(max_deliver, 0)
        # Deliveries also count what a message waited for its key, here or at another worker.
        self._cap = policy.deliveries + math.ceil(policy.patience / policy.key_delay)
        if self._max_deliver:
            self._cap = min(self._cap, self._max_deliver)
        self._waiting: dict[int, tuple[float, float]] = {}  # first and last seen
        self._looked = -math.inf
        self._failed: dict[int, int] = {}

    def again(self) -> Failures:
        """Return one with the same bounds that knows of no failure."""
        pending, deliver = self._bounds
        return Failures(self._policy, max_ack_pending=pending, max_deliver=deliver)

    @property
    def waiting(self) -> int:
        """How many messages wait for a key."""
        return len(self._waiting)

    def refused(self, error: Exception, sequence: int, delivered: int, now: float) -> Verdict:
        """Judge a message that was not opened.

        Args:
            error: Why.
            sequence: Which.
            delivered: How many times it was delivered.
            now: On a clock that is never set, in seconds.
        """
        if not isinstance(error, XKeyMsgError):  # trust of the application's own that raised
            return self._again(sequence, delivered, Verdict("quarantine"))
        reason: Reason = "refused" if error.outside == "refused" else "undecryptable"
        end = Verdict("quarantine", reason=reason)
        if isinstance(error, ReplayError) and not isinstance(error, SessionClonedError):
            # Unproven in the end: its first is here, and anybody can publish any number of copies.
            if not error.pending:
                return _DROP
            return self._wait(sequence, delivered, now, _FIRST, _UNPROVEN)
        if reason == "undecryptable" and error.code in self._policy.wait_for:
            return self._wait(sequence, delivered, now, self._policy.patience, end)
        return end

    def failed(self, sequence: int, delivered: int) -> Verdict:
        """Judge a message whose handler has raised."""
        return self._again(sequence, delivered, Verdict("quarantine", reason="handler"))

    def is_exhausted(self, delivered: int) -> bool:
        """Tell whether a message came more often than it may: its handlers do not return.

        A message that ends the process each time is never judged by `failed`.
        """
        return delivered > self._cap

    def is_last(self, delivered: int) -> bool:
        """Tell whether the server delivers a message no more, whatever it is answered."""
        return 0 < self._max_deliver <= delivered

    def settle(self, sequence: int) -> None:
        """Forget a message that is done with."""
        self._waiting.pop(sequence, None)
        self._failed.pop(sequence, None)

    def _again(self, sequence: int, delivered: int, end: Verdict) -> Verdict:
        attempts = self._failed.pop(sequence, 0) + 1
        if attempts >= self._policy.deliveries or delivered >= self._cap:
            return end
        if len(self._failed) >= _REMEMBERED:  # of those that another worker of the durable has
            del self._failed[next(iter(self._failed))]
        self._failed[sequence] = attempts
        delay = self._policy.backoff * 2.0 ** min(attempts - 1, 20)
        return Verdict("retry", min(delay, self._policy.backoff_most))

    def _wait(
        self, sequence: int, delivered: int, now: float, patience: float, end: Verdict
    ) -> Verdict:
        since, _ = self._waiting.get(sequence, (now, now))
        if len(self._waiting) >= self._most and now - self._looked >= self._policy.key_delay:
            self._looked = now  # not for each: strangers decide how often there is no room
            self._forget(now)
        # Deliveries count those to other workers of the durable, which have clocks of their own.
        most = self._policy.deliveries + math.ceil(patience / self._policy.key_delay)
        over = now - since >= patience or delivered >= most or delivered == self._max_deliver
        if over or not self._has_room(sequence):
            self.settle(sequence)
            return end
        self._waiting[sequence] = since, now
        return Verdict("retry", self._policy.key_delay)

    def _has_room(self, sequence: int) -> bool:
        return sequence in self._waiting or len(self._waiting) < self._most

    def _forget(self, now: float) -> None:
        """Forget those that have not come back: another worker of the durable has them."""
        late = now - 10 * self._policy.key_delay
        self._waiting = {s: times for s, times in self._waiting.items() if times[1] > late}
