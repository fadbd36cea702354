"""Text files that people write: UTF-8, of which a byte order mark in front is skipped."""

from __future__ import annotations

import re
from tomllib import TOMLDecodeError, loads
from typing import Any, Final

__all__ = (
    "MARK",
    "SECRETIVE",
    "decode_text",
    "is_unicode",
    "masked",
    "parse_toml",
    "without_mark",
)

MARK: Final = "\ufeff"
_MARK: Final = MARK.encode()
SECRETIVE: Final = re.compile(r"[A-Za-z0-9]{40,}|[A-Z2-7]{20,}")
"""Finds text that could be a key or another secret, or part of one."""
_LINE: Final = re.compile(r"line (\d+)")
_MOST_REASON: Final = 160


def without_mark(content: bytes) -> bytes:
    """Return the content of a text file without one byte order mark in front."""
    return content.removeprefix(_MARK)


def decode_text(content: bytes) -> str:
    """Return the text of a file, without one byte order mark in front.

    Raises:
        UnicodeDecodeError: If it is not UTF-8. It holds the content: raise another one outside of
            the block that handles it.
    """
    return without_mark(content).decode()


def is_unicode(text: str | bytes) -> bool:
    """Return whether a text has no lone surrogate, or bytes are UTF-8."""
    try:
        text.encode() if isinstance(text, str) else text.decode()
    except UnicodeError:
        return False
    return True


def masked(text: str) -> str:
    """Return a text for an error, with "…" instead of anything that could be a secret."""
    return SECRETIVE.sub("…", text)


def parse_toml(text: str, source: str, error: type[Exception]) -> dict[str, Any]:
    """Return the tables of a text in TOML; a byte order mark in front is skipped.

    Args:
        text: The text.
        source: Names the text in errors.
        error: The class of errors; they quote nothing that could be a secret.

    Raises:
        error: If it is not TOML, is nested too deeply, or has an integer of too many digits; names
            the line.
    """
    line = "1"
    try:
        return loads(text.removeprefix(MARK))
    except TOMLDecodeError as found:
        what, _, place = str(found).rpartition(" (at ")
        if len(what) > _MOST_REASON or SECRETIVE.search(what):  # it quotes keys of the file
            what = "invalid"
        reason = f"not TOML: {what} (at {place}"
        at = _LINE.match(place)
        line = at[1] if at else str(text.count("\n") + 1)
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # of Python itself
        reason = "not TOML: an integer of too many digits"
    raise error(f"{source}, line {line}: {reason}")  # out here, without what holds the text
