"""A process for each batch: a JSON object a line on its stdin, and exit 0 takes all of them.

It gets an environment of its own, for ours may hold passwords; and it is the leader of a group,
so that what it has started goes with it when its time is over, and Ctrl-C is not for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.config import CommandSink
from xkeymsg.daemons.receiver.sinks.sink import RefusedError, UnavailableError

__all__ = ("Command",)

_INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")
_TEMPORARY: Final = 75
"""EX_TEMPFAIL of sysexits.h: it is not for these messages that it failed."""
_LOGGED: Final = 4096
"""Bytes of stderr that are kept of one process."""
_CHUNK: Final = 65_536


class Command:
    """Starts the command for each batch."""

    def __init__(self, section: CommandSink, log: Log) -> None:
        self._section = section
        self._log = log
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        self._environment = inherited | section.environment

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Run the command with a batch."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._section.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"the command does not start: {error.strerror}") from None
        try:
            async with asyncio.timeout(self._section.timeout):
                said, _, code = await asyncio.gather(
                    _read(process.stderr), _feed(process.stdin, batch), process.wait()
                )
        except TimeoutError:
            seconds = self._section.timeout
            await _end(process)
            raise UnavailableError(f"the command took more than {seconds:g} s") from None
        except BaseException:
            await _end(process)
            raise
        if said and self._section.stderr == "log":
            self._log.often("info", "command said", stderr=said.decode("utf-8", "replace"))
        if code:
            kind = UnavailableError if code == _TEMPORARY or code < 0 else RefusedError
            raise kind(f"the command ended with {code}")

    async def close(self) -> None:
        """Do nothing: no process is left."""


async def _feed(stdin: asyncio.StreamWriter | None, batch: Sequence[Record]) -> None:
    """Write the lines; that nobody reads them to the end is for the exit code to judge."""
    assert stdin is not None  # noqa: S101 - a pipe was asked for
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for record in batch:
            stdin.write(record.line)
            await stdin.drain()
    stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stdin.wait_closed()


async def _read(stderr: asyncio.StreamReader | None) -> bytes:
    """Read to the end, so that it can write, and keep the beginning."""
    assert stderr is not None  # noqa: S101
    kept = b""
    while chunk := await stderr.read(_CHUNK):
        kept += chunk[: _LOGGED - len(kept)]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
