"""A source that reads stdin or files, one message per line, and ends with them.

If a message is not accepted after all attempts, the route ends there: later ones would hardly fare
better, and the next run continues from there. A line that cannot be sealed is reported by number
and skipped, and the exit code is then a failure.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from xkeymsg.daemons.sender.message_ids import Names
from xkeymsg.daemons.sender.pipeline import Pipeline
from xkeymsg.daemons.sender.route_sealer import Sealed, is_of_setup
from xkeymsg.daemons.sender.sources.progress import Mark, Progress
from xkeymsg.daemons.sender.sources.reader import LONGEST, Line, LineReader
from xkeymsg.errors import (
    ConfigurationError,
    DeliveryError,
    LimitExceededError,
    PayloadTooLargeError,
    XKeyMsgError,
)
from xkeymsg.text import path_text

__all__ = ("LinesSource",)

_STDIN: Final = 0


class _PendingLine:
    """A line in flight."""

    __slots__ = ("is_done", "line")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.is_done = False


class LinesSource:
    """Sends lines, many in flight at a time; tracks the position up to which all are settled."""

    ends = True
    """Ends by itself when everything is sent."""

    def __init__(
        self,
        pipeline: Pipeline,
        names: Names,
        *,
        on_progress: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Initialize the source.

        Args:
            pipeline: Seals and sends messages.
            names: Derives message ids of lines of a file.
            on_progress: Called after each step with its size in bytes.

        Raises:
            ConfigurationError: If the recorded progress cannot be used.
        """
        route = pipeline.route
        self._pipeline = pipeline
        self._report = pipeline.report
        self.name = pipeline.route.name
        self._names = names
        self._files: tuple[Path | None, ...] = tuple(route.files) or (None,)
        self._progress = Progress(route.state, route.name, names)
        self._on_progress = on_progress
        self._room = asyncio.Semaphore(route.max_in_flight)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: deque[_PendingLine] = deque()
        self._file: Path | None = None
        self._descriptor = _STDIN
        self._reader: LineReader | None = None
        self._lines_done = 0
        self.sent = 0
        """Number of messages accepted."""
        self._given_up = 0
        self._stopped = False
        self._error: XKeyMsgError | None = None

    async def run(self) -> None:
        """Send all lines; after `stop`, only those already read.

        Raises:
            XKeyMsgError: If a message was not accepted after all attempts, no message can be sealed
                any more, a file cannot be read, or in the end the progress cannot be recorded.
        """
        try:
            for file in self._files:
                if self._stopped:
                    break
                try:
                    with self._opened(file):
                        await self._send_file()
                except OSError as error:
                    where = "stdin" if file is None else path_text(file)
                    raise ConfigurationError(f"cannot read {where}: {error.strerror}") from None
        finally:
            for task in self._tasks:
                task.cancel()
            if left := sum(not each.is_done for each in self._pending) - self._given_up:
                line = next(each.line.number for each in self._pending if not each.is_done)
                self._report.cut_off(left, file=self._file or "-", line=line)
        if self._error is not None:
            raise self._error
        self._progress.save()

    async def stop(self) -> None:
        """Read no more; `run` ends when the lines already read are settled."""
        self._stopped = True
        if self._reader is not None:
            self._reader.stop()

    def tick(self) -> None:
        """Save the progress; if that fails, the next call tries again."""
        try:
            self._progress.save()
        except ConfigurationError as error:
            self._report.not_recorded(error)

    # --- one file ---------------------------------------------------------------------------------

    @contextmanager
    def _opened(self, file: Path | None) -> Iterator[None]:
        self._file = file
        self._descriptor = _STDIN if file is None else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield
        finally:
            if file is not None:
                try:
                    self.tick()
                finally:
                    os.close(self._descriptor)

    async def _send_file(self) -> None:
        mark = Mark(0, 0)
        if self._file is not None:
            mark = self._progress.mark(self._file, self._descriptor)
            self._on_progress(mark.offset)
        self._reader = LineReader(self._descriptor, offset=mark.offset, number=mark.lines)
        self._lines_done = mark.lines
        async for line in self._reader:
            await self._room.acquire()
            await self._take(line)
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._reader.unfinished:
            size = self._reader.unfinished
            if self._file is None:
                self._report.lost(DeliveryError(f"a line was cut off after {size} bytes"))
        if self._stopped and self._error is None and self._file is not None:
            self._report.log.info("stopped within", file=self._file, lines=self._lines_done)

    async def _take(self, line: Line) -> None:
        pending = _PendingLine(line)
        self._pending.append(pending)
        if self._error is not None:  # already read, and stdin cannot be read again
            self._give_up(self._error, pending)
            return
        if line.data is not None and not line.data.strip():
            self._done(pending)
            return
        self._report.metrics.received.inc()
        try:
            if line.data is None:
                raise LimitExceededError("bytes of a line", line.end - line.start, LONGEST)
            sealed = await self._pipeline.seal(line.data)
        except XKeyMsgError as error:
            if is_of_setup(error):
                self._give_up(error, pending)
            else:
                self._report.refused(error, often=False, **self._where(line))
                self._done(pending)
            return
        name = None
        if self._file is not None:
            name = self._names.of_line(str(self._file), line.start, line.data)
        task = asyncio.create_task(self._send(pending, sealed, name))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, pending: _PendingLine, sealed: Sealed, name: str | None) -> None:
        where = self._where(pending.line)
        try:
            await self._pipeline.send(sealed, name, **where)
        except DeliveryError as error:
            self._give_up(error, pending)
        except PayloadTooLargeError as error:
            self._report.refused(error, often=False, **where)
            self._done(pending)
        except XKeyMsgError as error:
            self._report.lost(error, **where)
            self._done(pending)
        else:
            self.sent += 1
            self._done(pending)

    def _where(self, line: Line) -> dict[str, object]:
        return {"file": self._file or "-", "line": line.number}

    def _give_up(self, error: XKeyMsgError, pending: _PendingLine) -> None:
        """End the route: this line is not sent, and the next run must begin with it."""
        self._room.release()
        self._given_up += 1
        self._report.lost(error, **self._where(pending.line))
        self._error = self._error or error
        self._stopped = True
        if self._reader is not None:
            self._reader.stop()

    def _done(self, pending: _PendingLine) -> None:
        """Mark a line as settled, and advance the position up to which all are."""
        self._room.release()
        pending.is_done = True
        last: Line | None = None
        while self._pending and self._pending[0].is_done:
            last = self._pending.popleft().line
            self._on_progress(last.end - last.start)
        if last is not None:
            self._lines_done = last.number
            if self._file is not None:
                self._progress.note(self._file, self._descriptor, Mark(last.end, last.number))
