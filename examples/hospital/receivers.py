"""The hospital's receivers: one daemon for each role, which makes and rotates its own keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from examples.hospital.authority import Machine
from examples.hospital.roles import fields
from xkeymsg import Keyring, read_seed

__all__ = ("Receiver",)

PATIENCE = 120.0
"""Seconds that a receiver may take to start, and to stop."""
LONGEST = 1 << 20
REFUSED = re.compile(rb" refused .*\bcode=(\w+)")

CONFIG = """\
name = "{role}"
[key]
key_store = "file:{keys}"
rotation = "self"
{times}
[trust]
folder = "{claims}"
anchor = "{anchor}"
directory = true
[nats]
servers = ["{url}"]
creds = "{creds}"
timeout = 60
[[route]]
name = "{role}"
stream = "{stream}"
durable = "{role}"
subjects = ["ehr.>", "staff.>"]
documents = true
sink = "out"
[sinks.out]
kind = "stdout"
[quarantine]
create = true
"""


class Receiver:
    """One role's daemon, and the records that it has printed.

    Args:
        role: The role.
        machine: What the daemon is given: nothing of it is a key to open messages with.
        expected: How many messages it should receive.
        times: Settings of `[key]` about rotation.
    """

    def __init__(self, role: str, machine: Machine, expected: int, times: str = "") -> None:
        self.role = role
        self.expected = expected
        self.seen: dict[str, dict[str, Any]] = {}
        """Records as the daemon printed them, by message id."""
        self.repeated = 0
        self.fields = 0
        self.refusals: set[str] = set()
        """The codes of its refusals, from its log."""
        self.user = machine.user
        self.creds = machine.creds
        self._machine, self._times = machine, times
        self._keys = machine.folder / "keys"
        self._keys.mkdir(mode=0o700)
        self._stolen: dict[str, Keyring] = {}

    @property
    def is_done(self) -> bool:
        """Whether every expected message has arrived."""
        return len(self.seen) >= self.expected

    def keyrings(self) -> list[Keyring]:
        """Return all keys that were found in the daemon's store, each as a thief would use it."""
        for path in self._keys.glob("*.seed"):
            if path.stem not in self._stolen:
                self._stolen[path.stem] = Keyring(read_seed(path), user=self.user)
        return list(self._stolen.values())

    def seed_files(self) -> list[Path]:
        """Return the files of the secret keys in the daemon's store."""
        return sorted(self._keys.glob("*.seed"))

    def seeds(self) -> list[str]:
        """Return the secret keys in the daemon's store."""
        return [path.read_text().strip() for path in self.seed_files()]

    @contextlib.asynccontextmanager
    async def running(self, url: str, stream: str) -> AsyncIterator[None]:
        """Run the daemon during a block, then terminate it; it must exit with 0."""
        machine = self._machine
        path = machine.folder / "receiver.toml"
        path.write_text(
            CONFIG.format(
                role=self.role, keys=self._keys, times=self._times, claims=machine.claims,
                anchor=machine.anchor, creds=machine.creds, url=url, stream=stream,
            )
        )  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", "--config", str(path),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=LONGEST,
        )  # fmt: skip
        reading: list[asyncio.Task[None]] = []
        try:
            assert process.stderr is not None
            async with asyncio.timeout(PATIENCE):
                said = await _until_ready(process.stderr)
            if said:
                raise SystemExit(f"the receiver of {self.role} did not start:\n{said}")
            reading = [asyncio.create_task(self._read(process.stdout)),
                       asyncio.create_task(self._follow(process.stderr))]  # fmt: skip
            yield
            process.terminate()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*reading)
                if code := await process.wait():
                    raise SystemExit(f"the receiver of {self.role} exited with {code}")
        finally:
            for task in reading:
                task.cancel()
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        async for line in stream:
            record = json.loads(line)
            self.repeated += record["id"] in self.seen
            self.seen[record["id"]] = record
            self.fields += sum(1 for _ in fields(record["document"]))

    async def _follow(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            if found := REFUSED.search(line):
                self.refusals.add(found[1].decode())


async def _until_ready(stream: asyncio.StreamReader) -> str:
    """Return an empty text once the daemon is ready, or else all its output."""
    said = []
    async for line in stream:
        if b" ready " in line:
            return ""
        said.append(line.decode())
    return "".join(said) or "no output"
