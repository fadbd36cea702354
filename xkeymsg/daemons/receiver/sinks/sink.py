"""What a sink is: it takes messages, or says why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from xkeymsg.daemons.common.records import Record
from xkeymsg.errors import DeliveryError

__all__ = ("RefusedError", "Sink", "SinkGoneError", "UnavailableError")


class UnavailableError(DeliveryError):
    """The sink takes nothing now, whatever it is offered."""

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds for which it wants to be left alone."""


class RefusedError(DeliveryError):
    """The sink does not take these messages; one of them alone may be why."""


class SinkGoneError(DeliveryError):
    """The sink will never take anything again."""


class Sink(Protocol):
    """Where opened messages go."""

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Return when the sink has taken all of them: then they are acknowledged.

        It may get the same again, after a failure, or a crash, in which the word of it was lost.

        Raises:
            DeliveryError: If it has not. Nothing of a message is in it.
        """

    async def close(self) -> None:
        """End; nothing is under way."""
