"""What tests wait for, and programs as real processes: each wait ends at one deadline."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Final, Literal, NoReturn, Self

import pytest

from tests import forked

__all__ = ("DEADLINE", "LONG", "ROOT", "Process", "Program", "end_on_signals", "run", "until")

ROOT: Final = Path(__file__).parent.parent
DEADLINE: Final = 120.0
"""Seconds that a test waits for what an idle machine does in milliseconds.

A test whose deadline passes has failed, so this is long enough for a machine that has twenty other
things to do. It never bounds how fast something is: the benchmarks measure that.
"""
LONG: Final = 4 * DEADLINE
"""The same for a series of programs, which takes seconds on an idle machine."""

Stream = Literal["out", "err"]


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Wait until a condition holds that only asking can tell, which may be a coroutine."""
    async with asyncio.timeout(DEADLINE):
        while True:
            holds = condition()
            if inspect.isawaitable(holds):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)


def run(
    *arguments: str, data: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m …` to its end, with `env` in an interpreter that reads it as it starts."""
    if env is None:
        return forked.run([*arguments], data, DEADLINE)
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, check=False, input=data, capture_output=True, timeout=DEADLINE, env=env
    )


class _Lines:
    """The lines of one pipe, read by a thread of their own: a full pipe would stop the process."""

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
        """Return the first line not yet taken, or None where no more come in time."""
        with self._changed:
            while self._taken == len(self.all):
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)
            self._taken += 1
            return self.all[self._taken - 1]

    def close(self) -> None:
        """Read what is left; the process has ended."""
        self._thread.join(DEADLINE)
        if self._pipe is not None:
            self._pipe.close()


class Process:
    """A process that lives as long as a `with` block at most."""

    def __init__(
        self,
        *command: str | Path,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.process = subprocess.Popen(
            self.command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=env, cwd=cwd
        )
        self._lines = {"out": _Lines(self.process.stdout), "err": _Lines(self.process.stderr)}

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
        """Wait for what the program prints first, where there is such a thing."""

    def end(self) -> None:
        """End the process where it still runs."""
        try:
            self.process.kill()  # does nothing to one that has ended
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
        """See that no line of stdout is left that was not waited for."""
        if (line := self._lines["out"].take(0)) is not None:
            self.fail(f"one line too many: {line!r}")

    def wait(self, deadline: float = DEADLINE) -> int:
        """Return the exit code."""
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.fail("it still runs")
        for lines in self._lines.values():
            lines.close()  # what it printed last may still be in the pipes
        return code

    def output(self, stream: Stream = "out") -> list[str]:
        """Every line that came on a stream, once the program has ended."""
        return self._lines[stream].all

    def fail(self, what: str) -> NoReturn:
        """End the process, and fail the test with all that it has printed."""
        self.end()
        printed = [f"  std{name}: {line}" for name, of in self._lines.items() for line in of.all]
        pytest.fail("\n".join([f"{' '.join(self.command)}: {what}", *printed]))


class Program(Process):
    """One of our own programs, by its module and arguments."""

    def __init__(
        self,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
        cwd: Path | None = None,
    ) -> None:
        command = (sys.executable, "-m", *arguments)
        super().__init__(*command, env=env, stdout=stdout, stdin=stdin, cwd=cwd)


def end_on_signals() -> None:
    """End the program on the first SIGTERM or SIGHUP, so that it stops what it has started."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, end)
