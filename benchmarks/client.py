"""The client end to end: sealed messages beside plaintext ones of stock nats-py, on one server.

Four processes take part, asked in turn: a *feeder* that has sealed before anything is measured and
writes whole runs of messages to the server itself; a *receiver* and a *publisher*, each with a
stock nats-py connection and a client of ours; and a *service* that answers requests.

- *receive*: the feeder's messages, as fast as they go or 5,000 a second, reach the receiver; the
  processor time it used for each, by stock nats-py for plaintext with one header, and by ours for
  the same plaintext, sealed, opened. Stock is iterated over, as ours is; its callbacks, which
  spare a queue, are another contender.
- *publish*: the same for publishing; sealing included. *route* is a prepared route.
- *the hospital*: documents of the example, published for its four roles, beside the same as JSON.
- *streams*: acknowledged publishing with 256 in flight, and pulling from a durable with
  acknowledgements, messages a second.
- *requests*: one after the other, the median and the 99th percentile of what each took.

The first 1,000 messages of each contender do not count.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import nats
from nats.js.api import RetentionPolicy, StorageType

from benchmarks.client_peer import CALLBACK, ROUTE, SEALED, STOCK
from benchmarks.harness import Batch, Contender
from benchmarks.peer import Peer
from benchmarks.promises import Figure, Promise, Table
from benchmarks.report import AnyPromise, Report, human
from xkeymsg import XKeyPair
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer

__all__ = (
    "PROMISES",
    "WARM_UP",
    "Peers",
    "make_streams",
    "most_of",
    "of_stream",
    "receive",
    "requests",
    "suite",
)

_SIZES = (128, 1 << 10, 1 << 16)
_READERS = (1, 20)
WARM_UP = 1000
_MOST_BYTES = 16 << 20
"""The most that a batch sends: a server cuts off a subscriber for whom it holds 64 MiB."""
_CPU, _CLOCK = "CPU", "time"
_ASKED = 200
"""Requests of a batch."""

_PACED = "receive 1 KiB, 5,000 a second"
_REQUESTS = "request and reply, 128 B, µs"
_RATIO = f"{SEALED} / {STOCK}"

PROMISES: tuple[AnyPromise, ...] = (
    Promise(title="receive 1 KiB", of=SEALED, against=STOCK, target="≤ 1.55"),
    Promise(title="receive 1 KiB", of=SEALED, against=CALLBACK, target="≤ 2.2"),
    Promise(title=_PACED, of=SEALED, against=STOCK, target="≤ 2.2"),
    Promise(title=_PACED, of=SEALED, against=CALLBACK, target="≤ 2.2"),
    Promise(title="publish 1 KiB", of=SEALED, against=STOCK, target="≤ 3.7"),
    Promise(title="publish 1 KiB", of=ROUTE, against=STOCK, target="≤ 3.2"),
    Promise(title="publish 1 KiB to a stream", of=STOCK, against=SEALED, target="≥ 0.65"),
    Promise(title="pull 1 KiB from a stream", of=STOCK, against=SEALED, target="≥ 0.85"),
    Promise(title="publish the hospital", of=SEALED, against=STOCK, target="≤ 4"),
    Figure(title=_REQUESTS, of=_RATIO, column="p50", target="≤ 2.4"),
)


def suite(report: Report) -> None:
    """Measure everything."""
    try:
        with NATSServer(jetstream=True) as server, ExitStack() as stack:
            asyncio.run(make_streams(server.url))
            _measure(report, Peers(server.url, stack))
    except ConfigurationError:
        report.leave_out_server()


async def make_streams(url: str) -> None:
    client = await nats.connect(url)
    context = client.jetstream()
    for how in (STOCK, SEALED):
        await context.add_stream(
            name=f"PUBLISH_{how}",
            subjects=[f"publish.{how}"],
            storage=StorageType.MEMORY,
            max_msgs=10_000,
        )
        await context.add_stream(
            name=f"PULL_{how}",
            subjects=[f"pull.{how}"],
            storage=StorageType.MEMORY,
            retention=RetentionPolicy.WORK_QUEUE,
        )
    await client.close()


class Peers:
    """The four processes, and the keys of readers who are not there."""

    def __init__(self, url: str, stack: ExitStack, env: Mapping[str, str] | None = None) -> None:
        def start(*words: str) -> Peer:
            command = [sys.executable, "-m", "benchmarks.client_peer", *words]
            return stack.enter_context(Peer(command, env))

        self.feeder = start("feeder", url)
        self.receiver = start("receiver", url)
        self.service = start("service", url)
        self.publisher = start("publisher", url, self.service.name, self.receiver.name)
        self.others = [str(XKeyPair.generate().public) for _ in range(max(_READERS) - 1)]


def _measure(report: Report, peers: Peers) -> None:
    for size in _SIZES:
        for what, contenders in (("receive", _receiving), ("publish", _publishing)):
            title = f"{what} {human(size)}"
            made = list(contenders(peers, size))
            report.measure(title, made, baseline=STOCK, measures=(_CPU, _CLOCK), longer=10)
    made = list(_receiving(peers, 1 << 10, 200_000))
    report.measure(_PACED, made, baseline=STOCK, measures=(_CPU, _CLOCK), longer=10)
    for what, operation in (("publish 1 KiB to", "store"), ("pull 1 KiB from", "pull")):
        made = [of_stream(peers, operation, how) for how in (STOCK, SEALED)]
        title = f"{what} a stream"
        report.measure(title, made, baseline=STOCK, measures=(_CLOCK, _CPU), longer=30)
    made = [_documents(peers, how) for how in (STOCK, SEALED)]
    report.measure("publish the hospital", made, baseline=STOCK, measures=(_CPU, _CLOCK))
    report.add_table(_REQUESTS, requests(peers))


def _name(how: str, readers: int) -> str:
    return how if readers == 1 else f"{how}, {readers} readers"


def most_of(size: int) -> int:
    return min(_MOST_BYTES // size, 5000)


def receive(peers: Peers, how: str, readers: int, size: int, pause_ns: int = 0) -> Batch:
    """Return a batch of messages that the receiver takes: processor time, and time."""
    keys = [peers.receiver.name, *peers.others][:readers] if how == SEALED else []

    def run(n: int) -> tuple[int, int]:
        peers.feeder.ask("prepare", how, size, n, *keys)
        peers.receiver.ask("expect", n)
        [start] = peers.feeder.ask("send", pause_ns)
        end, used = peers.receiver.ask("result")
        return used, end - start

    return run


def _receiving(peers: Peers, size: int, pause_ns: int = 0) -> Iterator[Contender]:
    for how, readers in (
        (STOCK, 1),
        (CALLBACK, 1),
        *((SEALED, readers) for readers in _READERS),
    ):
        batch = receive(peers, how, readers, size, pause_ns)
        yield Contender(name=_name(how, readers), batch=batch, most=most_of(size), warm_up=WARM_UP)


def _publishing(peers: Peers, size: int) -> Iterator[Contender]:
    def batch(how: str, readers: int) -> Batch:
        def run(n: int) -> tuple[int, ...]:
            return peers.publisher.ask("publish", how, size, n, *peers.others[:readers])

        return run

    for how, readers in ((STOCK, 1), *((SEALED, readers) for readers in _READERS), (ROUTE, 1)):
        yield Contender(
            name=_name(how, readers), batch=batch(how, readers), most=most_of(size), warm_up=WARM_UP
        )


def of_stream(peers: Peers, operation: str, how: str) -> Contender:
    def store(n: int) -> tuple[int, ...]:
        return peers.publisher.ask("store", how, f"publish.{how}", 1024, n)

    def pull(n: int) -> tuple[int, ...]:
        peers.publisher.ask("store", how, f"pull.{how}", 1024, n)
        return peers.receiver.ask("pull", how, n)

    run = store if operation == "store" else pull
    return Contender(name=how, batch=run, most=5000, warm_up=WARM_UP)


def _documents(peers: Peers, how: str) -> Contender:
    def run(n: int) -> tuple[int, ...]:
        return peers.publisher.ask("documents", how, n)

    return Contender(name=how, batch=run, most=1000, warm_up=WARM_UP)


def requests(peers: Peers) -> Table:
    """Ask in turns, and take what each single request took."""
    took: dict[str, list[int]] = {STOCK: [], SEALED: []}
    for _ in range(10):
        for how in took:
            took[how] += peers.publisher.ask("request", how, 128, _ASKED)
    table: dict[str, dict[str, float | None]] = {
        how: {"p50": statistics.median(times) / 1000, "p99": _percentile(times, 99) / 1000}
        for how, times in ((how, times[_ASKED:]) for how, times in took.items())
    }
    ours, theirs = table[SEALED]["p50"], table[STOCK]["p50"]
    assert ours is not None
    assert theirs is not None
    table[_RATIO] = {"p50": ours / theirs, "p99": None}
    return table


def _percentile(times: list[int], of: int) -> float:
    return statistics.quantiles(times, n=100)[of - 1]
