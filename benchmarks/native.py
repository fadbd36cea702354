"""The native core beside the Python code, and both beside stock nats-py.

Each side is a set of processes that live for the whole run; those of one have the native core
switched off (`XKEYMSG_NATIVE=0`). All take turns, batch by batch. Figures are processor time, but
those of streams and requests are time on the clock.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.client import (
    WARM_UP,
    Peers,
    make_streams,
    most_of,
    of_stream,
    receive,
    requests,
)
from benchmarks.client_peer import SEALED, STOCK
from benchmarks.harness import Batch, Contender
from benchmarks.peer import Peer
from benchmarks.promises import Figure, Promise, Table
from benchmarks.report import AnyPromise, Report
from xkeymsg import native
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer

__all__ = ("PROMISES", "suite")

_ROOT = Path(__file__).parent.parent
_NATIVE, _PYTHON = "native", "Python"
_SIDES = {_NATIVE: {"XKEYMSG_NATIVE": ""}, _PYTHON: {"XKEYMSG_NATIVE": "0"}}
_CODEC = {
    "seal 1 KiB for 1": "seal-1",
    "seal 1 KiB for 100": "seal-100",
    "seal documents": "seal-documents",
    "open 1 KiB": "open",
    "open documents as clinic": "open-clinic",
}
_REQUESTS = "request and reply, 128 B, µs"
_ROUNDS = 4
"""Rounds of requests."""


def _beside(title: str, target: str, *, of: str = _NATIVE, against: str = STOCK) -> Promise:
    return Promise(title=f"native: {title}", of=of, against=against, target=target)


PROMISES: tuple[AnyPromise, ...] = (
    _beside("seal 1 KiB for 1", "≥ 2.5", of=_PYTHON, against=_NATIVE),
    _beside("seal 1 KiB for 100", "≥ 5", of=_PYTHON, against=_NATIVE),
    _beside("open 1 KiB", "≥ 2", of=_PYTHON, against=_NATIVE),
    _beside("publish 1 KiB", "≤ 2"),
    _beside("publish 1 KiB to a stream", "≥ 0.85", of=STOCK, against=_NATIVE),
    _beside("pull 1 KiB from a stream", "≥ 0.9", of=STOCK, against=_NATIVE),
    _beside("receive 1 KiB", "≤ 1.2"),
    Figure(title=f"native: {_REQUESTS}", of=f"{_NATIVE} / {STOCK}", column="p50", target="≤ 1.8"),
)


def suite(report: Report) -> None:
    """Measure everything."""
    if native.core is None:
        report.leave_out(_NATIVE, "it is not built; run `make native`")
        return
    report.take_part(_NATIVE, native.core.__version__)
    _measure_codec(report)
    try:
        with ExitStack() as stack:
            sides = {}
            for side, env in _SIDES.items():
                server = stack.enter_context(NATSServer(jetstream=True))
                asyncio.run(make_streams(server.url))
                sides[side] = Peers(server.url, stack, env)
            _measure_client(report, sides)
    except ConfigurationError:
        report.leave_out_server()


def _measure_codec(report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="xkeymsg-native-") as folder, ExitStack() as stack:
        documents = Path(folder) / "documents.ndjson"
        lines = (_ROOT / "examples" / "hospital" / "patients.ndjson").read_text().splitlines()
        documents.write_text("\n".join(lines[:: 20 if report.quick else 2]))
        command = [sys.executable, "-P", str(_ROOT / "benchmarks" / "against_peer.py")]
        sides = {
            side: stack.enter_context(
                Peer([*command, str(_ROOT), str(documents)], env | {"PYTHONPATH": str(_ROOT)})
            )
            for side, env in _SIDES.items()
        }
        for title, operation in _CODEC.items():
            contenders = [
                Contender(name=side, batch=peer.batch(operation, 0), most=5000, warm_up=1)
                for side, peer in sides.items()
            ]
            report.measure(f"native: {title}", contenders, baseline=_PYTHON)


def _measure_client(report: Report, sides: dict[str, Peers]) -> None:
    def measure(
        title: str, batch: Callable[[Peers, str], Batch], first: str, longer: float
    ) -> None:
        """Measure stock nats-py, beside the side with the native core, and both sides."""
        made = [
            Contender(name=STOCK, batch=batch(sides[_NATIVE], STOCK), most=most, warm_up=WARM_UP)
        ]
        made += [
            Contender(name=side, batch=batch(peers, SEALED), most=most, warm_up=WARM_UP)
            for side, peers in sides.items()
        ]
        measures = (first, "time" if first == "CPU" else "CPU")
        report.measure(f"native: {title}", made, baseline=STOCK, measures=measures, longer=longer)

    most = most_of(1024)

    def publish(peers: Peers, how: str) -> Batch:
        reader = peers.others[0]
        return lambda n: peers.publisher.ask("publish", how, 1024, n, reader)

    measure("publish 1 KiB", publish, "CPU", 10)
    measure("receive 1 KiB", lambda peers, how: receive(peers, how, 1, 1024), "CPU", 10)
    for title, operation in (("publish 1 KiB to", "store"), ("pull 1 KiB from", "pull")):
        measure(
            f"{title} a stream",
            lambda peers, how, kind=operation: of_stream(peers, kind, how).batch,  # type: ignore[misc]
            "time",
            30,
        )
    report.add_table(f"native: {_REQUESTS}", _requests(sides))


def _requests(sides: dict[str, Peers]) -> Table:
    """Let both sides ask in turns; return the medians of their rounds."""
    rounds = [{side: requests(peers) for side, peers in sides.items()} for _ in range(_ROUNDS)]
    rows = [
        (STOCK, _NATIVE, STOCK),
        *((side, side, SEALED) for side in sides),
        *((f"{side} / {STOCK}", side, f"{SEALED} / {STOCK}") for side in sides),
    ]
    return {
        name: {column: _median(each[side][how][column] for each in rounds)}
        for name, side, how in rows
        for column in ("p50",)
    }


def _median(figures: Iterable[float | None]) -> float:
    return statistics.median(figure for figure in figures if figure is not None)
