"""Detection of a durable that restarted: deleted and created again, or reset.

Replay marks belong to one scope: a stream, a durable, and the time of its creation. When a durable
is reset (`CONSUMER.RESET`), or deleted and created again, everything it delivers must open again,
so a new scope begins. Two values from the server show that:

    the time of creation    in every reply about the durable
    the consumer sequence   in the subject of each acknowledgement; it counts deliveries from 1

The server increments the consumer sequence with each delivery, redeliveries included, and a worker
receives them in that order: a sequence that does not increase is a restart. There are two
exceptions.

A server that was killed may have lost the last part of its count; handled messages of that part
must not be handled again because of that. It takes an interruption, after which the durable is
looked up before messages are requested: a count that is at most `max_ack_pending` behind continues
from there.

The leader of a cluster sends a delivery only after a majority has stored its count. Without a
majority, deliveries wait, and one whose `ack_wait` ends is made again. With a majority again, the
leader sends only the last delivery of each message, but in the order of their *first* deliveries:
a redelivery can come before deliveries with lower counts, and before a majority has stored its own
count, which the next leader may not know. First deliveries never come early, and their counts and
their stream sequences increase. So in a cluster:

    only first deliveries set the bound; 1 always begins a new count
    a first delivery of a message that is not later than all received ones is a restart
    after an interruption, a durable that is behind a received message has restarted, or lost a part

A worker does not notice a reset while all that it receives could also continue the old count.
Either it received nothing until other workers had raised the new count above its bound; or, in a
cluster, it receives only redeliveries, with counts above its bound.

A nats-server before 2.12 stores a time of creation that is a fraction of a millisecond later than
the one in its first reply; its next process reports the stored one. After a reconnection, times
within 10 ms are therefore equal.

In a cluster only the leader knows the count. A server that has just started, or one before an
election, replies too: with a count of 0, or an old one, and without the name of a leader. Such a
reply says nothing once an earlier one has named a leader. A single server never names one.

The count usually shows a restart first. The time of creation is then taken from the next reply.
"""

from __future__ import annotations

from typing import Final

from xkeymsg.client.jetstream.acks import Delivery
from xkeymsg.client.jetstream.api import nanoseconds
from xkeymsg.client.jetstream.durables import Durable

__all__ = ("Restarts",)

_PENDING: Final = 1000
"""The tolerance if `max_ack_pending` is unlimited."""
_CREATED: Final = 10 * 10**6
"""The tolerance for the time of creation, in nanoseconds."""


class Restarts:
    """The identity and the delivery count of one durable."""

    def __init__(self) -> None:
        self._created: str | None = None
        self._greatest = 0
        """The greatest consumer sequence received; a loss is measured from it."""
        self._bound = 0
        """A consumer sequence that is not greater begins a new count."""
        self._sequence = 0
        """The greatest stream sequence received: in a cluster, a first delivery of a message that
        is not later begins a new count."""
        self._reconnects = 0
        self._led = False
        """Whether a reply has named a leader: the durable is in a cluster."""

    def is_current(self, durable: Durable) -> bool:
        """Return whether a reply about the durable is its leader's, or a single server's."""
        return durable.led or not self._led

    def learn(self, durable: Durable, reconnects: int, *, interrupted: bool = False) -> bool:
        """Record the server's reply about the durable; return whether it restarted.

        Args:
            durable: The reply; it must be current.
            reconnects: How often the connection was restored so far.
            interrupted: Whether the connection or the server was lost since the last reply, and no
                messages were requested since. Otherwise its count may be outdated.
        """
        tolerated = durable.max_ack_pending if durable.max_ack_pending > 0 else _PENDING
        behind = interrupted and (
            durable.delivered < self._bound or (durable.led and durable.sequence < self._sequence)
        )
        restart = self._created is not None and self._created != durable.created
        if restart and reconnects != self._reconnects:  # the server may have restarted
            restart = not _about(self._created or "", durable.created)
        self._reconnects = reconnects
        restart |= behind and not 0 < durable.delivered >= self._greatest - tolerated
        self._created = durable.created
        self._led |= durable.led
        if restart:
            self._greatest = self._bound = self._sequence = 0
        elif behind:
            # The messages of lost deliveries are delivered for the first time again.
            self._bound = min(durable.delivered, self._bound)
            self._sequence = min(durable.sequence, self._sequence)
        return restart

    def is_restart(self, delivery: Delivery) -> bool:
        """Return whether the consumer sequence of a delivery begins a new count."""
        number, sequence = delivery.consumer_sequence, delivery.sequence
        first = delivery.delivered == 1
        restart = number <= self._bound or (self._led and first and sequence <= self._sequence)
        if restart:
            self._created, self._greatest, self._bound, self._sequence = None, 0, 0, 0
        self._greatest = max(number, self._greatest)
        self._sequence = max(sequence, self._sequence)
        if first or not self._led:
            self._bound = number
        else:
            self._bound = max(self._bound, 1)
        return restart


def _about(left: str, right: str) -> bool:
    """Return whether two times are equal within the tolerance."""
    try:
        return abs(nanoseconds(left) - nanoseconds(right)) <= _CREATED
    except ValueError:
        return False
