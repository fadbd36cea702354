"""The tutorial's two programs in each language, and a reader and writer of claims."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pytest

from tests.running import DEADLINE, LONG, ROOT, Process, Program, run
from xkeymsg.keys import XKeyPair

__all__ = ("NPM_FLAGS", "Foreign", "Ours", "Peer", "Receiver", "built_once", "done", "find_tool")

_OUTSIDE: Final = dict(os.environ)
"""The environment of the test run, before its authorities are hidden from our own programs: tool
chains download modules."""
NPM_FLAGS: Final = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")


def find_tool(name: str) -> str:
    """Return the path of a toolchain's program, or skip; in CI, where it has to be, fail."""
    if found := shutil.which(name):
        return found
    missing = f"NO {name.upper()} IN PATH: nothing was tried against its programs"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return a folder of which the first caller makes the contents, in any process."""
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".built").exists():
            build(folder)
            (folder / ".built").touch()
    return folder


def done(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it prints; a failure fails the test, and never skips it."""
    try:
        ended = subprocess.run(
            command,
            cwd=cwd,
            env=_OUTSIDE | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{command}: not done within {LONG:.0f} s")
    if ended.returncode:
        pytest.fail(f"{command} ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


class Receiver(Process):
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

    def _ends_with(self, code: int) -> None:
        """Wait for the process to end, with this exit code, and nothing more on stdout."""
        if (actual := self.wait()) != code:
            self.fail(f"ended with {actual}, not {code}")
        self.has_no_more()


class _OurReceiver(Receiver, Program):
    """`python -m receiver`: what it cannot open goes to stderr, and into its exit code."""

    _code = 0

    def refuses(self, sender: str) -> None:
        del sender  # which the message did not prove, so that ours does not repeat it
        self.wait_for("authentication", "err")
        self._code = 3

    def stops(self) -> None:
        self._ends_with(self._code)


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
        self.process.send_signal(signal.SIGINT)
        self._ends_with(0)


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
        bounds = ("--count", str(messages), "--wait", str(int(DEADLINE)))
        return _OurReceiver("receiver", "--server", url, *bounds)

    def send(self, url: str, to: str, text: str) -> str:
        pair = XKeyPair.generate()
        seed = self.folder / f"{pair.public}.seed"
        seed.touch(mode=0o600)
        seed.write_text(pair.seed() + "\n")
        done = run("sender", "--server", url, "--seed", str(seed), to, text)
        assert done.returncode == 0, done.stderr
        return str(pair.public)


@dataclass(frozen=True, slots=True)
class Foreign:
    """The programs of another language, as the commands that start them."""

    receiver: tuple[str | Path, ...]
    sender: tuple[str | Path, ...]
    claims: tuple[str | Path, ...]
    """Reads and writes claims: a JSON request a line, and a JSON answer."""

    def listen(self, url: str, messages: int) -> Receiver:
        del messages  # it has no end but Ctrl+C
        return _ForeignReceiver(*self.receiver, "--server", url, cwd=ROOT)

    def send(self, url: str, to: str, text: str) -> str:
        with Process(*self.sender, "--server", url, to, text, cwd=ROOT) as program:
            line = program.next_line()
            assert program.wait() == 0
            match = re.fullmatch(rf">> SENT \d+ bytes from (X[A-Z2-7]{{55}}) to {to}", line)
            return match[1] if match else program.fail(f"not what it sent: {line!r}")
