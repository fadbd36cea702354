"""Programs that a daemon runs, each in a process group of its own.

Ctrl-C does not reach them, nor does the end of the daemon: `kill_all` ends them before the daemon
exits in a hurry.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ("Program", "kill_all")

_running: Final[set[Program]] = set()  # of the process, for its signal handlers

_SOON: Final = 0.001
_OFTEN: Final = 0.05
"""Least and most seconds between two looks at whether a program has ended."""


class Program:
    """A running program that leads a process group.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, stdin: int, stderr: int
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the operator's command, without a shell
            command,
            env=environment,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        _running.add(self)

    @property
    def code(self) -> int | None:
        """The exit code; negative if a signal ended it; None while it runs."""
        code = self._process.poll()
        if code is not None:
            _running.discard(self)
        return code

    async def exited(self, timeout: float) -> int:
        """Wait for its exit, without a thread; what it has started may go on.

        Raises:
            TimeoutError: If it still runs after `timeout` seconds.
        """
        begun = time.monotonic()
        while (code := self.code) is None:
            spent = time.monotonic() - begun
            if spent >= timeout:
                raise TimeoutError
            await asyncio.sleep(min(max(_SOON, spent / 8), _OFTEN, timeout - spent))
        return code

    def kill(self) -> None:
        """Kill its process group, and what it has started in other groups or sessions.

        The latter is found as long as the processes between are alive, and where there is /proc.
        """
        if self.code is not None:  # then others may have its number
            return
        _send(os.killpg, self._process.pid, signal.SIGSTOP)  # so that nothing is started meanwhile
        for each in tuple(_descendants(self._process.pid)):
            _send(os.kill, each, signal.SIGKILL)
        _send(os.killpg, self._process.pid, signal.SIGKILL)


def kill_all() -> None:
    """Kill every running program; safe in a signal handler and in any thread."""
    for each in tuple(_running):
        each.kill()


def _send(send: Callable[[int, int], None], to: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        send(to, number)


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                yield child
                yield from _descendants(child)
