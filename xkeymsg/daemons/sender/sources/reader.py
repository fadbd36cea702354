"""Lines of files, pipes and terminals, read on demand.

Nothing is read from a pipe ahead of demand: after a stop, the unread rest is still there for the
next reader.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from xkeymsg.limits import Limits
from xkeymsg.text import without_mark

__all__ = ("LONGEST", "Line", "LineReader")

_CHUNK: Final = 1 << 16
LONGEST: Final = Limits().envelope
"""Maximum bytes of a line; a longer one could not be sealed."""


class Line(NamedTuple):
    """One line, without its line feed."""

    number: int
    """Counted from 1."""
    start: int
    """Its offset in bytes."""
    end: int
    """The offset of the next line."""
    data: bytes | None
    """None if it is longer than `LONGEST`."""


class LineReader:
    """Reads the lines of a descriptor; iterate with `async for`."""

    def __init__(self, descriptor: int, *, offset: int = 0, number: int = 0) -> None:
        """Initialize with a descriptor positioned at `offset`, after `number` lines."""
        self._descriptor = descriptor
        self._offset = offset
        self._number = number
        self._stopping = asyncio.Event()
        self.unfinished = 0
        """Bytes of the incomplete line at the time of the stop."""

    def stop(self) -> None:
        """Read no more; complete lines already read are still yielded."""
        self._stopping.set()

    async def __aiter__(self) -> AsyncIterator[Line]:
        pending: list[bytes] = []
        size = 0
        while chunk := await self._read():
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                pending.append(line)
                yield self._line(pending, size + len(line), 1)
                pending, size = [], 0
            size += len(rest)
            if rest:
                pending = [] if size > LONGEST else [*pending, rest]
        if not size:
            return
        if self._stopping.is_set():
            self.unfinished = size
        else:
            yield self._line(pending, size, 0)

    def _line(self, pieces: list[bytes], size: int, feed: int) -> Line:
        start, self._offset = self._offset, self._offset + size + feed
        self._number += 1
        data = None if size > LONGEST else b"".join(pieces)
        if data is not None and not start:
            data = without_mark(data)  # the byte order mark of the file
        return Line(self._number, start, self._offset, data)

    async def _read(self) -> bytes:
        """Return the available bytes, `b""` at the end."""
        await asyncio.sleep(0)
        if self._stopping.is_set() or not await self._is_readable():
            return b""
        return os.read(self._descriptor, _CHUNK)

    async def _is_readable(self) -> bool:
        """Wait until the descriptor is readable or `stop` is called; return whether to read."""
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[bool] = loop.create_future()
        try:
            loop.add_reader(self._descriptor, _set, readable)
        except PermissionError:  # a regular file: never blocks
            return True
        stopping: asyncio.Future[bool] = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({readable, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._descriptor)
            stopping.cancel()
        return not self._stopping.is_set()


def _set(readable: asyncio.Future[bool]) -> None:
    if not readable.done():
        readable.set_result(True)
