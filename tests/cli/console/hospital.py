"""A receiver and the console as processes, and messages of all kinds for them."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from tests.daemons.receiver.conftest import make_stream
from tests.running import DEADLINE, Program
from tests.trust.store import Person, Store
from xkeymsg import Recipient, Sealer, XKeyPair
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

__all__ = ("CONSOLE", "HOSTILE", "POLICY", "Hospital", "Stage", "fetch", "rows_of", "text_of")

HOSTILE = "ehr.<img/src=x/onerror=alert(1)//"
POLICY = """
[[rule]]
pattern = "/name"
readers = ["clinic"]
[[rule]]
pattern = "/**"
readers = ["clinic", "research"]
"""
RECEIVER = """
[[route]]
name = "records"
stream = "EHR"
durable = "clinic"
create_durable = true
subjects = ["ehr.>"]
patience = 0.1
backoff = 0.05
sink = "out"
[sinks.out]
kind = "stdout"
[quarantine]
create = true
"""
CONSOLE = """
listen = "127.0.0.1:0"
websocket = "ws://127.0.0.1:9222"
streams = ["EHR"]
retain = "1d"
[[subject]]
subject = "ehr.>"
policy = "policy.toml"
compare = "other.toml"
"""


class Hospital:
    """A ward that has changed its key, a clinic that receives, and a research team.

    Args:
        server: A server with JetStream.
        folder: The folder for everything.
    """

    def __init__(self, server: NATSServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.store = Store(folder / "HOSPITAL")
        self.ward, self.clinic = self.store.add("ward"), self.store.add("clinic", "clinic")
        self.store.add("research", "research")
        self.old = XKeyPair.generate()
        before, now = (
            self.store.certificate(self.ward, pair, age=age)
            for pair, age in ((self.old, 7200), (None, 3600))
        )
        self.store.write_xkeys(self.ward, before, now)
        (folder / "policy.toml").write_text(POLICY)
        (folder / "other.toml").write_text(POLICY.replace('["clinic"]', '["clinic", "research"]'))
        write_seed(folder / "clinic.seed", self.clinic.pair)

    def write(self, name: str, text: str, key: str = "") -> Path:
        """Write a configuration."""
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'name = "{name}"\n{text if "listen" in text else ""}{key}'
            f'[trust]\nfolder = "HOSPITAL"\nanchor = "{self.store.operator.public}"\n'
            f'[nats]\nservers = ["{self.server.url}"]\n{text if "listen" not in text else ""}'
        )
        path.chmod(0o600)
        return path

    def receiver(self, name: str = "ward-7") -> Program:
        """Start a receiver, and return when it is ready."""
        key = f'[key]\nseed_file = "clinic.seed"\nuser = "{self.clinic.user}"\n'
        program = Program("receiver", "--config", self.write(name, RECEIVER, key))
        program.wait_for(" ready ", "err")
        return program

    @contextmanager
    def console(self, text: str = CONSOLE) -> Iterator[str]:
        """Run the console during a block; yield its address."""
        with Program("xkeymsg.cli", "console", "--config", self.write("console", text)) as program:
            line = program.wait_for(" ready ", "err")
            yield line.partition("listen=")[2].split()[0]

    def seal(self, person: Person, pair: XKeyPair, subject: str) -> bytes:
        """Seal a message for the clinic."""
        reader = Recipient(self.clinic.pair.public, self.clinic.user)
        return Sealer(pair, identity=person.user).seal(b"Ann", to=[reader], subject=subject)

    async def publish(self, messages: Mapping[str, list[bytes]]) -> None:
        """Publish messages by subject, and wait until the stream has them."""
        async with open_link(ConnectOptions(servers=(self.server.url,))) as link:
            for subject, several in messages.items():
                for each in several:
                    await link.request(subject, each, timeout=DEADLINE)

    async def make_stream(self) -> None:
        """Make the stream."""
        async with open_link(ConnectOptions(servers=(self.server.url,))) as link:
            await make_stream(link, "EHR", "ehr.>")


class Stage(NamedTuple):
    """The hospital with everything running."""

    hospital: Hospital
    address: str
    stranger: XKeyPair

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        """Run everything during a block: five messages, of which the clinic opens two."""
        with NATSServer(jetstream=True) as server:
            hospital = Hospital(server, folder)
            asyncio.run(hospital.make_stream())
            with hospital.receiver(), hospital.console() as address:
                stranger = XKeyPair.generate()
                good, old = (
                    hospital.seal(hospital.ward, pair, "ehr.Patient")
                    for pair in (hospital.ward.pair, hospital.old)
                )
                to = [hospital.clinic.pair.public]
                foreign = Sealer(stranger).seal(b"secret words", to=to, subject=HOSTILE)
                plain = json.dumps({"name": "<img src=x onerror=alert(1)>"}).encode()
                messages = {"ehr.Patient": [good, old, good, plain], HOSTILE: [foreign]}
                asyncio.run(hospital.publish(messages))
                yield cls(hospital, address, stranger)


def fetch(
    address: str, path: str = "", data: bytes | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    """Return status, body and headers of a page."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{address}{path}", data, named)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            body, given = answer.read(), answer.headers
            return answer.status, body.decode(), {k.lower(): v for k, v in given.items()}
    except urllib.error.HTTPError as error:
        with error:
            return (
                error.code,
                error.read().decode(),
                {k.lower(): v for k, v in error.headers.items()},
            )


def rows_of(page: str) -> list[str]:
    """Return the rows and list items of a page as texts, with a bar between cells."""
    page = re.sub(r"</t[dh]>", " | ", page)
    found = re.findall(r"<(tr|li|p)\b[^>]*>(.*?)</\1>", page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", each)).split()) for _, each in found]


def text_of(address: str, path: str, holds: Callable[[list[str]], object]) -> list[str]:
    """Return the rows of a page, once a condition holds for them."""
    end = time.monotonic() + DEADLINE
    while True:
        status, page, _ = fetch(address, path)
        assert status == 200, page
        rows = rows_of(page)
        if holds(rows):
            return rows
        assert time.monotonic() < end, "\n".join(rows)
        time.sleep(0.1)
