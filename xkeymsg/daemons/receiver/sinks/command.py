"""One process per batch: one JSON object per line on its stdin; exit 0 accepts the batch.

It gets its own environment, because ours may hold passwords. Its exit decides, not the end of its
stderr, which a process that it left behind may keep open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Sequence
from io import FileIO
from typing import Final

from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.processes import Program
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.config import CommandSink
from xkeymsg.daemons.receiver.sinks.sink import RefusedError, UnavailableError

__all__ = ("KILLED", "Command")

_INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")
_TEMPORARY: Final = 75
"""EX_TEMPFAIL of sysexits.h: the messages are not at fault."""
_LOGGED: Final = 4096
"""Bytes of stderr kept per process."""
_CHUNK: Final = 65_536
KILLED: Final = 1.0
"""Seconds to wait for a killed process; one that waits for a dead disk does not end."""


class Command:
    """Runs the command once per batch."""

    def __init__(self, section: CommandSink, log: Log) -> None:
        self._section = section
        self._log = log
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = inherited | section.environment
        self._undead: list[Program] = []

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Run the command with a batch."""
        seconds = self._section.timeout
        self._undead = [each for each in self._undead if each.code is None]
        if len(self._undead) >= self._section.parallel:
            raise UnavailableError("an earlier command still runs, although it was killed")
        with contextlib.ExitStack() as stack:
            try:
                feed, said, program = self._start(stack)
            except OSError as error:
                raise UnavailableError(f"cannot start the command: {error.strerror}") from None
            feeding = asyncio.create_task(_feed(feed, batch))
            try:
                code = await program.exited(seconds)
            except BaseException as error:
                ended = await self._end(program)
                if not isinstance(error, TimeoutError):
                    raise
                text = "" if ended else ", and still runs, although it was killed"
                raise UnavailableError(f"the command took more than {seconds:g} s{text}") from None
            finally:
                feeding.cancel()
                await asyncio.wait({feeding})
        if said is not None and said.text:
            text = said.text.decode("utf-8", "replace")
            self._log.often("info", "command said", stderr=text)
        if code:
            kind = UnavailableError if code == _TEMPORARY or code < 0 else RefusedError
            raise kind(f"the command exited with {code}")

    async def close(self) -> None:
        """Do nothing: no process is running."""

    def _start(self, stack: contextlib.ExitStack) -> tuple[FileIO, _Stderr | None, Program]:
        """Start the command; return the pipe to its stdin, and its stderr.

        Raises:
            OSError: If that fails.
        """
        with contextlib.ExitStack() as theirs:
            reading, writing = os.pipe()
            theirs.callback(os.close, reading)
            os.set_blocking(writing, False)
            feed = stack.enter_context(FileIO(writing, "wb"))
            said, stderr = None, subprocess.DEVNULL
            if self._section.stderr == "log":
                ours, stderr = os.pipe()
                theirs.callback(os.close, stderr)
                said = _Stderr(ours)
                stack.callback(said.close)
            program = Program(
                self._section.command, self._environment, stdin=reading, stderr=stderr
            )
        return feed, said, program

    async def _end(self, program: Program) -> bool:
        """Kill a program, and return whether it has ended."""
        program.kill()
        with contextlib.suppress(TimeoutError):
            await program.exited(KILLED)
            return True
        self._undead.append(program)
        return False


class _Stderr:
    """The beginning of a program's stderr; the rest is read and dropped, so it never blocks."""

    def __init__(self, descriptor: int) -> None:
        self.text = b""
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> bool:
        """Read what is there, and return whether there may be more."""
        try:
            chunk = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return False
        self.text += chunk[: _LOGGED - len(self.text)]
        if not chunk:
            self._loop.remove_reader(self._descriptor)
        return bool(chunk)

    def close(self) -> None:
        """Keep what the program has written, and close the pipe, which others may hold open."""
        while len(self.text) < _LOGGED and self._read():
            pass
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


async def _feed(pipe: FileIO, batch: Sequence[Record]) -> None:
    """Write the lines; if the command stops reading, its exit code decides."""
    with pipe, contextlib.suppress(OSError):
        for record in batch:
            view = memoryview(record.line)
            while view:
                written = pipe.write(view)  # None: the pipe is full
                if written:
                    view = view[written:]
                else:
                    await _writable(pipe.fileno())


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
