"""A receiver as a process of its own, with a file of configuration, and those who send to it."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.running import DEADLINE, Program, run
from xkeymsg.client.jetstream.api import API
from xkeymsg.keys import XKeyPair
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

ALICE, BOB, EVE = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
ROUTE = '[[route]]\nname = "orders"\nsubject = "orders.>"\nsink = "out"\n'
STDOUT = '[sinks.out]\nkind = "stdout"\n'
OBSERVE = '[observe]\nlisten = "127.0.0.1:0"\n'


@dataclass
class Stage:
    """A server, a folder with what a receiver needs, and a connection of everybody's."""

    server: NATSServer
    folder: Path
    sealer: Sealer = field(default_factory=lambda: Sealer(ALICE))

    def write(self, text: str, *, peers: str = "orders.>") -> Path:
        """Write a file of configuration: what every one needs, and `text`."""
        self.write_peers(peers)
        if not (self.folder / "bob.seed").exists():
            write_seed(self.folder / "bob.seed", BOB)
        path = self.folder / "receiver.toml"
        path.write_text(
            f'[key]\nseed_file = "bob.seed"\n[trust]\npeers = "peers.toml"\n'
            f'[nats]\nservers = ["{self.server.url}"]\n{text}'
        )
        path.chmod(0o600)
        return path

    def write_peers(self, *subjects: str) -> None:
        listed = json.dumps(list(subjects))
        new = self.folder / "peers.new"
        new.write_text(f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = {listed}\n')
        new.replace(self.folder / "peers.toml")

    def start(self, text: str, **environ: str) -> Program:
        """Start a receiver with such a file."""
        path = self.write(text)
        return Program("receiver", "--config", str(path), env=os.environ | environ)

    def check(self, text: str) -> tuple[int, str]:
        """Have a receiver look at such a file."""
        done = run("receiver", "--config", str(self.write(text)), "--check")
        return done.returncode, done.stderr.decode()

    def seal(self, data: bytes, subject: str = "orders.new", **more: Any) -> bytes:
        return self.sealer.seal(data, to=[BOB.public], subject=subject, **more)

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        async with open_link(ConnectOptions(servers=(self.server.url,), timeout=DEADLINE)) as link:
            yield link

    async def send(self, *data: bytes, subject: str = "orders.new") -> None:
        """Publish sealed messages, and wait until the server has them."""
        async with self.link() as link:
            for each in data:
                await link.publish(subject, self.seal(each, subject))
            await link.confirm()


async def store(link: Link, data: bytes, subject: str = "orders.new", **headers: str) -> None:
    """Have a stream take something."""
    raw = await link.request(subject, data, headers=encode_block(headers), timeout=DEADLINE)
    assert b'"seq"' in raw.data, raw.data


async def make_stream(link: Link, name: str = "ORDERS", *subjects: str) -> API:
    api = API(link, timeout=DEADLINE)
    await api.request(
        f"STREAM.CREATE.{name}", {"name": name, "subjects": list(subjects) or ["orders.>"]}
    )
    return api


def ready(receiver: Program) -> str:
    """Wait until a receiver is ready; return where its pages are."""
    line = receiver.wait_for(" ready ", "err")
    return line.partition("health=")[2].split()[0]


def page(where: str, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{where}{path}", timeout=DEADLINE) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"


def metric(where: str, name: str) -> float:
    """Return a number from /metrics."""
    for line in page(where, "/metrics").splitlines():
        if line.startswith(name + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(f"no metric {name}")


@pytest.fixture
def stage(server: NATSServer, tmp_path: Path) -> Stage:
    return Stage(server, tmp_path)


@pytest.fixture
def stream_stage(jetstream_server: NATSServer, tmp_path: Path) -> Stage:
    return Stage(jetstream_server, tmp_path)
