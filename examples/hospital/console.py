"""The hospital with the console on it: traffic without end, some of it refused.

    python -m examples.hospital.console [ADDRESS]

Starts a nats-server in operator mode with a websocket, the four receiver daemons, and the console,
whose user may only read; prints the console's address. Publishes sealed documents, and now and then
what no receiver accepts: plaintext, or a stranger's message. Ctrl-C ends everything, and removes
everything that it created.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from typing import Any

from examples.hospital.authority import Authority, Machine
from examples.hospital.demo import (
    SIGNALS,
    STREAM,
    interrupted,
    interruptible,
    opened,
)
from examples.hospital.receivers import Receiver
from examples.hospital.roles import HERE, document_of, resources
from examples.hospital.rotation import ROTATING
from xkeymsg import Policy, Recipient, Sealer, XKeyPair
from xkeymsg.cli.console.config import load
from xkeymsg.cli.console.permissions import permissions_of
from xkeymsg.client.client import Client
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link

USER = "console"
LISTEN = "127.0.0.1:8480"
PAUSE = 0.25
"""Seconds between two documents."""
REFUSED = 20
"""Documents between two messages that are refused; then a Patient follows, for who watches."""
PATIENCE = 120.0
TIMES = 'interval = "60s"\nlead = "10s"\nretain = "600s"'
"""The rotating receiver's settings."""

CONFIG = """\
listen = "{listen}"
websocket = "{websocket}"
streams = ["{stream}"]
retain = "600s"
[[subject]]
subject = "ehr.>"
policy = "{policy}"
compare = "{compare}"
[trust]
folder = "{claims}"
anchor = "{anchor}"
directory = true
[nats]
servers = ["{url}"]
"""
WEBSOCKET = '\nwebsocket { listen: "127.0.0.1:-1", no_tls: true }\n'


class Console:
    """The console as a process.

    Args:
        authority: Gives it a user that may only read.
        server: The server.
        folder: The folder for its configuration.
        listen: Where it listens.
    """

    def __init__(self, authority: Authority, server: NATSServer, folder: Path, listen: str) -> None:
        self._path = folder / "console.toml"
        wider = (HERE / "policy.toml").read_text().replace(
            '"/Observation/status"', '["/Observation/status", "/Observation/effectiveDateTime"]'
        )  # fmt: skip
        (folder / "policy-next.toml").write_text(wider)
        machine = self._machine(authority, server, folder, listen)
        self._text += f'creds = "{machine.creds}"\n'
        self._path.write_text(self._text)
        self.address = ""
        """The URL, once it runs."""

    def _machine(
        self, authority: Authority, server: NATSServer, folder: Path, listen: str
    ) -> Machine:
        self._text = CONFIG.format(
            listen=listen, websocket=websocket_of(server), stream=STREAM, url=server.url,
            policy=HERE / "policy.toml", compare=folder / "policy-next.toml",
            claims=folder / USER / "HOSPITAL", anchor=authority.anchor,
        )  # fmt: skip
        self._path.write_text(self._text)
        [needed] = permissions_of(load(self._path, {}))
        rights = [word for each in needed.publish for word in ("--allow-pub", each)]
        rights += [word for each in needed.subscribe for word in ("--allow-sub", each)]
        authority.add_user(USER, *rights)
        return authority.machine(USER)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it during a block, then terminate it."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "xkeymsg.cli", "console", "--config", str(self._path),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            said = []
            async with asyncio.timeout(PATIENCE):
                async for line in process.stderr:
                    said.append(line.decode())
                    if found := re.search(r" ready listen=(\S+)", said[-1]):
                        self.address = found[1]
                        break
                else:
                    raise SystemExit("the console did not start:\n" + "".join(said))
            reading = asyncio.create_task(_pass_on(process.stderr))
            yield
            reading.cancel()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()


async def _pass_on(stream: asyncio.StreamReader) -> None:
    async for line in stream:
        sys.stderr.write(line.decode())


def websocket_of(server: NATSServer) -> str:
    """Return the address of a server's websocket, from the file that it writes."""
    [path] = server.directory.glob("nats-server_*.ports")
    [address] = json.loads(path.read_text())["websocket"]
    return str(address)


class Traffic:
    """Documents for the receivers, and what they refuse.

    Args:
        client: Seals for all roles.
        link: Publishes the rest.
        victim: A recipient of the stranger's messages.
        receivers: The receivers; what they print is forgotten.
    """

    def __init__(
        self, client: Client, link: Link, victim: Recipient, receivers: list[Receiver]
    ) -> None:
        self._client, self._link, self._receivers = client, link, receivers
        self._victim, self._stranger = victim, Sealer(XKeyPair.generate())
        self._policy, self._resources = Policy.load(HERE / "policy.toml"), resources()
        self._patients = [each for each in self._resources if each["resourceType"] == "Patient"]

    async def run(self) -> None:
        """Publish until cancelled."""
        for number, resource in enumerate(cycle(self._resources)):
            await self.publish(resource)
            if not number % REFUSED:
                await self.publish(self._patients[number // REFUSED % len(self._patients)])
                await self.refused(number // REFUSED, resource)
                for each in self._receivers:
                    each.seen.clear()
            await asyncio.sleep(PAUSE)

    async def publish(self, resource: dict[str, Any]) -> None:
        """Publish a document sealed for all roles that may read some of it."""
        subject = f"ehr.{resource['resourceType']}"
        await self._client.js.publish_document(subject, document_of(resource), policy=self._policy)

    async def refused(self, number: int, resource: dict[str, Any]) -> None:
        """Publish what no receiver accepts: plaintext, and a stranger's message, in turn."""
        subject = f"ehr.{resource['resourceType']}"
        if number % 2:
            await self._link.publish(subject, json.dumps(document_of(resource)).encode())
        else:
            sealed = self._stranger.seal(b"let me in", to=[self._victim], subject=subject)
            await self._link.publish(subject, sealed)


async def run(listen: str) -> None:
    """Run everything until cancelled; the console listens on the address `listen`."""
    kinds = [resource["resourceType"] for resource in resources()]
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = Path(name)
        authority = Authority(folder)
        config = authority.config + WEBSOCKET
        server = running.enter_context(NATSServer(config, jetstream=True))
        async with opened(authority, server, kinds, TIMES) as hospital:
            console = await asyncio.to_thread(Console, authority, server, folder, listen)
            async with console.running():
                show(console, hospital.receivers, str(hospital.key.public))
                [victim] = hospital.trust.resolve("clinic")
                await Traffic(hospital.client, hospital.api.link, victim, hospital.receivers).run()


def show(console: Console, receivers: list[Receiver], sender: str) -> None:
    """Print the address, and what opens messages in the browser."""
    print(
        f"The console: {console.address}\n\nOn its page Open here, enter the sender {sender},"
        '\nand follow the subject "ehr.>" with the seed and credentials of a role:\n'
    )
    for each in receivers:
        for seed in each.seed_files():
            print(f"  {each.role:9} {seed}\n{'':11} {each.creds}")
    print(
        f"\n{ROTATING} changes its key every minute: choose the newest *.seed in its folder.\n"
        "A Patient is published every few seconds; research may read none of it, but much of an"
        " Observation.\n\nCtrl-C ends everything.",
        flush=True,
    )


def main(arguments: list[str]) -> int:
    """Run until Ctrl-C; return 0. The argument is the address to listen on."""
    try:
        asyncio.run(interruptible(run(arguments[0] if arguments else LISTEN)))
    except SystemExit as ended:
        if isinstance(ended.code, str):  # what did not start
            raise
    return 0


if __name__ == "__main__":
    for number in SIGNALS:
        signal.signal(number, interrupted)
    sys.exit(main(sys.argv[1:]))
