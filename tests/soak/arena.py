"""A stream, daemons that work on it, and what may happen to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from random import Random  # noqa: TID251 - a run has to be repeatable
from typing import Any, Final

from tests.running import DEADLINE
from tests.soak.audit import DURABLE, STREAM, Audit
from tests.soak.daemons import Daemon
from tests.soak.hostile import Hostile
from tests.soak.journal import Journal
from tests.soak.ledger import Ledger
from tests.soak.pages import read_metrics
from xkeymsg import XKeyPair
from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord, parse_record
from xkeymsg.envelope.inspect import message_id
from xkeymsg.errors import DeliveryError, EnvelopeError, XKeyMsgError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

CONFIG = """\
[key]
seed_file = "bob.seed"
[trust]
peers = "peers.toml"
[nats]
servers = {servers}
timeout = {timeout}
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
seconds = 60
"""


SENDER = """\
[key]
seed_file = "alice.seed"
[trust]
peers = "readers.toml"
[nats]
servers = {servers}
timeout = {timeout}
[source]
servers = {source}
timeout = {timeout}
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
    receiver: str = "tests.soak.receiving"
    """The module that they run."""
    ack_wait: float = 2.0
    patience: float = 3.0
    attempts: int = 100
    frozen: float = 30.0
    """Seconds for which a server stands still."""
    timeout: float = 5.0
    """Seconds for which daemons wait for an answer of their server."""
    unproven: float = 1.0
    """Seconds for which receivers try to keep a message that is unproven."""
    faults: int = 1
    """How many faults a run waits for before it sends its last messages."""
    deadline: float = 600.0
    """Seconds after which a run has failed."""

    @property
    def few(self) -> int:
        """So many messages under way that faults may end: strangers' always wait for keys."""
        return self.messages // 30 + int(3 * self.hostile)


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
    elsewhere: Callable[[], int] = lambda: 0
    """A count that changes when messages move where no file shows it."""

    @property
    def out(self) -> Path:
        """Where the sink's files are."""
        return self.folder / "out"

    def start_receivers(self, sink: str, servers: list[NATSServer] | None = None) -> None:
        """Start the receivers, all with the same sink; they are given all servers, or these."""
        urls = json.dumps([server.url for server in servers or self.servers])
        plan = self.plan
        for number in range(plan.receivers):
            name = f"receiver{number}"
            path = self.folder / f"{name}.toml"
            path.write_text(
                CONFIG.format(
                    servers=urls,
                    timeout=float(plan.timeout),
                    sink=sink,
                    attempts=plan.attempts,
                    patience=float(plan.patience),
                    replicas=len(self.servers),
                    pages=self.folder / f"{name}.pages",
                )
            )
            daemon = Daemon(
                name,
                [
                    sys.executable,
                    "-m",
                    plan.receiver,
                    str(self.folder / "given-up"),
                    str(plan.unproven),
                    "--config",
                    str(path),
                ],
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

    def start_sender(self, source: str, *outside: str) -> Daemon:
        """Start a sender daemon, which seals what is in a stream of another server.

        Args:
            source: The address of that server.
            outside: The addresses to publish to, if not those of our servers.
        """
        bob = (self.folder / "bob.public").read_text()
        (self.folder / "readers.toml").write_text(f'[peers.bob]\nxkey = "{bob}"\n')
        path = self.folder / "sender.toml"
        urls = json.dumps(outside or [server.url for server in self.servers])
        text = SENDER.format(
            servers=urls, source=json.dumps([source]), timeout=float(self.plan.timeout)
        )
        path.write_text(text)
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

    @property
    def enough(self) -> bool:
        """Whether as many faults have happened as the plan wants."""
        return self.ledger.faults.total() >= self.plan.faults

    @property
    def patient(self) -> API:
        """The API for what is asked while nothing happens to the servers."""
        return API(self.link, timeout=DEADLINE)

    async def progress(self) -> None:
        """Wait until messages have moved: a fault before that would meet only what is starting."""
        before = self._moved()
        while self._moved() == before:  # noqa: ASYNC110 - files
            await asyncio.sleep(0.02)

    def _moved(self) -> tuple[int, ...]:
        outputs = [path for daemon in self.receivers for path in daemon.outputs if path.exists()]
        return (
            self.journal.size(),
            self.elsewhere(),
            self.out.stat().st_mtime_ns,
            sum(path.stat().st_size for path in outputs),
        )

    async def _insist(self, what: str, body: dict[str, Any]) -> None:
        """Ask until servers that have only just started can do it."""
        if len(self.servers) == 1:
            await self.patient.request(what, body)
            return
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    await self.api.request(what, body)
                except DeliveryError:
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
            # At the end, in a cluster: a server that has come back may lead the durable and not
            # have the last messages of the stream. It then counts too few.
            known = most or len(self.servers) == 1 or await self.leader() is not None
            pending = await self.pending() if known else None
            if pending is not None and pending <= most:
                return
            await asyncio.sleep(0.1)

    async def settle(self) -> None:
        """Stop the daemons, and fill in the books."""
        ledger = self.ledger
        counted = sum([await self._stop(daemon) for daemon in self.receivers])
        for daemon in self.receivers:
            ledger.watch(daemon.crashes, daemon.failed_starts)
        sent = self.journal.sent()
        names = {number: message_id(envelope).hex() for number, envelope in sent.items()}
        ledger.sent = {name: number for number, name in names.items()}
        ledger.acked = {names[number] for number in self.journal.acked()}
        ledger.replayed = self.hostile.replayed
        honest = {envelope: names[number] for number, envelope in sent.items()}
        given_up = self._given_up()
        audit = Audit(
            honest | self.hostile.copies,
            self.hostile.shots,
            self.hostile.places(),
            frozenset(given_up),
        )
        if counted > len(given_up):  # by receivers that were killed there may be more
            ledger.problems.append(f"{counted} were counted as given up, and not by name")
        audit.read_quarantine(ledger, [each async for each in self._records()])
        if not ledger.hostile.total():
            ledger.problems.append("no stranger was there")
        stored = [
            (each.sequence, each.data) async for each in messages(self.patient, STREAM, "orders.>")
        ]
        audit.read_stream(
            ledger, stored, lambda data: data in honest if honest else self._in_files(data)
        )
        ledger.waiting = await self._pending_in_the_end()

    async def _stop(self, daemon: Daemon) -> int:
        """Stop a receiver; return how many it has counted as given up since it was started."""
        counts: dict[str, float] = {}
        with contextlib.suppress(OSError, HTTPException):
            counts = await asyncio.to_thread(read_metrics, self.folder / f"{daemon.name}.pages")
        if code := await daemon.stop():
            self.ledger.problems.append(f"{daemon.name} ended with {code} at the end")
        return int(counts.get('xkeymsg_quarantined_total{kind="lost",route="orders"}', 0))

    def _given_up(self) -> list[int]:
        path = self.folder / "given-up"
        return [*map(int, path.read_text().split())] if path.exists() else []

    async def _pending_in_the_end(self) -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE):
                while (pending := await self.pending()) is None:  # noqa: ASYNC110 - it is asked for
                    await asyncio.sleep(0.1)
            return pending
        self.ledger.problems.append("nobody says what waits in the stream")
        return 0

    def _in_files(self, sealed: bytes) -> bool:
        """Tell whether a message is in the files, where nobody knows what was sealed."""
        try:
            return (self.out / f"{message_id(sealed).hex()}.json").exists()
        except EnvelopeError:
            return False

    async def _records(self) -> AsyncIterator[tuple[str, QuarantineRecord]]:
        for stream in ("XKM_UNPROVEN", "XKM_PROVEN"):
            async for stored in messages(self.patient, stream, f"{stream}.>"):
                yield stream.removeprefix("XKM_").lower(), parse_record(stored).record


_ASKED_AGAIN: Final = 5.0
"""Seconds after which servers are asked again: one that dies, or has just started, is silent."""

_UNAVAILABLE: Final = 10008
"""JetStream's error while servers elect a leader, as after a kill."""


async def messages(api: API, stream: str, subject: str) -> AsyncIterator[Stored]:
    """Yield all that a stream keeps."""
    sequence, end = 1, time.monotonic() + DEADLINE
    while True:
        try:
            stored = await api.next_message(stream, sequence, subject)
        except DeliveryError as error:
            if error.err_code != _UNAVAILABLE or time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)
            continue
        if stored is None:
            return
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
    ledger.planned, ledger.sender = plan.messages, str(alice.public)
    urls = tuple(server.url for server in servers)
    options = ConnectOptions(servers=urls, timeout=DEADLINE)
    async with open_link(options) as link:
        hostile = Hostile(random, link, servers[0].url, journal, bob.public, alice)
        api = API(link, timeout=_ASKED_AGAIN)
        made = Arena(plan, ledger, random, servers, folder, link, api, hostile, journal)
        try:
            yield made
        finally:
            for daemon in [*made.receivers, *([made.feeder] if made.feeder else [])]:
                await daemon.end()
