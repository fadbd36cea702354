"""Text files that people write: read whole and bounded, in UTF-8, most of them in TOML.

The one module below the transport that reads them. Such a file decides who may read or send, so a
file that everybody may write is refused.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

from xkeymsg.errors import XKeyMsgError
from xkeymsg.nkey import is_seed

__all__ = ("MARK", "MAX_FILE", "SECRETIVE", "decode_text", "parse_toml", "read_file", "read_text")

MAX_FILE: Final = 1 << 20
"""Bytes of a file."""
MARK: Final = "\ufeff"
"""The byte order mark, which editors put before a text."""
SECRETIVE: Final = re.compile(r"[A-Z2-7]{20}|[A-Za-z0-9]{40}")
"""A text in which this is found could hold a key or a seed, and is not shown."""

_LINE: Final = re.compile(r"\(at line (\d+)")
_SHOWN: Final = 200
"""Characters that are shown of what the TOML parser says."""


def read_file(path: Path, error: type[XKeyMsgError]) -> tuple[bytes, bool]:
    """Return the content of a file, and whether everybody may read it.

    Args:
        path: The name of the file. A pipe, on which a reader could wait for ever, is refused.
        error: The class of the error that is raised.

    Raises:
        error: If it cannot be read, everybody may write it, or it is above `MAX_FILE`.
    """
    if is_seed(str(path)):
        raise error("expected the name of a file, not a secret seed")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise error(f"{path}: not a regular file")
            if mode & stat.S_IWOTH:
                raise error(
                    f"{path}: everybody may write it (mode {stat.S_IMODE(mode):04o}); chmod o-w it"
                )
            content = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as found:  # ValueError: a NUL in the path
        reason = found.strerror if isinstance(found, OSError) else found
        raise error(f"cannot read {path}: {reason}") from found
    if len(content) > MAX_FILE:
        raise error(f"{path}: larger than {MAX_FILE} bytes")
    return content, bool(mode & stat.S_IROTH)


def read_text(path: Path, error: type[XKeyMsgError]) -> str:
    """Return the text of a file; see `read_file` and `decode_text`."""
    return decode_text(read_file(path, error)[0], str(path), error)


def decode_text(content: bytes, source: str, error: type[XKeyMsgError]) -> str:
    """Return the text in the content of a file, without one byte order mark in front.

    Raises:
        error: If it is not UTF-8; names `source` and the line.
    """
    try:
        return content.decode().removeprefix(MARK)
    except UnicodeDecodeError as found:
        line = content.count(b"\n", 0, found.start) + 1
    # Raised out here: what Python raises would hold the content.
    raise error(f"{source}, line {line}: not UTF-8")


def parse_toml(text: str, source: str, error: type[XKeyMsgError]) -> dict[str, Any]:
    """Return the tables of a text in TOML.

    Raises:
        error: If it is not TOML; names `source` and the line.
    """
    line = "1"
    try:
        return tomllib.loads(text.removeprefix(MARK))
    except tomllib.TOMLDecodeError as found:
        reason = str(found)
        at = _LINE.search(reason)
        line = at[1] if at else str(text.count("\n") + 1)
        if SECRETIVE.search(reason):  # it names keys
            reason = reason[reason.rfind("(at ") :]
        reason = f"not TOML: {reason[:_SHOWN]}"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # of Python itself, which reads no integer so long
        reason = "not TOML: an integer of too many digits"
    raise error(f"{source}, line {line}: {reason}")
