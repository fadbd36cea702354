"""What peers in Python share (benchmarks/peer.py): requests, answers, and the end of a batch."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator

__all__ = ("TIMEOUT", "Countdown", "answer", "requests")

TIMEOUT = 60.0
"""Seconds to wait for a server or for the messages of a batch."""


async def requests() -> AsyncIterator[list[str]]:
    """Yield the words of each line of standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()


def answer(*words: object) -> None:
    """Write a line to standard output."""
    print(*words, flush=True)


class Countdown:
    """The messages of a batch that are still to come."""

    def __init__(self) -> None:
        self._left = self._cpu = 0
        self._result: asyncio.Future[tuple[int, int]] | None = None

    def start(self, n: int) -> None:
        """Expect n messages."""
        gc.collect()
        gc.disable()
        self._result = asyncio.get_running_loop().create_future()
        self._left, self._cpu = n, time.process_time_ns()

    def count(self) -> None:
        """Count one message."""
        self._left -= 1
        if self._left == 0 and self._result is not None:
            self._result.set_result((time.monotonic_ns(), time.process_time_ns() - self._cpu))

    async def result(self) -> tuple[int, int]:
        """Return when the last message came, and the processor time since the start, both in ns."""
        assert self._result is not None
        try:
            return await asyncio.wait_for(self._result, TIMEOUT)
        finally:
            gc.enable()
