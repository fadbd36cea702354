"""A stream, daemons that work on it, and what may happen to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import Any

from tests.soak.hostile import Hostile
from tests.soak.journal import Journal
from tests.soak.ledger import Ledger
from tests.soak.pages import read_metrics
from xkeymsg import XKeyPair
from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.records import parse_record
from xkeymsg.envelope.inspecting import message_id
from xkeymsg.errors import DeliveryError, EnvelopeError, XKeyMsgError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

STREAM, DURABLE = "ORDERS", "workers"

CONFIG = """\
[key]
seed_file = "bob.seed"
[trust]
peers = "peers.toml"
[nats]
servers = {servers}
[[route]]
name = "orders"
stream = "ORDERS"
durable = "workers"
subjects = ["orders.>"]
backoff = 0.2
backoff_most = 1.0
attempts = {attempts}
patience = {patience}
sink = "out"
[sinks.out]
{sink}
[quarantine]
create = true
replicas = {replicas}
[observe]
listen = "unix:{pages}"
[drain]
seconds = 10
"""


SENDER = """\
[key]
seed_file = "alice.seed"
[trust]
peers = "readers.toml"
[nats]
servers = {servers}
[source]
servers = {source}
[[route]]
name = "orders"
stream = "PLAIN"
durable = "sealing"
subject = "plain.*"
to = "orders.{{1}}"
recipients = ["bob"]
output = "jetstream"
backoff = 0.2
backoff_most = 1.0
"""


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    messages: int
    rate: float = 0.0
    """Honest messages a second; 0 for as many as there can be."""
    size: int = 400
    """Bytes that they have at most."""
    hostile: float = 20.0
    """Hostile messages a second."""
    pause: tuple[float, float] = (0.5, 2.0)
    """Seconds between two faults."""
    receivers: int = 2
    ack_wait: float = 2.0
    patience: float = 3.0
    attempts: int = 100
    frozen: float = 30.0
    """Seconds for which a server stands still."""
    deadline: float = 600.0
    """Seconds after which a run has failed."""

    @property
    def few(self) -> int:
        """So many messages under way that faults may end: strangers' always wait for keys."""
        return self.messages // 30 + int(3 * self.hostile)


class Daemon:
    """A process that is started again whenever it ends, as a service manager would."""

    def __init__(self, name: str, command: list[str], stdout: Callable[[], Path] | None) -> None:
        self.name = name
        self.starts = 0
        self.outputs: list[Path] = []
        self.process: asyncio.subprocess.Process | None = None
        self._command = command
        self._stdout = stdout
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.codes: list[int] = []

    def start(self, errors: Path) -> None:
        """Start it, and keep it going."""
        self._task = asyncio.create_task(self._keep(errors))

    async def _keep(self, errors: Path) -> None:
        while not self._stopping:
            self.starts += 1
            with errors.open("ab") as log, self._open() as out:
                self.process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=log
                )
            code = await self.process.wait()
            self.codes.append(code)
            if code == 0:
                return
            await asyncio.sleep(0.1)

    @contextlib.contextmanager
    def _open(self) -> Iterator[int]:
        path = self._stdout() if self._stdout else Path(os.devnull)
        self.outputs.append(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @property
    def alive(self) -> bool:
        """Whether there is a process now."""
        return self.process is not None and self.process.returncode is None

    def kill(self) -> None:
        """End it as a power cut would; it starts again."""
        if self.alive and self.process is not None:
            self.process.kill()

    async def ended(self) -> None:
        """Wait until it has ended by itself, with 0."""
        if self._task is not None:
            await self._task

    async def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        self._stopping = True
        if self.alive and self.process is not None:
            self.process.terminate()
        if self._task is not None:
            async with asyncio.timeout(20):
                await self._task
        return self.codes[-1] if self.codes else 0

    async def end(self) -> None:
        """End it for good, whatever it does."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.alive and self.process is not None:
            self.process.kill()
            await self.process.wait()


@dataclass
class Arena:
    """Everything that a scenario needs, made by `arena`."""

    plan: Plan
    ledger: Ledger
    random: Random
    servers: list[NATSServer]
    folder: Path
    link: Link
    api: API
    hostile: Hostile
    journal: Journal
    receivers: list[Daemon] = field(default_factory=list)
    feeder: Daemon | None = None

    @property
    def out(self) -> Path:
        """Where the sink's files are."""
        return self.folder / "out"

    def start_receivers(self, sink: str) -> None:
        """Start the receivers, all with the same sink."""
        urls = json.dumps([server.url for server in self.servers])
        plan = self.plan
        for number in range(plan.receivers):
            name = f"receiver{number}"
            path = self.folder / f"{name}.toml"
            path.write_text(
                CONFIG.format(
                    servers=urls,
                    sink=sink,
                    attempts=plan.attempts,
                    patience=float(plan.patience),
                    replicas=len(self.servers),
                    pages=self.folder / f"{name}.pages",
                )
            )
            daemon = Daemon(
                name,
                [sys.executable, "-m", "receiver", "--config", str(path)],
                lambda name=name: self.folder / f"{name}.{os.urandom(4).hex()}.lines",  # type: ignore[misc]
            )
            daemon.start(self.folder / f"{name}.log")
            self.receivers.append(daemon)

    def start_feeder(self) -> Daemon:
        """Start the sender."""
        settings = {
            "servers": [server.url for server in self.servers],
            "folder": str(self.folder),
            "to": str((self.folder / "bob.public").read_text()),
            "messages": self.plan.messages,
            "rate": self.plan.rate,
            "size": self.plan.size,
        }
        command = [sys.executable, "-m", "tests.soak.feeder", json.dumps(settings)]
        self.feeder = Daemon("sender", command, None)
        self.feeder.start(self.folder / "sender.log")
        return self.feeder

    def start_sender(self, source: str) -> Daemon:
        """Start a sender daemon, which seals what is in a stream of another server."""
        bob = (self.folder / "bob.public").read_text()
        (self.folder / "readers.toml").write_text(f'[peers.bob]\nxkey = "{bob}"\n')
        path = self.folder / "sender.toml"
        urls = json.dumps([server.url for server in self.servers])
        path.write_text(SENDER.format(servers=urls, source=json.dumps([source])))
        command = [sys.executable, "-m", "sender", "--config", str(path)]
        self.feeder = Daemon("sender", command, None)
        self.feeder.start(self.folder / "sender.log")
        return self.feeder

    async def make_stream(self, **config: Any) -> None:
        """Make the stream of work, and its durable."""
        body = {
            "name": STREAM, "subjects": ["orders.>"], "retention": "workqueue",
            "storage": "file", "num_replicas": len(self.servers), **config,
        }  # fmt: skip
        await self._insist(f"STREAM.CREATE.{STREAM}", body)
        durable = DurableOptions(ack_wait=self.plan.ack_wait).config(DURABLE)
        body = {"stream_name": STREAM, "config": durable, "action": ""}
        await self._insist(f"CONSUMER.CREATE.{STREAM}.{DURABLE}", body)

    async def _insist(self, what: str, body: dict[str, Any]) -> None:
        """Ask until servers that have only just started can do it."""
        async with asyncio.timeout(30):
            while True:
                try:
                    await self.api.request(what, body)
                except DeliveryError:
                    if len(self.servers) == 1:
                        raise
                    await asyncio.sleep(0.2)
                else:
                    return

    async def leader(self) -> str | None:
        """Return which server leads the stream; None while not all replicas are up to date."""
        try:
            cluster = (await self.api.request(f"STREAM.INFO.{STREAM}"))["cluster"]
        except XKeyMsgError:
            return None
        current = [each.get("current") for each in cluster.get("replicas", ())]
        return str(cluster["leader"]) if current == [True, True] else None

    async def pending(self) -> int | None:
        """Return how many messages wait for a receiver's answer; None if the server cannot say."""
        try:
            info = await self.api.request(f"CONSUMER.INFO.{STREAM}.{DURABLE}")
        except XKeyMsgError:
            return None
        return int(info["num_pending"]) + int(info["num_ack_pending"])

    async def finished(self, most: int = 0) -> None:
        """Wait until everything is sent, and no more than so many messages are unanswered."""
        assert self.feeder is not None
        await self.feeder.ended()
        while True:
            pending = await self.pending()
            if pending is not None and pending <= most:
                return
            await asyncio.sleep(0.1)

    async def settle(self) -> None:
        """Stop the daemons, and fill in the books."""
        for daemon in self.receivers:
            with contextlib.suppress(OSError, HTTPException):
                counts = await asyncio.to_thread(read_metrics, self.folder / f"{daemon.name}.pages")
                lost = 'xkeymsg_quarantined_total{kind="lost",route="orders"}'
                self.ledger.given_up += int(counts.get(lost, 0))
            code = await daemon.stop()
            if code:
                self.ledger.problems.append(f"{daemon.name} ended with {code} at the end")
        ledger, sent = self.ledger, self.journal.sent()
        names = {number: message_id(envelope).hex() for number, envelope in sent.items()}
        ledger.sent = {name: number for number, name in names.items()}
        ledger.acked = {names[number] for number in self.journal.acked()}
        ledger.replayed = self.hostile.replayed
        honest = {envelope: names[number] for number, envelope in sent.items()}
        kept = await self._audit_quarantine(honest)
        # A server that is killed may still have what it was told is done with: nobody will get it.
        async for stored in messages(self.api, STREAM, "orders.>"):
            if stored.data in kept:
                continue
            name = honest.get(stored.data) or self._in_files(stored.data)
            if name is not None:
                ledger.acknowledged_and_left.add(name)
            else:
                ledger.left += 1
        ledger.left += await self.pending() or 0

    def _in_files(self, sealed: bytes) -> str | None:
        """Return the id of a message that is in the files, where nobody knows what was sealed."""
        try:
            name = message_id(sealed).hex()
        except EnvelopeError:
            return None
        return name if (self.out / f"{name}.json").exists() else None

    async def _audit_quarantine(self, honest: dict[bytes, str]) -> set[bytes]:
        kept: set[bytes] = set()
        for stream in ("XKM_UNPROVEN", "XKM_PROVEN"):
            proof = stream.removeprefix("XKM_").lower()
            async for stored in messages(self.api, stream, f"{stream}.>"):
                record = parse_record(stored).record
                self.ledger.quarantined[f"{proof}: {record.reason}"] += 1
                if (name := honest.get(record.data)) is not None:
                    self.ledger.proven.add(name)
                    self.ledger.copies += name in self.hostile.replayed
                elif record.data not in self.hostile.shots:
                    self.ledger.unknown += 1
                kept.add(record.data)
        for data, kind in self.hostile.shots.items():
            self.ledger.hostile[kind] += data in kept
            self.ledger.missing[kind] += data in self.hostile.stored - kept
        self.ledger.hostile["replay"] = len(self.hostile.replayed)
        return kept


async def messages(api: API, stream: str, subject: str) -> AsyncIterator[Stored]:
    """Yield all that a stream keeps."""
    sequence = 1
    while (stored := await api.next_message(stream, sequence, subject)) is not None:
        sequence = stored.sequence + 1
        yield stored


@contextlib.asynccontextmanager
async def arena(
    plan: Plan, ledger: Ledger, folder: Path, servers: list[NATSServer]
) -> AsyncIterator[Arena]:
    """Set up everything but daemons, and end whatever was started."""
    random = Random(ledger.seed)
    alice, bob = XKeyPair.generate(), XKeyPair.generate()
    write_seed(folder / "alice.seed", alice)
    write_seed(folder / "bob.seed", bob)
    (folder / "bob.public").write_text(str(bob.public))
    (folder / "peers.toml").write_text(
        f'[peers.alice]\nxkey = "{alice.public}"\nsubjects = ["orders.>"]\n'
    )
    (folder / "out").mkdir()
    journal = Journal(folder)
    options = ConnectOptions(servers=tuple(server.url for server in servers))
    async with open_link(options) as link:
        hostile = Hostile(random, link, servers[0].url, journal, bob.public, alice)
        made = Arena(
            plan, ledger, random, servers, folder, link, API(link), hostile, journal
        )  # fmt: skip
        try:
            yield made
        finally:
            for daemon in [*made.receivers, *([made.feeder] if made.feeder else [])]:
                await daemon.end()
