"""Detection of a durable that begins again: deleted and created again, or reset.

Replay marks belong to one scope: a stream, a durable, and the time of its creation. When a durable
is reset (`CONSUMER.RESET`), or deleted and created again, everything it delivers must open again,
so a new scope begins. Two facts show that, and both are the server's word:

    the time of creation    in every answer about the durable
    the consumer sequence   in the subject of each acknowledgement; it counts deliveries from 1

The server increments the consumer sequence with each delivery, redeliveries included, and one
worker receives them in that order. A sequence that does not increase is therefore a restart, except
after an interruption: a server that was killed may have lost the last part of its count, and what
was handled before must not be handled again for that. The count may then repeat at most
`max_ack_pending` deliveries.
"""

from __future__ import annotations

from typing import Final

from xkeymsg.client.jetstream.durables import Durable

__all__ = ("Restarts",)

_PENDING: Final = 1000
"""The tolerance where `max_ack_pending` is unlimited."""


class Restarts:
    """The identity and the delivery count of one durable."""

    def __init__(self) -> None:
        self._created: str | None = None
        self._tolerance = _PENDING
        self._greatest = 0
        self._last = 0
        self._interrupted = False

    def learn(self, durable: Durable) -> bool:
        """Record what the server says of the durable; return whether it is another one now."""
        other = self._created is not None and durable.created != self._created
        self._created = durable.created
        self._tolerance = durable.max_ack_pending if durable.max_ack_pending > 0 else _PENDING
        if other:
            self._greatest = self._last = 0
        return other

    def interrupt(self) -> None:
        """Record that the server may have lost a part of its count."""
        self._interrupted = True

    def is_restart(self, number: int) -> bool:
        """Return whether the consumer sequence of a delivery begins a new count."""
        if number > self._greatest:
            restart = False
        elif number == 1 < self._greatest or number < self._greatest - self._tolerance:
            restart = True
        else:
            restart = number <= self._last and not self._interrupted
        self._greatest = number if restart else max(number, self._greatest)
        self._last, self._interrupted = number, False
        return restart
