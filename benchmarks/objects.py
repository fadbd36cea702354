"""Object stores: sealed objects beside plain ones of stock nats-py, in one server.

Both put the same file, under a name that has an object already, and get it into another file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats

import xkeymsg
from benchmarks.harness import Contender
from benchmarks.report import Promise, Report, human
from xkeymsg import XKeyPair
from xkeymsg.ambient import random_bytes
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer

__all__ = ("PROMISES", "suite")

_STOCK, _SEALED = "nats-py, plain", "xkeymsg, sealed"
_SIZES = (1 << 20, 64 << 20)

PROMISES = tuple(
    Promise(title=f"{verb} {human(size)}", of=_STOCK, against=_SEALED, target="≥ 0.7")
    for verb in ("put", "get")
    for size in _SIZES
)


def suite(report: Report) -> None:
    """Measure putting and getting."""
    try:
        with NATSServer(jetstream=True) as server, TemporaryDirectory() as folder:
            with asyncio.Runner() as runner:
                runner.run(_measure(report, runner, server.url, Path(folder)))
    except ConfigurationError:
        report.leave_out_server()


async def _measure(report: Report, runner: asyncio.Runner, url: str, folder: Path) -> None:
    """Measure in a thread, whose batches run in this event loop."""
    loop, pair = runner.get_loop(), XKeyPair.generate()
    stock = await nats.connect(url)
    plain = await stock.jetstream().create_object_store("plain")
    async with xkeymsg.connect(url, key=pair, trust={pair.public}) as client:
        sealed = client.objects("sealed", to=pair.public)
        await sealed.init()
        for size in _SIZES:
            source = folder / f"{size}"
            source.write_bytes(random_bytes(size))
            into = folder / "out"
            for verb, calls in (
                ("put", {_STOCK: _put(plain, source), _SEALED: _put(sealed, source)}),
                ("get", {_STOCK: _get_plain(plain, into), _SEALED: _get_sealed(sealed, into)}),
            ):
                contenders = [_contender(name, call, loop) for name, call in calls.items()]
                await asyncio.to_thread(
                    report.measure,
                    f"{verb} {human(size)}",
                    contenders,
                    baseline=_STOCK,
                    longer=50 if size > 1 << 20 else 10,
                )
    await stock.close()


def _contender(
    name: str, call: Callable[[], Awaitable[object]], loop: asyncio.AbstractEventLoop
) -> Contender:
    async def several(n: int) -> int:
        start = time.perf_counter_ns()
        for _ in range(n):
            await call()
        return time.perf_counter_ns() - start

    def batch(n: int) -> tuple[int]:
        return (asyncio.run_coroutine_threadsafe(several(n), loop).result(),)

    return Contender(name=name, batch=batch, most=20, warm_up=1)


def _put(store: Any, source: Path) -> Callable[[], Awaitable[object]]:
    async def put() -> None:
        with source.open("rb") as file:
            await store.put("object", file)

    return put


def _get_plain(store: Any, into: Path) -> Callable[[], Awaitable[object]]:
    async def get() -> None:
        with into.open("wb") as file:
            await store.get("object", writeinto=file)

    return get


def _get_sealed(store: Any, into: Path) -> Callable[[], Awaitable[object]]:
    async def get() -> None:
        with into.open("wb") as file:
            await store.get("object", into=file)

    return get
