"""Programs run as processes of their own, and the tutorial's two in each language.

Whatever waits here has a deadline, and says what the process has printed when it passes.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NoReturn, Protocol, Self

import pytest

from xkeymsg.keys import XKeyPair

__all__ = ("WITHIN", "Foreign", "Ours", "Peer", "Program", "Receiver", "find_tool")

_ROOT: Final = Path(__file__).parent.parent.parent
WITHIN: Final = 20.0
"""Seconds for whatever takes milliseconds: only a machine under load comes near it."""


def find_tool(name: str) -> str:
    """Return the path of a toolchain's program, or skip; in CI, where it has to be, fail."""
    if found := shutil.which(name):
        return found
    missing = f"NO {name.upper()} IN PATH: the tutorial was not tried against its programs"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


class _Lines:
    """The lines of one pipe, read by a thread of their own: a full pipe would stop the process."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.all: list[str] = []
        self._pipe = pipe
        self._taken = 0
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
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
        self._thread.join(WITHIN)
        self._pipe.close()


class Program:
    """A process that lives as long as a `with` block at most."""

    def __init__(self, *command: str | Path) -> None:
        self.command = [str(part) for part in command]
        # From the repository's root, where our programs are modules whether installed or not.
        self._process = subprocess.Popen(
            self.command,
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.out = _Lines(self._process.stdout)
        self.err = _Lines(self._process.stderr)

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
            self._process.kill()  # does nothing to one that has ended
            self._process.wait(WITHIN)
        finally:
            self.out.close()
            self.err.close()

    def next_line(self) -> str:
        """Return the next line of stdout."""
        line = self.out.take(time.monotonic() + WITHIN)
        return line if line is not None else self.fail("no more lines on stdout")

    def complaint(self, pattern: str) -> str:
        """Return the next line of stderr that has `pattern` in it."""
        deadline = time.monotonic() + WITHIN
        while (line := self.err.take(deadline)) is not None:
            if re.search(pattern, line):
                return line
        return self.fail(f"no line on stderr with {pattern!r}")

    def interrupt(self) -> None:
        """Press Ctrl+C."""
        self._process.send_signal(signal.SIGINT)

    def ends_with(self, code: int) -> None:
        """Wait for the process to end, with this exit code."""
        try:
            actual = self._process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            self.fail("still runs")
        # What it printed last may still be in the pipes.
        self.out.close()
        self.err.close()
        if actual != code:
            self.fail(f"ended with {actual}, not {code}")

    def fail(self, what: str) -> NoReturn:
        """End the process, and fail the test with all that it has printed."""
        self.end()
        printed = [
            f"  {name}: {line}"
            for name, lines in (("stdout", self.out), ("stderr", self.err))
            for line in lines.all
        ]
        pytest.fail("\n".join([f"{' '.join(self.command)}: {what}", *printed]))


class Receiver(Program):
    """A receiver of the tutorial, of whichever language: subscribed within its `with` block."""

    key: str

    def reads(self, text: str, sender: str) -> None:
        """Wait for the lines of a message that it can open."""
        self._prints(f"Received message from {sender}", f"The sender sent us {text}")

    def refuses(self, sender: str) -> None:
        """Wait for the lines of a message that it cannot open."""
        raise NotImplementedError

    def stops(self) -> None:
        """Wait for its end, and see that it has printed nothing but what was waited for."""
        raise NotImplementedError

    def _greet(self) -> None:
        line = self.next_line()
        match = re.fullmatch(r"Receiver Public Key: (X[A-Z2-7]{55})", line)
        self.key = match[1] if match else self.fail(f"not its public key: {line!r}")

    def _prints(self, *lines: str) -> None:
        for line in lines:
            if (actual := self.next_line()) != line:
                self.fail(f"not {line!r}, but {actual!r}")

    def _has_no_more(self) -> None:
        if (line := self.out.take(0)) is not None:
            self.fail(f"one line too many: {line!r}")


class _OurReceiver(Receiver):
    """`python -m receiver`: what it cannot open goes to stderr, and into its exit code."""

    _code = 0

    def refuses(self, sender: str) -> None:
        del sender  # which the message did not prove, so that ours does not repeat it
        self.complaint(r"\bauthentication\b")
        self._code = 3

    def stops(self) -> None:
        self.ends_with(self._code)
        self._has_no_more()


class _ForeignReceiver(Receiver):
    """A receiver that prints the tutorial's own lines, and runs until Ctrl+C."""

    def _greet(self) -> None:
        super()._greet()
        self._prints("Receiver is running, press Ctrl+C to stop")

    def refuses(self, sender: str) -> None:
        self._prints(
            f"Received message from {sender}",
            "Failed to decrypt message: nkeys: could not decrypt input",
        )

    def stops(self) -> None:
        self.interrupt()
        self.ends_with(0)
        self._has_no_more()


class Peer(Protocol):
    """Both programs of one language."""

    def listen(self, url: str, messages: int) -> Receiver:
        """Start a receiver of so many messages."""

    def send(self, url: str, to: str, text: str) -> str:
        """Send a text and return the sender's public key."""


@dataclass(frozen=True, slots=True)
class Ours:
    """The programs of this repository; `folder` is for seeds."""

    folder: Path

    def listen(self, url: str, messages: int) -> Receiver:
        python = (sys.executable, "-m", "receiver", "--server", url)
        return _OurReceiver(*python, "--count", str(messages), "--wait", str(int(WITHIN)))

    def send(self, url: str, to: str, text: str) -> str:
        pair = XKeyPair.generate()
        seed = self.folder / f"{pair.public}.seed"
        seed.touch(mode=0o600)
        seed.write_text(pair.seed() + "\n")
        python = (sys.executable, "-m", "sender", "--server", url)
        with Program(*python, "--seed", seed, to, text) as program:
            program.ends_with(0)
        return str(pair.public)


@dataclass(frozen=True, slots=True)
class Foreign:
    """The two programs of another language, as the commands that start them."""

    receiver: tuple[str | Path, ...]
    sender: tuple[str | Path, ...]

    def listen(self, url: str, messages: int) -> Receiver:
        del messages  # it has no end but Ctrl+C
        return _ForeignReceiver(*self.receiver, "--server", url)

    def send(self, url: str, to: str, text: str) -> str:
        with Program(*self.sender, "--server", url, to, text) as program:
            line = program.next_line()
            program.ends_with(0)
            match = re.fullmatch(rf">> SENT \d+ bytes from (X[A-Z2-7]{{55}}) to {to}", line)
            return match[1] if match else program.fail(f"not what it sent: {line!r}")
