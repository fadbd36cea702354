"""Programs of this project as real processes, with waits that end."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Self

DEADLINE = 20.0


def run(
    *arguments: str, data: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run `python -m …` to its end."""
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, check=False, input=data, capture_output=True, timeout=DEADLINE, env=env
    )


class Program:
    """A program that runs while a `with` block does; its output is read line by line."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdout: int = subprocess.PIPE,
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=env,
        )
        self._lines: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._seen: list[tuple[str, str]] = []
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self.process.stdout), ("err", self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, stream: IO[bytes] | None) -> None:
        for line in stream or ():
            self._lines.put((name, line.decode("utf-8", "backslashreplace").rstrip("\n")))

    def wait_for(self, text: str, stream: str = "out") -> str:
        """Return the next line of `stream` that contains `text`."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                shown = "\n".join(f"{name}: {line}" for name, line in self._seen)
                raise AssertionError(f"no {text!r} on std{stream}; this came:\n{shown}") from None
            self._seen.append(line)
            if line[0] == stream and text in line[1]:
                return line[1]

    def wait(self, deadline: float = DEADLINE) -> int:
        """Return the exit code."""
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError("it still runs") from None
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def output(self, stream: str = "out") -> list[str]:
        """Every line that came on a stream, once the program has ended."""
        while not self._lines.empty():
            self._seen.append(self._lines.get())
        return [line for name, line in self._seen if name == stream]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
