"""Mistakes of operators, and outages: every message of a work queue is handled or recorded."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from http.client import HTTPException
from typing import Any

from tests.running import DEADLINE
from tests.soak.arena import Arena, Plan, messages
from tests.soak.audit import STREAM
from tests.soak.feeder import SUBJECTS, payload
from tests.soak.flow import stage
from tests.soak.ledger import Ledger
from tests.soak.pages import read_metrics
from tests.soak.scenarios import FILES, HELD, LINES
from tests.soak.sinks import Lines, check, read_files
from tests.transport.raw import frozen
from xkeymsg import Sealer, XKey, XKeyPair
from xkeymsg.client.jetstream.api import API
from xkeymsg.envelope.inspect import message_id
from xkeymsg.errors import DeliveryError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import read_seed, write_seed

NOT_READY = 5.0
"""Seconds after which a receiver must report that it is not ready."""


class Watch:
    """Publishes honest messages, and looks at one receiver."""

    def __init__(self, made: Arena) -> None:
        self.made, self.ledger = made, made.ledger
        self._sealer = Sealer(read_seed(made.folder / "alice.seed"))
        self._to = [XKey.parse((made.folder / "bob.public").read_text())]
        self._next = 0

    async def publish(self, count: int, *, strangers: int = 0) -> None:
        """Have the stream store honest messages, with strangers' garbage among them."""
        plan, link = self.made.plan, self.made.link
        for number in range(self._next, self._next + count):
            subject = f"orders.{number % SUBJECTS}"
            data = payload(number, plan.size)
            envelope = self._sealer.seal(data, to=self._to, subject=subject)
            self.ledger.sent[message_id(envelope).hex()] = number
            for each in range(strangers):
                await link.publish("orders.0", b"garbage %d %d" % (number, each))
            await link.publish(subject, envelope)
            if number % 500 == 0:
                await link.confirm()
        await link.confirm()
        self._next += count
        self.ledger.acked = set(self.ledger.sent)
        self.ledger.planned = len(self.ledger.sent)

    async def stored(self, stream: str) -> int:
        """Return how many messages a stream holds; 0 if it does not exist."""
        try:
            answer = await self.made.patient.request(f"STREAM.INFO.{stream}")
        except DeliveryError:
            return 0
        return int(answer["state"]["messages"])

    async def metric(self, name: str) -> float:
        """Return a metric of the receiver; -1 while it has no pages."""
        path = self.made.folder / f"{self.made.receivers[0].name}.pages"
        with contextlib.suppress(OSError, HTTPException):
            return (await asyncio.to_thread(read_metrics, path)).get(name, -1)
        return -1

    async def until(self, what: str, holds: Callable[[], Coroutine[Any, Any, bool]]) -> float:
        """Wait until something holds; return how long that took."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(self.made.plan.deadline):
                while not await holds():  # noqa: ASYNC110 - of a process
                    await asyncio.sleep(0.1)
        except TimeoutError:
            self.ledger.problems.append(f"not in time: {what}")
        return time.monotonic() - begun

    async def ready(self, expected: bool) -> float:
        """Wait until the receiver is ready, or is not; return how long that took."""

        async def holds() -> bool:
            return await self.metric("xkeymsg_ready") == expected

        return await self.until("ready" if expected else "not ready", holds)

    async def handled(self) -> None:
        """Wait until the stream is empty."""

        async def holds() -> bool:
            return await self.made.pending() == 0

        await self.until("everything is handled", holds)

    def expect(self, holds: bool, what: str) -> None:
        """Note a problem unless something holds."""
        if not holds:
            self.ledger.problems.append(what)

    async def replay(self) -> None:
        """Replay the unproven quarantine into the sink's folder, as an operator does."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "xkeymsg", "quarantine", "replay", "unproven", "--all",
            "--server", self.made.servers[0].url, "--seed", str(self.made.folder / "right.seed"),
            "--peers", str(self.made.folder / "right.toml"), "--subject", "orders.>",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        self.expect(process.returncode == 0, f"replay exited with {process.returncode}")
        for line in out.splitlines():
            check(self.ledger, json.loads(line), self.made.plan.size)


@contextlib.asynccontextmanager
async def _watch(scenario: str, plan: Plan, seed: int) -> AsyncIterator[tuple[Watch, Ledger]]:
    async with stage(scenario, replace(plan, receivers=1), seed) as (made, ledger):
        for name in ("bob.seed", "peers.toml"):
            right = made.folder / name.replace("bob", "right").replace("peers", "right")
            right.write_bytes((made.folder / name).read_bytes())
            right.chmod(0o600)
        yield Watch(made), ledger
        for daemon in made.receivers:
            if await daemon.stop():
                ledger.problems.append("the receiver ended with an error")
            ledger.watch(daemon.crashes, daemon.failed_starts)
        read_files(ledger, made.out, plan.size)


async def _mistaken(watch: Watch, plan: Plan, fix: Callable[[], None]) -> None:
    """Run with a mistake until all is recorded; correct it; replay, and go on."""
    await watch.publish(plan.messages)
    watch.made.start_receivers(FILES)

    async def begun() -> bool:
        return await watch.metric('xkeymsg_received_total{route="orders"}') > 0

    await watch.until("receiving", begun)
    took = await watch.ready(False)
    if plan.messages >= LONG.messages:  # a test has no such deadline
        watch.expect(took <= NOT_READY, f"ready for {took:.1f} s with a mistake")
    watch.ledger.faults["mistake"] += 1
    few = plan.messages // 20 + 100  # those that still wait for their key

    async def recorded() -> bool:
        left, kept = await watch.stored(STREAM), await watch.stored("XKM_UNPROVEN")
        watch.expect(left + kept >= plan.messages, f"{plan.messages - left - kept} are nowhere")
        return left <= few

    await watch.until("recorded", recorded)
    fix()
    process = watch.made.receivers[0].process
    assert process is not None
    process.send_signal(signal.SIGHUP)
    await watch.publish(plan.messages // 100)
    await watch.handled()
    await watch.ready(True)
    await watch.replay()
    watch.expect(await watch.stored("XKM_UNPROVEN") == 0, "records are left")


async def wrong_seed(plan: Plan, seed: int) -> Ledger:
    """The receiver has another key; then it gets the right one."""
    async with _watch("wrong seed", plan, seed) as (watch, ledger):
        path = watch.made.folder / "bob.seed"
        path.unlink()
        write_seed(path, XKeyPair.generate())

        def fix() -> None:
            path.write_bytes((watch.made.folder / "right.seed").read_bytes())

        await _mistaken(watch, plan, fix)
    return ledger


async def wrong_peers(plan: Plan, seed: int) -> Ledger:
    """The peers lack the sender; then they have it."""
    async with _watch("wrong peers", plan, seed) as (watch, ledger):
        path = watch.made.folder / "peers.toml"
        path.write_text(f'[peers.eve]\nxkey = "{XKeyPair.generate().public}"\n')

        def fix() -> None:
            new = path.with_suffix(".new")
            new.write_bytes((watch.made.folder / "right.toml").read_bytes())
            new.replace(path)

        await _mistaken(watch, plan, fix)
    return ledger


async def strangers(plan: Plan, seed: int) -> Ledger:
    """Ten messages of strangers come with each honest one: all are recorded, and those pass."""
    async with _watch("strangers", plan, seed) as (watch, ledger):
        watch.made.start_receivers(FILES)
        await watch.ready(True)
        await watch.publish(10)
        await watch.handled()
        ledger.faults["flood"] += 1
        honest = plan.messages // 10
        await watch.publish(honest, strangers=10)
        await watch.handled()
        watch.expect(await watch.metric("xkeymsg_ready") == 1, "strangers ended its readiness")
        kept = await watch.stored("XKM_UNPROVEN")
        watch.expect(kept == 10 * honest, f"{10 * honest - kept} have no record")
    return ledger


async def no_room(plan: Plan, seed: int) -> Ledger:
    """The sink has no room for long: nothing is quarantined, and it resumes by itself."""
    async with _watch("no room", plan, seed) as (watch, ledger):
        watch.made.start_receivers(FILES)
        await watch.ready(True)
        process = watch.made.receivers[0].process
        assert process is not None
        unlimited = resource.RLIM_INFINITY
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10, unlimited))
        ledger.faults["no room"] += 1
        begun = time.monotonic()
        await watch.publish(plan.messages)
        await watch.ready(False)
        while time.monotonic() - begun < plan.frozen:
            watch.expect(await watch.metric("xkeymsg_ready") != 1, "ready without room")
            await asyncio.sleep(1)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
        await watch.handled()
        await watch.ready(True)
        for stream in ("XKM_PROVEN", "XKM_UNPROVEN"):
            watch.expect(await watch.stored(stream) == 0, f"records in {stream}")
    return ledger


async def no_threads(plan: Plan, seed: int) -> Ledger:
    """No thread can be started for a while: nothing is quarantined, and it resumes by itself."""
    large = replace(plan, size=200_000, receiver="tests.soak.threadless")
    async with _watch("no threads", large, seed) as (watch, ledger):
        watch.made.start_receivers(FILES)
        await watch.ready(True)
        flag = watch.made.folder / "no-threads"
        flag.touch()
        ledger.faults["no threads"] += 1
        await watch.publish(plan.messages)
        await watch.ready(False)
        await asyncio.sleep(min(plan.frozen, 20))
        flag.unlink()
        await watch.handled()
        await watch.ready(True)
        for stream in ("XKM_PROVEN", "XKM_UNPROVEN"):
            watch.expect(await watch.stored(stream) == 0, f"records in {stream}")
    return ledger


async def crash(plan: Plan, seed: int) -> Ledger:
    """A receiver dies with messages in its hands; what follows does not make them stale.

    The sink is a command that never ends, and then lines, which are fast: a disk is not the matter.
    """
    async with _watch("crash, then many", plan, seed) as (watch, ledger):
        await watch.publish(HELD)
        command = ["/bin/sh", "-c", "sleep 600"]
        watch.made.start_receivers(f'kind = "command"\ncommand = {json.dumps(command)}')

        async def taken() -> bool:
            return await watch.metric('xkeymsg_in_flight{route="orders"}') > 0

        await watch.until("holding", taken)
        path = watch.made.folder / "receiver0.toml"
        text = path.read_text()
        path.write_text(text.replace(f'kind = "command"\ncommand = {json.dumps(command)}', LINES))
        watch.made.receivers[0].kill()
        ledger.faults["kill -9 receiver"] += 1
        await watch.publish(plan.messages)
        await watch.handled()
        await watch.ready(True)
        watch.expect(await watch.stored("XKM_PROVEN") == 0, "records in XKM_PROVEN")
        Lines(window=0).read(ledger, watch.made.receivers[0].outputs, plan.size)
    return ledger


async def held_acks(plan: Plan, seed: int) -> Ledger:
    """The sink's stream acknowledges nothing for 11 s, longer than anyone waits for it."""
    with NATSServer(jetstream=True) as local:
        async with (
            _watch("acknowledgements held", plan, seed) as (watch, ledger),
            open_link(ConnectOptions(servers=(local.url,), timeout=DEADLINE)) as link,
        ):
            api = API(link, timeout=DEADLINE)
            await api.request("STREAM.CREATE.OUT", {"name": "OUT", "subjects": ["out.>"]})
            watch.made.start_receivers(
                f'kind = "nats"\nservers = ["{local.url}"]\njetstream = true\n'
                'subject = "out.{subject}"'
            )
            await watch.ready(True)
            publishing = asyncio.create_task(watch.publish(plan.messages))
            await asyncio.sleep(0.5)
            with frozen(local):
                ledger.faults["the sink's stream is silent"] += 1
                await asyncio.sleep(11)
            await publishing
            await watch.handled()
            await watch.ready(True)
            watch.expect(await watch.stored("XKM_PROVEN") == 0, "records in XKM_PROVEN")
            async for stored in messages(api, "OUT", "out.>"):
                check(ledger, json.loads(stored.data), plan.size)
    return ledger


LONG = Plan(20_000, patience=3.0, attempts=5, frozen=60.0, ack_wait=10.0)
SHORT = Plan(600, patience=1.0, attempts=5, frozen=5.0, ack_wait=2.0, deadline=4 * DEADLINE)

ALL: dict[str, tuple[Callable[[Plan, int], Coroutine[Any, Any, Ledger]], Plan, Plan]] = {
    "wrong-seed": (wrong_seed, LONG, SHORT),
    "wrong-peers": (wrong_peers, LONG, SHORT),
    "strangers": (strangers, LONG, SHORT),
    "no-room": (no_room, replace(LONG, messages=2_000), SHORT),
    "no-threads": (no_threads, replace(LONG, messages=200), replace(SHORT, messages=50)),
    "crash": (crash, replace(LONG, messages=130_000), SHORT),
    "held-acks": (held_acks, replace(LONG, messages=5_000), SHORT),
}
