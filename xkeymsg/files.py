"""Reads text files that people write, up to a limit.

No other module below the transport reads them. Such a file decides who may read or send, so a
world-writable file is refused. Its owner, its group, access control lists, and the directories
above it are not checked.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from xkeymsg.errors import XKeyMsgError
from xkeymsg.nkey import is_seed
from xkeymsg.text import decode_text, path_text

__all__ = ("MAX_FILE", "decode_file", "read_file", "read_text")

MAX_FILE: Final = 1 << 20
"""Bytes of a file."""


def read_file(
    path: Path, error: type[XKeyMsgError], *, limit: int = MAX_FILE
) -> tuple[bytes, bool]:
    """Return the content of a file, and whether it is world-readable.

    Args:
        path: The path of the file. A pipe, which could block forever, is refused.
        error: The class of the errors to raise.
        limit: The greatest size in bytes.

    Raises:
        error: If it cannot be read, is world-writable, or is larger than `limit`.
    """
    if is_seed(str(path)):
        raise error("expected a file name, not a secret seed")
    name = path_text(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise error(f"{name}: not a regular file")
            if mode & stat.S_IWOTH:
                raise error(
                    f"{name}: world-writable (mode {stat.S_IMODE(mode):04o}); run chmod o-w"
                )
            content = file.read(limit + 1)
    except (OSError, ValueError) as found:  # ValueError: a NUL in the path
        reason = found.strerror if isinstance(found, OSError) else found
        # `OSError` shows the path.
        raise error(f"cannot read {name}: {reason}") from found if name == str(path) else None
    if len(content) > limit:
        raise error(f"{name}: larger than {limit} bytes")
    return content, bool(mode & stat.S_IROTH)


def read_text(path: Path, error: type[XKeyMsgError]) -> str:
    """Return the text of a file; see `read_file` and `decode_file`."""
    return decode_file(read_file(path, error)[0], path_text(path), error)


def decode_file(content: bytes, source: str, error: type[XKeyMsgError]) -> str:
    """Decode the content of a file, without one leading byte order mark.

    Raises:
        error: If it is not UTF-8; names `source` and the line.
    """
    try:
        return decode_text(content)
    except UnicodeDecodeError as found:
        line = content.count(b"\n", 0, found.start) + 1
    # Raised outside of the block: Python's exception would hold the content.
    raise error(f"{source}, line {line}: not UTF-8")
