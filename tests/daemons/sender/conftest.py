"""A sender as a process, a server that it trusts, one that it does not, and a witness."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.receiver.conftest import make_stream, metric, page, ready, store
from tests.running import DEADLINE, Program, run
from xkeymsg import AtRest
from xkeymsg.client.jetstream.api import API, Stored
from xkeymsg.keys import XKeyPair
from xkeymsg.opener import Opener
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.raw import Raw
from xkeymsg.trust.stores.file import write_seed

__all__ = ("Stage", "Witness", "make_stream", "metric", "page", "ready", "store")

ALICE, BOB, CAROL, DAVE = (XKeyPair.generate() for _ in range(4))
"""Alice sends; Bob is of the clinic, Carol of billing; Dave is nobody, at first."""

SECRET = b"Jane Doe has the plague"
"""What must never be seen outside."""

POLICY = """
[[rule]]
pattern = "/name"
readers = ["clinic", "billing"]
[[rule]]
pattern = "/bill/**"
readers = ["billing"]
[[rule]]
pattern = "/notes"
readers = ["clinic"]
"""


class Witness:
    """Everything that a server outside passes on, as a stranger sees it."""

    def __init__(self) -> None:
        self.raws: list[Raw] = []

    async def watch(self, link: Link) -> None:
        async for raw in await link.subscribe(">"):
            if not raw.subject.startswith((b"_INBOX.", b"$", b"_R_.")):
                self.raws.append(raw)

    def on(self, subject: str) -> list[bytes]:
        return [raw.data for raw in self.raws if raw.subject == subject.encode()]

    def saw(self, data: bytes) -> bool:
        return any(data in part for raw in self.raws for part in raw)


@dataclass
class Stage:
    """Two servers, and a folder with what a sender needs."""

    outside: NATSServer
    inside: NATSServer
    folder: Path

    def __post_init__(self) -> None:
        write_seed(self.folder / "alice.seed", ALICE)
        self.write_peers()
        (self.folder / "policy.toml").write_text(POLICY)

    def write_peers(self, more: str = "", *, bob: str = '"clinic"', always: str = "") -> None:
        text = (
            f'{always}\n[peers.bob]\nxkey = "{BOB.public}"\npermissions = [{bob}]\n'
            f'[peers.carol]\nxkey = "{CAROL.public}"\npermissions = ["billing"]\n{more}'
        )
        self.replace("peers.toml", text)

    def replace(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.replace(self.folder / name)

    def write(self, text: str, *, source: bool = False, inside: str = "") -> Path:
        """Write a file of configuration: what every one needs, and `text`."""
        path = self.folder / "sender.toml"
        path.write_text(
            f'[key]\nseed_file = "alice.seed"\n[trust]\npeers = "peers.toml"\n'
            f'[nats]\nservers = ["{self.outside.url}"]\n'
            + (f'[source]\nservers = ["{inside or self.inside.url}"]\n' if source else "")
            + text
        )
        path.chmod(0o600)
        return path

    def start(self, text: str, *, stdin: int = -3, inside: str = "", **environ: str) -> Program:
        """Start a sender with such a file; -3 is subprocess.DEVNULL."""
        source = any(f"\n{key} =" in text for key in ("subject", "stream"))
        path = self.write(text, source=source, inside=inside)
        return Program("sender", "--config", str(path), env=os.environ | environ, stdin=stdin)

    def start_file(self, path: Path) -> Program:
        """Start a sender with a file that has been changed."""
        return Program("sender", "--config", str(path))

    def reload(self, alice: Program) -> None:
        """Have a sender read the peers again, at once."""
        alice.process.send_signal(signal.SIGHUP)
        alice.wait_for("reloaded what=peers changed=true", "err")

    def send(self, text: str, data: bytes = b"") -> tuple[int, str]:
        """Run a sender to its end."""
        done = run("sender", "--config", str(self.write(text)), data=data)
        return done.returncode, done.stderr.decode()

    @contextlib.asynccontextmanager
    async def link(self, server: NATSServer | None = None) -> AsyncIterator[Link]:
        options = ConnectOptions(servers=((server or self.outside).url,), timeout=DEADLINE)
        async with open_link(options) as link:
            yield link

    @contextlib.asynccontextmanager
    async def witness(self) -> AsyncIterator[Witness]:
        """Watch what passes outside."""
        witness = Witness()
        async with self.link() as link:
            task = asyncio.create_task(witness.watch(link))
            await asyncio.sleep(0)
            await link.confirm()
            try:
                yield witness
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def publish(self, subject: str, *data: bytes, headers: bytes = b"") -> None:
        """Publish inside, in the clear."""
        async with self.link(self.inside) as link:
            for each in data:
                await link.publish(subject, each, headers=headers)
            await link.confirm()

    def is_on_disk(self, data: bytes) -> bool:
        """Tell whether the server outside has written something down, in whatever file."""
        files = [path for path in self.outside.directory.rglob("*") if path.is_file()]
        assert files
        return any(data in path.read_bytes() for path in files)


def opened(envelopes: list[bytes], reader: XKeyPair = BOB, subject: str = ">") -> list[bytes]:
    """Open what was seen outside, however long ago; what is there twice is an error."""
    opener = Opener(reader, {ALICE.public}, replay=AtRest())
    messages = [opener.open(each, subject=subject) for each in envelopes]
    assert len({each.message_id for each in messages}) == len(messages)
    return [each.data for each in messages]


def viewed(envelopes: list[bytes], reader: XKeyPair, subject: str = ">") -> list[Any]:
    opener = Opener(reader, {ALICE.public}, replay=AtRest())
    return [opener.open_document(each, subject=subject).document for each in envelopes]


async def stored(link: Link, stream: str) -> list[Stored]:
    """Everything that a stream keeps."""
    api = API(link)
    state = (await api.request(f"STREAM.INFO.{stream}"))["state"]
    numbers = range(state["first_seq"], state["last_seq"] + 1) if state["messages"] else ()
    return [await api.message(stream, number) for number in numbers]


@pytest.fixture
def inside() -> Iterator[NATSServer]:
    with NATSServer(jetstream=True) as running:
        yield running


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Stage]:
    """A stage for who only reads: no server runs."""
    servers = NATSServer(port=4222), NATSServer(port=4223)
    yield Stage(*servers, tmp_path)
    for server in servers:
        server.stop()


@pytest.fixture
def stage(jetstream_server: NATSServer, inside: NATSServer, tmp_path: Path) -> Stage:
    return Stage(jetstream_server, inside, tmp_path)
