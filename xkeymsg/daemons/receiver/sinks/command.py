"""One process per batch: one JSON object per line on its stdin; exit 0 accepts the batch.

It gets its own environment, because ours may hold passwords. It leads a process group, so a timeout
kills its children too, and Ctrl-C does not reach it.
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
"""EX_TEMPFAIL of sysexits.h: the messages are not at fault."""
_LOGGED: Final = 4096
"""Bytes of stderr kept per process."""
_CHUNK: Final = 65_536


class Command:
    """Runs the command once per batch."""

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
            raise UnavailableError(f"cannot start the command: {error.strerror}") from None
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
            raise kind(f"the command exited with {code}")

    async def close(self) -> None:
        """Do nothing: no process is running."""


async def _feed(stdin: asyncio.StreamWriter | None, batch: Sequence[Record]) -> None:
    """Write the lines; if the command stops reading, its exit code decides."""
    assert stdin is not None  # noqa: S101 - created with a pipe
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for record in batch:
            stdin.write(record.line)
            await stdin.drain()
    stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stdin.wait_closed()


async def _read(stderr: asyncio.StreamReader | None) -> bytes:
    """Read to the end, so the process never blocks, and keep the beginning."""
    assert stderr is not None  # noqa: S101
    kept = b""
    while chunk := await stderr.read(_CHUNK):
        kept += chunk[: _LOGGED - len(kept)]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
