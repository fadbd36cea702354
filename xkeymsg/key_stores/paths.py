"""Finds what lets other users replace a file: itself, a folder above it, or a link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ("replaceable",)

_MOST_LINKS: Final = 40


def replaceable(path: Path) -> Path | None:
    """Return what lets other users replace a file or folder, or write to it; None if nothing does.

    With None, nothing changes between this check and the use of the path.

    Raises:
        OSError: If the path does not exist.
    """
    for part in _steps(path.absolute()):
        status = part.lstat()
        mode = status.st_mode
        shared = mode & 0o022 and not stat.S_ISLNK(mode)  # a link has no mode of its own
        if stat.S_ISDIR(mode) and mode & stat.S_ISVTX and part != path:
            shared = False  # others cannot replace what is not theirs
        if shared or status.st_uid not in (0, os.geteuid()):
            return part
    return None


def _steps(path: Path) -> Iterator[Path]:
    """Yield a path, and every folder and link that the kernel passes on the way to it."""
    at, left, links = Path("/"), [*path.parts], 0
    while left:
        part = left.pop(0)
        if part == "..":
            at = at.parent
            continue
        at = at / part
        yield at
        if at.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            left = [*at.readlink().parts, *left]
            at = at.parent
