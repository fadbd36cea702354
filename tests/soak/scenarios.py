"""What may happen, one function each: it sets the stage, lets it happen, and reads the sink."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.daemons.sender.proxy import way_to
from tests.running import DEADLINE, unused_port
from tests.soak.arena import Arena, Plan, messages
from tests.soak.daemons import Daemon
from tests.soak.flow import end, stage, through
from tests.soak.ledger import Ledger
from tests.soak.places import Places
from tests.soak.sinks import Lines, check, read_files
from tests.transport.raw import frozen
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions, create_durable
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

FILES = 'kind = "files"\nfolder = "out"'
LINES = 'kind = "stdout"'

CLUSTER = """
server_name: n{number}
jetstream {{ store_dir: "{{dir}}/js" }}
cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


# --- processes that die ---------------------------------------------------------------------------


Victim = NATSServer | Daemon


async def _no_mark(victim: Victim) -> None:
    pass


async def _kills(
    made: Arena,
    mark: Callable[[Victim], Awaitable[None]] = _no_mark,
    *,
    extra: tuple[str, NATSServer] | None = None,
) -> None:
    """Kill one of everything, at random, again and again."""
    assert made.feeder is not None
    victims: list[tuple[str, Victim]] = [("server", made.servers[0])]
    victims += [("sender", made.feeder), *(("receiver", each) for each in made.receivers)]
    if extra is not None:
        victims.append(extra)
    while True:
        await made.progress()
        await asyncio.sleep(made.random.uniform(*made.plan.pause))
        name, victim = made.random.choice(victims)
        await mark(victim)
        if isinstance(victim, NATSServer):
            victim.kill()
            made.ledger.faults[f"kill -9 {name}"] += 1
            await start(victim)
        elif victim.kill():
            made.ledger.faults[f"kill -9 {name}"] += 1


async def start(server: NATSServer) -> None:
    """Start a server in a thread; also when this is cancelled there has to be one afterwards."""
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await starting
        raise


async def kills(plan: Plan, seed: int) -> Ledger:
    """Server, senders and receivers are killed; the sink keeps a message once, by its id."""
    async with stage("kills, into files", plan, seed) as (made, ledger):
        made.start_receivers(FILES)
        await through(made, lambda: _kills(made))
        read_files(ledger, made.out, plan.size)
    return ledger


_HELD_FOR: Final = 11.0
"""Seconds; a sender daemon waits for ten."""

HELD: Final = 256
"""How many messages a receiver has in its hands at most: it goes on to deliver them while its
server is dead, cannot acknowledge any, and is given all of them again."""


async def kills_lines(plan: Plan, seed: int) -> Ledger:
    """The same into lines, where what was under way at a kill may be twice, and nothing else."""
    async with stage("kills, into lines", plan, seed) as (made, ledger):
        ledger.once = False
        lines = Lines(window=HELD)
        made.start_receivers(LINES)

        def paths() -> list[Path]:
            return [path for daemon in made.receivers for path in daemon.outputs]

        async def mark(victim: Victim) -> None:
            if isinstance(victim, NATSServer):
                lines.mark(paths())
            elif victim in made.receivers:
                lines.mark(victim.outputs[-1:])

        await through(made, lambda: _kills(made, mark))
        lines.read(ledger, paths(), plan.size)
    return ledger


async def kills_nats(plan: Plan, seed: int) -> Ledger:
    """The same into a stream of another server, which is killed too; it keeps a message once."""
    with NATSServer(jetstream=True) as local:
        async with (
            stage("kills, into a stream", plan, seed) as (made, ledger),
            open_link(ConnectOptions(servers=(local.url,), timeout=DEADLINE)) as link,
        ):
            api = API(link, timeout=DEADLINE)
            await api.request("STREAM.CREATE.OUT", {"name": "OUT", "subjects": ["out.>"]})
            heard = await link.subscribe("out.>")
            made.elsewhere = lambda: heard.pending + heard.dropped
            made.start_receivers(
                f'kind = "nats"\nservers = ["{local.url}"]\njetstream = true\n'
                'subject = "out.{subject}"'
            )
            await through(made, lambda: _kills(made, extra=("the sink's server", local)))
            async for stored in messages(api, "OUT", "out.>"):
                check(ledger, json.loads(stored.data), plan.size)
    return ledger


@contextlib.asynccontextmanager
async def _sealing(
    scenario: str, plan: Plan, seed: int
) -> AsyncIterator[tuple[Arena, Ledger, Places, NATSServer]]:
    """Set the stage for a sender daemon that seals a stream of another server."""
    with NATSServer(jetstream=True) as inside:
        async with (
            stage(scenario, plan, seed) as (made, ledger),
            open_link(ConnectOptions(servers=(inside.url,), timeout=DEADLINE)) as link,
        ):
            api = API(link, timeout=DEADLINE)
            await api.request("STREAM.CREATE.PLAIN", {"name": "PLAIN", "subjects": ["plain.*"]})
            options = DurableOptions(ack_wait=plan.ack_wait)
            await create_durable(api, "PLAIN", "sealing", options.config("sealing"))
            made.start_receivers(FILES)
            places = Places(api)
            made.elsewhere = places.published
            yield made, ledger, places, inside
            await made.settle()
            places.read(ledger, made.out, plan)


async def _through_sender(
    made: Arena,
    sender: Daemon,
    places: Places,
    faults: Coroutine[Any, Any, None],
    *,
    capture: bool,
) -> None:
    """Let everything flow through a sender daemon, with strangers and faults."""
    plan, ledger = made.plan, made.ledger
    tasks = [
        asyncio.create_task(faults),
        asyncio.create_task(made.hostile.run(plan.hostile, capture=capture)),
    ]
    try:
        async with asyncio.timeout(plan.deadline):
            await places.publish(plan, lambda: made.enough)
            await places.sealed(most=plan.few)
            for task in tasks:
                await end(task)
            await places.sealed()
            if await sender.stop():
                ledger.problems.append("the sender ended with an error")
            await made.finished()
    except TimeoutError:
        ledger.problems.append("it did not come to an end in time")
    finally:
        for task in tasks:
            await end(task)
    if not ledger.faults:
        ledger.problems.append("nothing happened to it")
    ledger.watch(sender.crashes, sender.failed_starts)


async def kills_daemons(plan: Plan, seed: int) -> Ledger:
    """A sender daemon seals a stream of another server; it, both servers and receivers are killed.

    Sealed again, a message has another id. A stream of work forgets, when its server is killed, the
    ids of what was taken out of it: what was under way then may come twice, and nothing else.
    """
    async with _sealing("kills, both daemons", plan, seed) as (made, ledger, places, inside):
        ledger.once = False

        async def mark(victim: Victim) -> None:
            if victim not in made.receivers:
                await places.mark()

        sender = made.start_sender(inside.url)
        faults = _kills(made, mark, extra=("the source's server", inside))
        await _through_sender(made, sender, places, faults, capture=True)
    return ledger


async def late_acknowledgements(plan: Plan, seed: int) -> Ledger:
    """What the output server says to a sender daemon is held for longer than it waits.

    Sealed again, a message has another id, but the stream keeps it once, by its `Nats-Msg-Id`.
    """
    async with _sealing("late acknowledgements", plan, seed) as (made, ledger, places, inside):
        async with way_to(made.servers[0].port) as way:

            async def hold() -> None:
                while not any(made.out.iterdir()):  # noqa: ASYNC110 - files
                    await asyncio.sleep(0.05)
                while True:
                    await made.progress()
                    await asyncio.sleep(made.random.uniform(*plan.pause))
                    way.flowing.clear()
                    ledger.faults["answers held"] += 1
                    try:
                        await asyncio.sleep(_HELD_FOR)
                    finally:
                        way.flowing.set()

            sender = made.start_sender(inside.url, way.url)
            await _through_sender(made, sender, places, hold(), capture=False)
            if " lost " in (made.folder / "sender.log").read_text():
                ledger.problems.append("the sender reported messages as lost")
    return ledger


# --- sinks that fail ------------------------------------------------------------------------------


async def slow_sink(plan: Plan, seed: int) -> Ledger:
    """Each batch takes longer than `ack_wait`; a receiver asks for more time, and gets no copy.

    Only a receiver that stands still for about half of `ack_wait` asks too late.
    """
    async with stage("slow sink", plan, seed) as (made, ledger):
        script = f'sleep {plan.ack_wait * 1.5}; cat > "$(mktemp "$0/XXXXXXXX")"'
        command = ["/bin/sh", "-c", script, str(made.out)]
        made.start_receivers(f'kind = "command"\nbatch = 64\ncommand = {json.dumps(command)}')
        await through(made)
        ledger.once = False
        Lines(window=0).read(ledger, list(made.out.iterdir()), plan.size)
    return ledger


async def left_behind(plan: Plan, seed: int) -> Ledger:
    """Each command leaves a process in a session of its own, which holds its stderr open."""
    async with stage("processes left behind", plan, seed) as (made, ledger):
        script = 'setsid sleep 20 & cat > "$(mktemp "$0/XXXXXXXX")"'
        command = ["/bin/sh", "-c", script, str(made.out)]
        made.start_receivers(
            f'kind = "command"\nbatch = 64\nstderr = "log"\ncommand = {json.dumps(command)}'
        )
        await through(made)
        ledger.once = False
        Lines(window=0).read(ledger, list(made.out.iterdir()), plan.size)
    return ledger


async def full_disk(plan: Plan, seed: int) -> Ledger:
    """Again and again no file may be as long as a message: nothing is left half there."""
    async with stage("full disk", plan, seed) as (made, ledger):
        made.start_receivers(FILES)

        def limit(size: int) -> None:
            for daemon in made.receivers:
                if daemon.alive and daemon.process is not None:
                    limits = size, resource.RLIM_INFINITY
                    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)

        async def fill() -> None:
            while True:
                await made.progress()
                await asyncio.sleep(made.random.uniform(*plan.pause))
                limit(100)
                ledger.faults["disk full"] += 1
                try:
                    await asyncio.sleep(plan.pause[1])
                finally:
                    limit(resource.RLIM_INFINITY)

        await through(made, fill)
        read_files(ledger, made.out, plan.size)
        for daemon in made.receivers:
            if daemon.starts > 1:
                ledger.problems.append(f"{daemon.name} did not survive a full disk")
    return ledger


# --- servers that fail ----------------------------------------------------------------------------


async def full_server(plan: Plan, seed: int) -> Ledger:
    """The server's disk is full; somebody makes room, and starts it again."""
    async with stage("full server", plan, seed) as (made, ledger):
        made.start_receivers(FILES)
        server = made.servers[0]

        async def fill() -> None:
            while True:
                await made.progress()
                await asyncio.sleep(made.random.uniform(*plan.pause))
                assert server.process is not None
                largest = max(p.stat().st_size for p in server.directory.rglob("*.blk"))
                limits = largest + 100, resource.RLIM_INFINITY
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
                ledger.faults["server full"] += 1
                try:
                    await asyncio.sleep(plan.pause[1])
                finally:
                    server.kill()
                    await start(server)

        await through(made, fill)
        read_files(ledger, made.out, plan.size)
    return ledger


async def frozen_server(plan: Plan, seed: int) -> Ledger:
    """The server stands still, its connections open, and goes on."""
    async with stage("frozen server", plan, seed) as (made, ledger):
        made.start_receivers(FILES)

        async def freeze() -> None:
            while True:
                await made.progress()
                await asyncio.sleep(made.random.uniform(*plan.pause))
                with frozen(made.servers[0]):
                    ledger.faults["server frozen"] += 1
                    await asyncio.sleep(plan.frozen)

        await through(made, freeze)
        read_files(ledger, made.out, plan.size)
    return ledger


async def leader_lost(plan: Plan, seed: int) -> Ledger:
    """Of three servers the one that leads the stream is killed, and comes back."""
    ports = [unused_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(NATSServer(CLUSTER.format(number=n, port=port, routes=routes)))
            for n, port in enumerate(ports)
        ]
        async with stage("leader lost", plan, seed, servers) as (made, ledger):
            made.start_receivers(FILES)
            await through(made, lambda: _lose_leaders(made))
            read_files(ledger, made.out, plan.size)
    return ledger


async def _lose_leaders(made: Arena) -> None:
    while True:
        await made.progress()
        await asyncio.sleep(made.random.uniform(*made.plan.pause))
        while (leader := await made.leader()) is None:  # noqa: ASYNC110 - it is asked for
            # Not all of them are there, and up to date: two of three have to be.
            await asyncio.sleep(0.1)
        server = made.servers[int(leader[1:])]
        server.kill()
        made.ledger.faults["leader killed"] += 1
        await start(server)


LONG = Plan(100_000, rate=2_000, hostile=20, pause=(0.5, 2.5), patience=10.0)
SHORT = Plan(
    1_500, rate=400, pause=(0.3, 0.9), patience=1.0, ack_wait=1.0, deadline=4 * DEADLINE, faults=2
)

ALL: dict[str, tuple[Callable[[Plan, int], Coroutine[Any, Any, Ledger]], Plan, Plan]] = {
    "kills": (kills, LONG, SHORT),
    "kills-lines": (kills_lines, LONG, SHORT),
    "kills-nats": (kills_nats, LONG, SHORT),
    "kills-daemons": (kills_daemons, replace(LONG, messages=30_000), SHORT),
    "late-acks": (
        late_acknowledgements,
        replace(LONG, messages=10_000, rate=200, pause=(3, 6)),
        replace(SHORT, messages=400, rate=50),
    ),
    "left-behind": (
        left_behind,
        replace(LONG, messages=5_000, ack_wait=10.0),
        replace(SHORT, messages=400, ack_wait=10.0),
    ),
    "slow-sink": (
        slow_sink,
        replace(LONG, messages=5_000, ack_wait=4.0),
        replace(SHORT, messages=400),
    ),
    "full-disk": (full_disk, replace(LONG, messages=10_000, rate=500), SHORT),
    "full-server": (full_server, replace(LONG, messages=10_000, rate=500), SHORT),
    "frozen": (
        frozen_server,
        replace(LONG, messages=10_000, rate=200, frozen=30.0, pause=(5, 10)),
        replace(SHORT, frozen=3.0),
    ),
    "leader": (
        leader_lost,
        replace(LONG, messages=10_000, rate=200, pause=(5, 10)),
        replace(SHORT, pause=(2, 3)),
    ),
}
