"""A process that is killed and comes back, as often as a scenario wants."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.forked import Fork
from tests.running import DEADLINE

_NOBODY: Final = re.compile(r" error failed code=(connection|delivery) ")


class Daemon:
    """A process that is started again whenever it ends, as a service manager would."""

    def __init__(self, name: str, command: list[str], stdout: Callable[[], Path] | None) -> None:
        self.name = name
        self.starts = 0
        self.outputs: list[Path] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command
        self._stdout = stdout
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.codes: list[int] = []
        self.crashes: list[str] = []
        """How it ended where nobody killed it, and where it did not say that it is done."""
        self.failed_starts = 0
        """How often it began while its server was away, and said so."""
        self.kills = 0

    def start(self, errors: Path) -> None:
        """Start it, and keep it going."""
        self._task = asyncio.create_task(self._keep(errors))

    async def _keep(self, errors: Path) -> None:
        while not self._stopping:
            self.starts += 1
            begun = errors.stat().st_size if errors.exists() else 0
            with errors.open("ab") as log, self._open() as out:
                self.process = self._begin(out, log.fileno())
            while (code := self.process.poll()) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            self.codes.append(code)
            if code == 0:
                return
            self._note_end(code, errors.read_bytes()[begun:].decode(errors="replace"))
            await asyncio.sleep(0.1)

    def _begin(self, out: int, log: int) -> subprocess.Popen[bytes]:
        if self._command[:2] == [sys.executable, "-m"]:
            return Fork(self._command[2:], stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)

    def _note_end(self, code: int, log: str) -> None:
        if code == -signal.SIGKILL and self.codes.count(code) <= self.kills:
            return
        if code == -signal.SIGTERM and self._stopping and " info ready " not in log:
            self.codes[-1] = 0  # it had not begun
            return
        last = log.strip().rpartition("\n")[2]
        if code == 1 and " info ready " not in log and _NOBODY.search(last):
            self.failed_starts += 1
            return
        self.crashes.append(f"{self.name} ended with {code}, and nobody killed it: {last}")

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
        return self.process is not None and self.process.poll() is None

    def kill(self) -> bool:
        """End it as a power cut would; it starts again. False if it is not there."""
        if not self.alive or self.process is None:
            return False
        self.process.kill()
        self.kills += 1
        return True

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
            async with asyncio.timeout(2 * DEADLINE):
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
            self.process.wait()
