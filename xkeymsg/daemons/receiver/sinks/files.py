"""One file per message, named by its id and written atomically.

A redelivered message whose file exists is accepted. Two messages with one id, which a malicious
sender can make, become two files: the second has a digest of its contents in its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from xkeymsg import primitives
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.sinks.sink import UnavailableError

__all__ = ("Files",)

_PART: Final = ".part"
_STALE: Final = 3600.0
"""Seconds after which a partial file is abandoned."""


class Files:
    """Writes records to files in one folder."""

    def __init__(self, folder: Path) -> None:
        """Remove the partial files that a killed receiver left in the folder."""
        self._folder = folder
        late = time.time() - _STALE
        with contextlib.suppress(OSError):
            for each in folder.glob(f".*{_PART}"):
                if each.lstat().st_mtime < late:
                    each.unlink(missing_ok=True)

    async def deliver(self, batch: Sequence[Record]) -> None:
        """Write the files and sync them to disk."""
        await asyncio.to_thread(self._deliver, batch)

    async def close(self) -> None:
        """Do nothing."""

    def _deliver(self, batch: Sequence[Record]) -> None:
        try:
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for record in batch:
                    self._write(folder, record)
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise UnavailableError(f"cannot write to {self._folder}: {error.strerror}") from None

    def _write(self, folder: int, record: Record) -> None:
        name = f"{record.id.hex()}.json"
        if self._has(folder, name, record.line):
            return
        part = f".{record.id.hex()}.{secrets.token_hex(8)}{_PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o600, dir_fd=folder)
        try:
            try:
                _write_all(descriptor, record.line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._publish(folder, part, name, record.line)
        finally:
            os.unlink(part, dir_fd=folder)

    def _publish(self, folder: int, part: str, name: str, line: bytes) -> None:
        """Give a complete file its name; never overwrite another file."""
        try:
            os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            if self._has(folder, name, line):
                return
            other = f"{name.removesuffix('.json')}.{primitives.sha256(line)[:16].hex()}.json"
            if not self._has(folder, other, line):
                os.link(part, other, src_dir_fd=folder, dst_dir_fd=folder)

    def _has(self, folder: int, name: str, line: bytes) -> bool:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=folder)
        except OSError:
            return False
        with os.fdopen(descriptor, "rb") as file:
            return os.fstat(descriptor).st_size == len(line) and file.read(len(line) + 1) == line


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
