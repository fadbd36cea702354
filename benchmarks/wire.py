"""End to end through a real nats-server: messages a second, and processor time a message and side.

One process publishes, another receives; both do all contenders in turn:

- *sealed*: the publisher seals (xkv1) and names itself in the header `sender`; the receiver reads
  that key and opens;
- *plaintext, header*: the same header, and nothing sealed;
- *plaintext*: neither.

All are nats-py. The time on the clock runs from before the first publish to the receipt of the last
message of a batch; the two processor times are what each process used for it, its library included.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.harness import Batch, Contender
from benchmarks.peer import Peer
from benchmarks.report import Promise, Report, human
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer

__all__ = ("PROMISES", "suite")

PROMISES: tuple[Promise, ...] = ()

_SIZES = (128, 1 << 10, 1 << 16)
_CONTENDERS = {"sealed": "sealed", "plaintext, header": "header", "plaintext": "plain"}
_MEASURES = ("time", "CPU of the publisher", "CPU of the receiver")
_WARM_UP = 1000

_MOST_BYTES = 16 << 20
"""The most that a batch sends: core NATS has no flow control, and a server cuts off a subscriber
for whom it holds 64 MiB."""


def suite(report: Report) -> None:
    """Measure each size."""
    try:
        with NATSServer() as server:
            _measure(report, server.url)
    except ConfigurationError:
        report.leave_out_server()


def _measure(report: Report, url: str) -> None:
    with (
        _peer("receiver", url) as receiver,
        _peer("publisher", url, receiver.name) as publisher,
    ):
        for size in _SIZES:
            report.measure(
                f"through a server, {human(size)}",
                list(_contenders(publisher, receiver, size)),
                baseline="plaintext, header",
                measures=_MEASURES,
                longer=10,
            )


def _peer(*arguments: str) -> Peer:
    return Peer([sys.executable, "-m", "benchmarks.wire_peer", *arguments])


def _contenders(publisher: Peer, receiver: Peer, size: int) -> Iterator[Contender]:
    for name, how in _CONTENDERS.items():
        yield Contender(
            name=name,
            batch=_batch(publisher, receiver, how, size),
            most=min(_MOST_BYTES // size, 10_000),
            warm_up=_WARM_UP,
        )


def _batch(publisher: Peer, receiver: Peer, how: str, size: int) -> Batch:
    def batch(n: int) -> tuple[int, int, int]:
        receiver.ask("expect", n)
        start, publishing = publisher.ask("publish", how, size, n)
        end, receiving = receiver.ask("result")
        return end - start, publishing, receiving

    return batch
