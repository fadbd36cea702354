"""A process that takes part in the rounds: started once, asked line by line.

It answers its start with a line that names it (`ready go1.26 nkeys 0.4.17`), and each line on its
standard input with one on its standard output, numbers separated by spaces. It ends when its input
does. The peers for other languages know one request, `run OPERATION SIZE N`, and answer with the
nanoseconds that N operations took.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Self

from benchmarks.harness import Batch

__all__ = ("Peer", "PeerError")


class PeerError(Exception):
    """A peer ended, or answered nonsense; what it had to say is on standard error."""


class Peer:
    """A peer process that lives as long as a `with` block."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env=os.environ | dict(env or {}),
        )  # fmt: skip
        self.name = ""
        """What the peer calls itself."""

    def __enter__(self) -> Self:
        try:
            self.name = self._read().removeprefix("ready ")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ask(self, *words: object) -> tuple[int, ...]:
        """Send one line and return the numbers of the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
        except BrokenPipeError:
            raise PeerError("a peer is gone") from None
        answer = self._read()
        try:
            return tuple(map(int, answer.split()))
        except ValueError:
            raise PeerError(f"a peer answered {answer!r}") from None

    def batch(self, operation: str, size: int) -> Batch:
        """Make a batch of an operation on messages of `size` bytes."""
        return lambda n: self.ask("run", operation, size, n)

    def _end(self) -> None:
        """Close the peer's input, and wait for its end."""
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise PeerError("a peer ended early")
        return line.rstrip("\n")
