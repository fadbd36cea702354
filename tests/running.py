"""Waiting in tests, and programs as real processes; one deadline bounds every wait."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Literal, NoReturn, Self

import pytest

from tests import forked
from xkeymsg.cli.command import command
from xkeymsg.daemons.common import terminal

__all__ = (
    "DEADLINE",
    "LONG",
    "ROOT",
    "Process",
    "Program",
    "end_on_signals",
    "run",
    "run_here",
    "until",
    "unused_port",
)

ROOT: Final = Path(__file__).parent.parent
DEADLINE: Final = 120.0
"""Seconds that a test waits for an event that takes milliseconds on an idle machine.

Reaching the deadline fails the test, so it is long enough for a very busy machine. It does not
measure speed; the benchmarks do.
"""
LONG: Final = 4 * DEADLINE
"""The deadline of a series of programs, which takes seconds on an idle machine."""

Stream = Literal["out", "err"]


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Poll until a condition holds; it may return an awaitable.

    What takes longer is asked less often: many a condition costs more than a pause.
    """
    pause = 0.01
    async with asyncio.timeout(DEADLINE):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(pause)
            pause = min(1.2 * pause, 0.05)


def unused_port() -> int:
    """Return a port on which nothing listens, for a server that cannot choose one itself.

    It is below the range from which the system chooses, so nobody else gets it by chance.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def run(
    *arguments: str, data: bytes = b"", env: Mapping[str, str] | None = None, fresh: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m …` to its end; with `fresh`, in a newly started interpreter."""
    if not fresh:
        return forked.run([*arguments], data, DEADLINE, env)
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, check=False, input=data, capture_output=True, timeout=DEADLINE, env=env
    )


def run_here(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a verb of `xkeymsg` to its end in this process, in a fifth of the time of a fork."""
    streams = [io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2)]
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        code = terminal.run(command, "xkeymsg", arguments)
    output, errors = (each.detach().getvalue() for each in streams)
    return subprocess.CompletedProcess(arguments, code, output, errors)


class _Lines:
    """The lines of one pipe, read by a separate thread: a full pipe would stop the process."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self.all: list[str] = []
        self._pipe = pipe
        self._taken = 0
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe or ():
            with self._changed:
                self.all.append(line.decode(errors="backslashreplace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def take(self, deadline: float) -> str | None:
        """Return the next line, or None if no line arrives in time."""
        with self._changed:
            while self._taken == len(self.all):
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)
            self._taken += 1
            return self.all[self._taken - 1]

    def close(self) -> None:
        """Read the remaining lines of an ended process."""
        self._thread.join(DEADLINE)
        if self._pipe is not None:
            self._pipe.close()


class Process:
    """A process that ends with its `with` block at the latest."""

    def __init__(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.process = self._start(stdin, stdout, env, cwd)
        self._lines = {"out": _Lines(self.process.stdout), "err": _Lines(self.process.stderr)}

    def _start(
        self, stdin: int, stdout: int, env: Mapping[str, str] | None, cwd: Path | None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=env, cwd=cwd
        )

    def __enter__(self) -> Self:
        try:
            self._greet()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def _greet(self) -> None:
        """Wait for the first output of the program, if it has one."""

    def end(self) -> None:
        """End the process if it is still running."""
        try:
            self.process.kill()  # no effect on an ended process
            self.process.wait(DEADLINE)
        finally:
            for lines in self._lines.values():
                lines.close()
            if self.process.stdin is not None:
                self.process.stdin.close()

    def wait_for(self, text: str, stream: Stream = "out") -> str:
        """Return the next line of `stream` that contains `text`."""
        deadline = time.monotonic() + DEADLINE
        while (line := self._lines[stream].take(deadline)) is not None:
            if text in line:
                return line
        return self.fail(f"no line with {text!r} on std{stream}")

    def next_line(self) -> str:
        """Return the next line of stdout."""
        return self.wait_for("")

    def has_no_more(self) -> None:
        """Fail if stdout has another line."""
        if (line := self._lines["out"].take(0)) is not None:
            self.fail(f"unexpected line: {line!r}")

    def wait(self, deadline: float = DEADLINE) -> int:
        """Wait for the process to end, and return its exit code."""
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.fail(f"still running after {deadline:.0f} s")
        for lines in self._lines.values():
            lines.close()  # the last output may still be in the pipes
        return code

    def output(self, stream: Stream = "out") -> list[str]:
        """Return the lines of a stream so far; all of them once the program has ended."""
        return self._lines[stream].all

    def fail(self, what: str) -> NoReturn:
        """End the process, and fail the test with its whole output."""
        self.end()
        printed = [f"  std{name}: {line}" for name, of in self._lines.items() for line in of.all]
        pytest.fail("\n".join([f"{' '.join(self.command)}: {what}", *printed]))


class Program(Process):
    """One of our programs, given by module and arguments.

    It is a fork of an interpreter that has imported it, or, with `fresh`, a new interpreter.
    """

    def __init__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
        fresh: bool = False,
    ) -> None:
        self._fresh = fresh
        command = (sys.executable, "-m", *arguments)
        super().__init__(*command, env=env, stdout=stdout, stdin=stdin)

    def _start(
        self, stdin: int, stdout: int, env: Mapping[str, str] | None, cwd: Path | None
    ) -> subprocess.Popen[bytes]:
        if self._fresh:
            return super()._start(stdin, stdout, env, cwd)
        return forked.Fork(self.command[2:], stdin=stdin, stdout=stdout, env=env, cwd=cwd)


def end_on_signals() -> None:
    """Exit on the first SIGTERM or SIGHUP, so that `with` blocks stop the started programs."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, end)
