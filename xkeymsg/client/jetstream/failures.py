"""Failure policy: what to do with messages that cannot be opened, or whose handler fails.

    a copy whose first is pending              retry: then it is dropped, or opens; after ten
                                               minutes, or if too many wait, unproven
    handled before (its mark exists)           acknowledge, drop and count
    a key that may yet arrive                  retry, for a time, and for few messages
    two messages at one position               retry, a number of times: the broker's fault
    other, before a wrapped key verified       quarantine, unproven: anyone can send it
    other, after that                          quarantine, proven: from an admitted sender
    the handler failed                         retry, a number of times; then quarantine, proven

Strangers can send any number of messages whose key never arrives. Waiting messages count against
the consumer's `max_ack_pending`: they are limited to a share of it, so that honest messages pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from xkeymsg.display import safe_repr
from xkeymsg.errors import (
    ConfigurationError,
    NotARecipientError,
    ReplayError,
    SenderNotAdmittedError,
    SessionClonedError,
    UnknownKeyError,
    XKeyMsgError,
)

__all__ = ("FailurePolicy", "Failures", "Reason", "Verdict")

Reason = Literal["undecryptable", "refused", "handler"]
"""The reason in a quarantine record (docs/spec/envelope.md, E-90); the code is only logged."""

_MOST: Final = 1e6
_FIRST: Final = 600.0
"""Seconds that a copy waits for the first delivery of its message to be settled."""
_REMEMBERED: Final = 10_000
"""Limit of messages whose failures are counted; a settled one is forgotten."""


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class FailurePolicy:
    """How often, and for how long, a consumer retries before the quarantine.

    Raises:
        ConfigurationError: If a value is not positive, or longer than JetStream can wait.
    """

    deliveries: int = 5
    """How many times a message is given to a handler."""
    backoff: float = 1.0
    """Seconds before the second attempt; doubled for each further attempt."""
    backoff_most: float = 60.0
    """The longest such pause, in seconds."""
    patience: float = 30.0
    """Seconds to wait for a key that may yet arrive, since its message was first seen."""
    key_delay: float = 0.8
    """Seconds between attempts for such a message."""
    wait_for: frozenset[str] = frozenset(
        (SenderNotAdmittedError.code, UnknownKeyError.code, NotARecipientError.code)
    )
    """The error codes that may disappear when a directory delivers a key late."""
    waiting_share: float = 0.05
    """The share of the consumer's `max_ack_pending` that may wait for keys; at most 0.05."""
    strangers: Literal["record", "drop"] = "record"
    """On streams where termination deletes, whether an unauthenticated message is terminated only
    once it has a record in the unproven quarantine, or without one if strangers send more than 500
    a second. With `drop`, a wrong key or wrong peers lose honest messages."""

    def __post_init__(self) -> None:
        for name in ("deliveries", "backoff", "backoff_most", "key_delay"):
            if not 0 < getattr(self, name) <= _MOST:
                raise ConfigurationError(f"{name} must be above 0 and at most {_MOST:g}")
        if not 0 <= self.patience <= _MOST:
            raise ConfigurationError(f"patience must be between 0 and {_MOST:g}")
        if not 0 <= self.waiting_share <= 0.05:
            raise ConfigurationError("waiting_share must be between 0 and 0.05")
        if self.strangers not in ("record", "drop"):
            raise ConfigurationError("strangers must be 'record' or 'drop'")

    def pause(self, attempts: int) -> float:
        """Return the seconds between an attempt and the next one."""
        return min(self.backoff * 2.0 ** min(attempts - 1, 20), self.backoff_most)


class Verdict(NamedTuple):
    """A decision about a message."""

    action: Literal["retry", "drop", "quarantine"]
    delay: float = 0.0
    """For `retry`: seconds until redelivery."""
    reason: Reason = "undecryptable"
    """For `quarantine`: the reason in its record."""

    @property
    def proven(self) -> bool:
        """Whether an admitted sender made the message, so that it must not be lost."""
        return self.reason != "undecryptable"


_DROP: Final = Verdict("drop")
_UNPROVEN: Final = Verdict("quarantine")


class Failures:
    """The failure state of one consumer; time is an argument.

    Args:
        policy: The policy.
        max_ack_pending: The consumer's limit of unacknowledged messages; 0 or less for no limit.
        max_deliver: The consumer's limit of deliveries of a message; 0 or less for no limit.
    """

    def __init__(self, policy: FailurePolicy, *, max_ack_pending: int, max_deliver: int) -> None:
        self._policy = policy
        self._bounds = max_ack_pending, max_deliver
        pending = max_ack_pending if max_ack_pending > 0 else 1000
        self._most = int(pending * policy.waiting_share)
        self._max_deliver = max(max_deliver, 0)
        # Deliveries include those while a message waited for its key, here or at another worker.
        self._cap = policy.deliveries + math.ceil(policy.patience / policy.key_delay)
        if self._max_deliver:
            self._cap = min(self._cap, self._max_deliver)
        self._waiting: dict[int, tuple[float, float]] = {}  # first and last seen
        self._looked = -math.inf
        self._failed: dict[int, int] = {}

    def again(self) -> Failures:
        """Return an empty state with the same limits."""
        pending, deliver = self._bounds
        return Failures(self._policy, max_ack_pending=pending, max_deliver=deliver)

    @property
    def waiting(self) -> int:
        """Number of messages waiting for a key."""
        return len(self._waiting)

    def refused(self, error: Exception, sequence: int, delivered: int, now: float) -> Verdict:
        """Decide about a message that could not be opened.

        Args:
            error: The error.
            sequence: The stream sequence of the message.
            delivered: How many times it was delivered.
            now: The time of a monotonic clock, in seconds.
        """
        if not isinstance(error, XKeyMsgError):  # raised by the application's trust
            return self._again(sequence, delivered, Verdict("quarantine"))
        reason: Reason = "refused" if error.public_code == "refused" else "undecryptable"
        end = Verdict("quarantine", reason=reason)
        if isinstance(error, ReplayError) and not isinstance(error, SessionClonedError):
            # Finally unproven: its first is pending here, and anyone can publish copies.
            if not error.pending:
                return _DROP
            return self._wait(sequence, delivered, now, _FIRST, _UNPROVEN)
        if isinstance(error, ConfigurationError):  # two messages at one position
            return self._again(sequence, delivered, end)
        if reason == "undecryptable" and error.code in self._policy.wait_for:
            return self._wait(sequence, delivered, now, self._policy.patience, end)
        return end

    def failed(self, sequence: int, delivered: int) -> Verdict:
        """Decide about a message whose handler raised."""
        return self._again(sequence, delivered, Verdict("quarantine", reason="handler"))

    def is_exhausted(self, delivered: int) -> bool:
        """Return whether a message exceeded its deliveries without a result of its handlers.

        A message that ends the process each time never reaches `failed`.
        """
        return delivered > self._cap

    def is_last(self, delivered: int) -> bool:
        """Return whether the server will not redeliver a message, whatever the reply."""
        return 0 < self._max_deliver <= delivered

    def settle(self, sequence: int) -> None:
        """Forget a settled message."""
        self._waiting.pop(sequence, None)
        self._failed.pop(sequence, None)

    def _again(self, sequence: int, delivered: int, end: Verdict) -> Verdict:
        attempts = self._failed.pop(sequence, 0) + 1
        if attempts >= self._policy.deliveries or delivered >= self._cap:
            return end
        if len(self._failed) >= _REMEMBERED:  # another worker may have it now
            del self._failed[next(iter(self._failed))]
        self._failed[sequence] = attempts
        return Verdict("retry", self._policy.pause(attempts))

    def _wait(
        self, sequence: int, delivered: int, now: float, patience: float, end: Verdict
    ) -> Verdict:
        since, _ = self._waiting.get(sequence, (now, now))
        if len(self._waiting) >= self._most and now - self._looked >= self._policy.key_delay:
            self._looked = now  # not each time: strangers decide how often it is full
            self._forget(now)
        # Deliveries include those to other workers of the durable, which have their own clocks.
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
        """Forget waiting messages that did not return: another worker has them."""
        late = now - 10 * self._policy.key_delay
        self._waiting = {s: times for s, times in self._waiting.items() if times[1] > late}
