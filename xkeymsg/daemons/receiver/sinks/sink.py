"""The Sink protocol and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xkeymsg.daemons.common.records import Record
from xkeymsg.errors import DeliveryError

__all__ = ("RefusedError", "Sink", "SinkGoneError", "UnavailableError")


class UnavailableError(DeliveryError):
    """The sink accepts nothing at the moment."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds to wait before the next attempt."""


class RefusedError(DeliveryError):
    """The sink refuses these messages; one of them may be the cause."""

    retryable = False


class SinkGoneError(DeliveryError):
    """The sink will never accept anything again."""

    retryable = False


class Sink(Protocol):
    """A destination of opened messages."""

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Return when the sink has accepted the whole batch; its messages are then acknowledged.

        The same messages may be delivered again after a failure or a crash.

        Raises:
            DeliveryError: If it did not accept them. It shows nothing of a message.
        """

    async def close(self) -> None:
        """Close the sink; no delivery is in progress."""
