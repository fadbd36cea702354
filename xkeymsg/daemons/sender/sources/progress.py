"""Progress through files, recorded so that an interrupted run can continue."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from xkeymsg.daemons.sender.message_ids import Names
from xkeymsg.errors import ConfigurationError
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import lock_file

__all__ = ("Mark", "Progress")

_CHECKED: Final = 4096
"""Bytes before a mark that identify the file."""
_LARGEST: Final = 1 << 20
_CHUNK: Final = 1 << 16


class Mark(NamedTuple):
    """A position in a file; everything before it is settled."""

    offset: int
    lines: int


class Progress:
    """The marks of one route's files, stored in one file; without a folder they are not kept."""

    def __init__(self, folder: Path | None, route: str, names: Names) -> None:
        """Load the recorded marks, and lock them: two runs at a time would send lines twice.

        Raises:
            ConfigurationError: If they cannot be read, or another process has locked them.
        """
        self._path = None if folder is None else folder / f"{route}.json"
        self._lock = None if folder is None else _lock(folder / f"{route}.lock")
        self._names = names
        self._noted: dict[str, dict[str, Any]] = {}
        self._written: dict[str, dict[str, Any]] = {}
        self._latest: tuple[Path, int, Mark] | None = None
        if self._path is not None and self._path.exists():
            self._noted = _load(self._path)
            self._written = dict(self._noted)

    def mark(self, path: Path, descriptor: int) -> Mark:
        """Return the mark of a file, and seek the descriptor to it.

        If the last line was sent before its end was written, the mark is at its beginning.

        Raises:
            ConfigurationError: If the file changed before the mark.
        """
        noted = self._noted.get(str(path))
        if noted is None:
            return Mark(0, 0)
        mark = Mark(noted["offset"], noted["lines"])
        size = os.fstat(descriptor).st_size
        if size < mark.offset or noted["check"] != self._check(descriptor, mark.offset):
            raise ConfigurationError(
                f"{path} has changed since its first {mark.offset} bytes were sent: remove"
                f" {self._path} to send all of it"
            )
        mark = _before_cut_line(descriptor, mark)
        os.lseek(descriptor, mark.offset, os.SEEK_SET)
        return mark

    def note(self, path: Path, descriptor: int, mark: Mark) -> None:
        """Record that everything before a mark is settled; `save` before closing the file."""
        if self._path is not None:
            self._latest = path, descriptor, mark

    def save(self) -> None:
        """Write the marks atomically.

        Raises:
            ConfigurationError: If that fails.
        """
        try:
            self._save()
        except OSError as error:
            what = "a file" if self._path is None else path_text(self._path)
            raise ConfigurationError(
                f"cannot record the progress in {what}: {error.strerror}; the next run will send"
                " again what was sent after the last record"
            ) from error

    def _save(self) -> None:
        if self._latest is not None:
            (path, descriptor, mark), self._latest = self._latest, None
            check = self._check(descriptor, mark.offset)
            self._noted[str(path)] = {"offset": mark.offset, "lines": mark.lines, "check": check}
        if self._path is None or self._noted == self._written:
            return
        text = json.dumps({"version": 1, "files": self._noted}, indent=1)
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._written = dict(self._noted)

    def _check(self, descriptor: int, offset: int) -> str:
        start = max(0, offset - _CHECKED)
        return self._names.check(os.pread(descriptor, offset - start, start))


def _lock(path: Path) -> int:
    try:
        return lock_file(path)
    except BlockingIOError:
        why = "another sender works with this state: wait until it has ended, or use another folder"
    except OSError as error:
        why = error.strerror or "unknown"
    raise ConfigurationError(f"cannot lock {path_text(path)}: {why}")


def _before_cut_line(descriptor: int, mark: Mark) -> Mark:
    """Return the mark, or the one before a line that has grown since it was sent.

    What follows the mark would otherwise be taken for a line of its own. If only the end of the
    line was written, that is read as an empty line with the same number.
    """
    follows = os.pread(descriptor, 2, mark.offset)
    if not mark.offset or not follows or os.pread(descriptor, 1, mark.offset - 1) == b"\n":
        return mark
    lines = max(0, mark.lines - 1)
    if follows.split(b"\n")[0] in (b"", b"\r"):
        return mark._replace(lines=lines)
    end = mark.offset
    while end:
        start = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return Mark(start + found + 1, lines)
        end = start
    return Mark(0, lines)


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LARGEST))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path_text(path)}: {error.strerror}") from error
    except (ValueError, RecursionError):
        content = None
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(map(_is_mark, files.values())):
        raise ConfigurationError(f"{path}: not a progress file of the sender, or damaged")
    return files


def _is_mark(value: object) -> bool:
    match value:
        case {"offset": int(offset), "lines": int(lines), "check": str()}:
            return offset >= 0 <= lines
    return False
