"""JetStream's acknowledgement subjects: a message's position in its stream, and the replies.

The server writes that subject, and no publisher can: it is the only permitted source of a position
(docs/spec/envelope.md, E-80). Two forms are in use, and nothing else is accepted:

    $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer's>.<stored>.<pending>
    $JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>. … .<pending>[.<random>]
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from xkeymsg.envelope.replay import StreamPosition

__all__ = ("ACK", "IN_PROGRESS", "Delivery", "nak", "parse_ack", "term")

ACK: Final = b"+ACK"
IN_PROGRESS: Final = b"+WPI"

_TOKEN: Final = rb"[^\x00-\x20\x7f.*>]{1,255}"
_NAME: Final = rb"(%b)" % _TOKEN
_COUNTS: Final = (
    rb"([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.[0-9]{1,19}"
)
_SHORT: Final = re.compile(rb"\$JS\.ACK\.%b\.%b\.%b" % (_NAME, _NAME, _COUNTS))
_LONG: Final = re.compile(
    rb"\$JS\.ACK\.%b\.%b\.%b\.%b\.%b(?:\.%b)?" % (_TOKEN, _TOKEN, _NAME, _NAME, _COUNTS, _TOKEN)
)
_LONGEST_REASON: Final = 200
_MAX: Final = 2**63
"""Exclusive limit of sequences and times; the server's are uint64 and int64."""


class Delivery(NamedTuple):
    """One delivery of a stream message."""

    stream: bytes
    consumer: bytes
    delivered: int
    """How many times the consumer has delivered it, including this one."""
    sequence: int
    consumer_sequence: int
    """How many deliveries the consumer has made, including this one; 1 again after a reset."""
    stored_ns: int
    """When the stream stored it, in nanoseconds since 1970."""

    @property
    def position(self) -> StreamPosition:
        """The position in the stream, for the opener."""
        return StreamPosition(
            self.stream.decode("utf-8", "surrogateescape"),
            self.sequence,
            self.stored_ns // 1_000_000,
        )


def parse_ack(reply: bytes) -> Delivery | None:
    """Parse the reply subject of a message; None if it is not from a consumer.

    A subject that it accepts is valid to publish to as it is: tokens without wildcards, white space
    and control characters, and less than 2 KiB.
    """
    match = _SHORT.fullmatch(reply) or _LONG.fullmatch(reply)
    if match is None:
        return None
    stream, consumer, *counts = match.groups()
    delivered, sequence, consumer_sequence, stored_ns = map(int, counts)
    if max(sequence, consumer_sequence, stored_ns) >= _MAX:
        return None
    return Delivery(stream, consumer, delivered, sequence, consumer_sequence, stored_ns)


def nak(delay: float) -> bytes:
    """Return the reply that requests redelivery after `delay` seconds."""
    return b'-NAK {"delay":%d}' % max(1, int(delay * 1e9))


def term(reason: str) -> bytes:
    """Return the reply that terminates a message.

    On work-queue and interest streams this deletes the message, so it must be in quarantine before.
    The server publishes the reason in an advisory: it is reduced to one short line of ASCII.
    """
    text = str(reason)[:_LONGEST_REASON]
    plain = "".join(each if " " <= each <= "~" else "?" for each in text)
    return f"+TERM {plain}".encode()
