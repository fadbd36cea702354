"""The hospital's receivers: one daemon for each role, each with its own key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from examples.hospital.authority import Authority
from examples.hospital.roles import fields
from xkeymsg import XKeyPair, write_seed

PATIENCE = 120.0
"""Seconds that a receiver may take to start, and to stop."""
LONGEST = 1 << 20

CONFIG = """\
name = "{role}"
[key]
seed_file = "{role}.seed"
[trust]
{trust}
[nats]
servers = ["{url}"]
{login}
[[route]]
name = "{role}"
stream = "{stream}"
durable = "{role}"
subjects = ["ehr.>"]
documents = true
sink = "out"
[sinks.out]
kind = "stdout"
[quarantine]
create = true
"""


class Receiver:
    """One role's daemon, and the records that it has printed."""

    def __init__(self, role: str, folder: Path, expected: int) -> None:
        self.role = role
        self.expected = expected
        self.key = XKeyPair.generate()
        self.seen: dict[str, dict[str, Any]] = {}
        """Records as the daemon printed them, by message id."""
        self.repeated = 0
        self.fields = 0
        self._folder = folder
        write_seed(folder / f"{role}.seed", self.key)

    @property
    def is_done(self) -> bool:
        """Whether every expected message has arrived."""
        return len(self.seen) >= self.expected

    @contextlib.asynccontextmanager
    async def running(
        self, url: str, stream: str, authority: Authority | None
    ) -> AsyncIterator[None]:
        """Run the daemon during a block, then terminate it; it must exit with 0."""
        trust, login = 'peers = "peers.toml"', ""
        if authority is not None:
            trust = f'folder = "{authority.path}"\nanchor = "{authority.anchor}"'
            login = f'creds = "{authority.creds(self.role)}"'
        path = self._folder / f"{self.role}.toml"
        path.write_text(
            CONFIG.format(role=self.role, url=url, stream=stream, trust=trust, login=login)
        )
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
                       asyncio.create_task(_drop(process.stderr))]  # fmt: skip
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


async def _until_ready(stream: asyncio.StreamReader) -> str:
    """Return an empty text once the daemon is ready, or else all its output."""
    said = []
    async for line in stream:
        if b" ready " in line:
            return ""
        said.append(line.decode())
    return "".join(said) or "no output"


async def _drop(stream: asyncio.StreamReader) -> None:
    async for _ in stream:
        pass
