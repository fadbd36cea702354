"""Key-value buckets: sealed get and put beside those of stock nats-py, on one server.

One process has a connection of each kind, and is asked in turns: each put and get is awaited before
the next one. The sealed values have one reader, which is the writer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from typing import Any, Final

import nats
from nats.js.api import KeyValueConfig, StorageType

import xkeymsg
from benchmarks.harness import Contender, gc_off
from benchmarks.peer import Peer
from benchmarks.promises import Promise
from benchmarks.report import AnyPromise, Report, human
from xkeymsg import XKeyPair
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer

__all__ = ("PROMISES", "suite")

_STOCK, _SEALED = "stock", "sealed"
_SIZES: Final = (128, 1 << 10, 1 << 16)
_KEYS: Final = 64
"""Keys that are used in turn."""
_WARM_UP: Final = 200

PROMISES: tuple[AnyPromise, ...] = tuple(
    Promise(title=f"kv {operation} 1 KiB", of=_SEALED, against=_STOCK, target="≤ 1.5")
    for operation in ("put", "get")
)


def suite(report: Report) -> None:
    """Measure put and get."""
    try:
        with NATSServer(jetstream=True) as server, ExitStack() as stack:
            command = [sys.executable, "-m", "benchmarks.kv", server.url]
            peer = stack.enter_context(Peer(command))
            for size in _SIZES:
                for operation in ("put", "get"):
                    made = [_contender(peer, operation, how, size) for how in (_STOCK, _SEALED)]
                    title = f"kv {operation} {human(size)}"
                    measures = ("time", "CPU")
                    report.measure(title, made, baseline=_STOCK, measures=measures, longer=10)
    except ConfigurationError:
        report.leave_out_server()


def _contender(peer: Peer, operation: str, how: str, size: int) -> Contender:
    return Contender(
        name=how,
        batch=lambda n: peer.ask(operation, how, size, n),
        most=1000,
        warm_up=_WARM_UP,
    )


async def _peer(url: str) -> None:
    """Answer `OPERATION HOW SIZE N` with the time and the processor time that it took."""
    pair = XKeyPair.generate()
    stock = await nats.connect(url)
    async with xkeymsg.connect(url, key=pair, trust={pair.public}) as client:
        config = KeyValueConfig(bucket=_STOCK, storage=StorageType.MEMORY)
        sealed = client.kv(_SEALED, to=pair.public)
        await sealed.init(storage="memory")
        context = stock.jetstream()
        buckets: dict[str, Any] = {
            _STOCK: await context.create_key_value(config),
            _SEALED: sealed,
        }
        print("ready", pair.public, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            operation, how, size, n = line.split()
            taken = await _run(buckets[how], operation, bytes(int(size)), int(n))
            print(*taken, flush=True)
    await stock.close()


async def _run(bucket: Any, operation: str, data: bytes, n: int) -> tuple[int, int]:
    keys = [f"{len(data)}.{number}" for number in range(_KEYS)]
    if operation == "get":
        for key in keys:
            await bucket.put(key, data)
    with gc_off():
        begun, used = time.perf_counter_ns(), time.process_time_ns()
        for number in range(n):
            key = keys[number % _KEYS]
            if operation == "put":
                await bucket.put(key, data)
            else:
                await bucket.get(key)
        return time.perf_counter_ns() - begun, time.process_time_ns() - used


if __name__ == "__main__":
    asyncio.run(_peer(sys.argv[1]))
