"""A cluster announces servers that cannot be reached; receivers have to find the live one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from typing import Any, Final

from tests.running import until, unused_port
from tests.soak import scenarios
from tests.soak.arena import Arena, Plan
from tests.soak.daemons import Daemon
from tests.soak.flow import stage, through
from tests.soak.ledger import Ledger
from tests.soak.pages import read_metrics
from tests.soak.scenarios import CLUSTER, LINES, start
from tests.soak.sinks import Lines
from tests.transport.raw import dead
from xkeymsg.testing import NATSServer

ANNOUNCER = """
client_advertise: "127.0.0.1:{nowhere}"
cluster {{ name: c, listen: "127.0.0.1:-1", routes: [{routes}] }}
"""
"""A server without a store: all it does is to announce an address that is not its own."""

NOT_READY: Final = 5.0
"""Seconds after which a receiver that has lost its server must report that it is not ready."""

BACK: Final = 60.0
"""Seconds within which a receiver must find the live server. Servers die again before a connection
has lasted for the 10 s that reset the pauses: these grow to 30 s, and an attempt takes up to 2.2 s
for each of nine addresses."""


@contextlib.contextmanager
def _silent() -> Iterator[int]:
    """Listen on a port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def _closed() -> Iterator[int]:
    """Hold a port that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def _announces(server: NATSServer, count: int) -> bool:
    """Return whether a server announces so many addresses."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        info = json.loads((await reader.readline()).removeprefix(b"INFO "))
    finally:
        writer.close()
    return len(info.get("connect_urls", ())) >= count


class _Absence:
    """Looks at receivers while their servers are gone, and until they have found one."""

    def __init__(self, made: Arena) -> None:
        self._made = made
        self._problems = made.ledger.problems
        self._reconnects: dict[str, float] = {}

    async def _metrics(self, daemon: Daemon) -> dict[str, float]:
        with contextlib.suppress(OSError, HTTPException):
            path = self._made.folder / f"{daemon.name}.pages"
            return await asyncio.to_thread(read_metrics, path)
        return {}

    async def begin(self) -> None:
        """Wait until all are ready, and note how often each has reconnected so far."""
        for daemon in self._made.receivers:
            await until(partial(self._is_ready, daemon))
            metrics = await self._metrics(daemon)
            self._reconnects[daemon.name] = metrics["xkeymsg_reconnects_total"]

    async def _is_ready(self, daemon: Daemon) -> bool:
        return (await self._metrics(daemon)).get("xkeymsg_ready") == 1

    async def lasts(self, seconds: float) -> None:
        """Watch receivers that cannot find a server."""
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            await self._is_over(lost=passed > NOT_READY)
            await asyncio.sleep(0.2)

    async def ends(self) -> None:
        """Wait until all receivers have found the live server."""
        begun = time.monotonic()
        while not await self._is_over(lost=True):
            if time.monotonic() - begun > BACK:
                self._problems.append(f"not back {BACK:.0f} s after a server was")
                return
            await asyncio.sleep(0.2)
        self._made.ledger.waits.append(time.monotonic() - begun)

    async def _is_over(self, *, lost: bool) -> bool:
        """Return whether all are back; with `lost`, require that those away are not ready."""
        over = True
        for daemon in self._made.receivers:
            metrics = await self._metrics(daemon)
            if metrics.get("xkeymsg_reconnects_total", 0) > self._reconnects[daemon.name]:
                continue
            over = False
            problem = f"{daemon.name} is ready without a server"
            if lost and metrics.get("xkeymsg_ready") and problem not in self._problems:
                self._problems.append(problem)
        return over


async def _lose_both(made: Arena) -> None:
    """Kill both servers that receivers can reach, again and again; one returns before the other."""
    pair = made.servers[:2]
    while True:
        await made.progress()
        await asyncio.sleep(made.random.uniform(*made.plan.pause))
        absence = _Absence(made)
        await absence.begin()
        order = made.random.sample(pair, 2)
        try:
            for server in pair:
                server.kill()
            await absence.lasts(made.random.uniform(made.plan.frozen / 2, made.plan.frozen))
            await start(order[0])
            await absence.ends()
            made.ledger.faults["kill -9 server"] += 2
        finally:
            for server in order:
                if server.process is None:
                    await start(server)
        while await made.leader() is None:  # noqa: ASYNC110 - it is asked for
            await asyncio.sleep(0.2)


async def dead_servers(plan: Plan, seed: int) -> Ledger:
    """Of the announced servers one is alive, seven are black holes, silent, or refuse connections.

    The receiver is given one server. It and the live announced one are killed together, and either
    returns first. The third with the stream announces an address where it is not. The receiver
    lives on and remembers what it has delivered: its lines have each message once, although the
    killed servers may have forgotten acknowledgements.
    """
    ports = [unused_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    with contextlib.ExitStack() as stack:
        nowhere = [
            stack.enter_context(kind())
            for kind in (dead, dead, dead, dead, _silent, _silent, _closed)
        ]
        configs = [
            CLUSTER.format(number=n, port=port, routes=routes) for n, port in enumerate(ports)
        ]
        configs[2] = f'client_advertise: "127.0.0.1:{nowhere.pop()}"\n{configs[2]}'
        configs += [ANNOUNCER.format(nowhere=port, routes=routes) for port in nowhere]
        servers = [stack.enter_context(NATSServer(config)) for config in configs]
        async with stage("dead servers", plan, seed, servers[:3]) as (made, ledger):
            for server in servers[:2]:
                await until(partial(_announces, server, len(servers)))
            made.start_receivers(LINES, servers[:1])
            await through(made, lambda: _lose_both(made))
            Lines(window=0).read(ledger, made.receivers[0].outputs, plan.size)
    return ledger


LONG = replace(
    scenarios.LONG, messages=10_000, rate=200, pause=(1, 3), frozen=12.0, faults=4, receivers=1
)
SHORT = replace(scenarios.SHORT, messages=400, rate=100, frozen=3.0, receivers=1)

ALL: dict[str, tuple[Callable[[Plan, int], Coroutine[Any, Any, Ledger]], Plan, Plan]] = {
    "dead-servers": (dead_servers, LONG, SHORT),
}
