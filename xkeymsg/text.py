"""Text files that people write: UTF-8, with an optional byte order mark."""

from __future__ import annotations

import re
from base64 import b64decode
from pathlib import Path
from tomllib import TOMLDecodeError, loads
from typing import Any, Final, TypeGuard

__all__ = (
    "MARK",
    "SECRETIVE",
    "decode_text",
    "is_texts",
    "is_unicode",
    "masked",
    "may_be_secret",
    "parse_toml",
    "path_text",
    "without_mark",
)

MARK: Final = "\ufeff"
_MARK: Final = MARK.encode()
SECRETIVE: Final = re.compile(r"[A-Za-z0-9]{40,}|[A-Z2-7]{20,}")
"""Finds text that could be a key or another secret, or part of one."""
_TELLTALE: Final = re.compile(r"-{3}|eyJ|:.*@|\Adata:")
"""Finds a PEM marker, the start of a JWT, an address with a password, or a data URI."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_LINE: Final = re.compile(r"line (\d+)")
_MOST_REASON: Final = 160
_ENDED: Final = re.compile(r"""(?<=[=\[,])\s*"/[^"]*"[^\s,\]#"]""")
"""Finds a pattern in double quotes that ends at a quote within it."""


def without_mark(content: bytes) -> bytes:
    """Return the content of a text file without one leading byte order mark."""
    return content.removeprefix(_MARK)


def decode_text(content: bytes) -> str:
    """Decode the content of a text file, without one leading byte order mark.

    Raises:
        UnicodeDecodeError: If it is not UTF-8. The exception holds the content: raise another one
            outside of the block that handles it.
    """
    return without_mark(content).decode()


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


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


def may_be_secret(text: str) -> bool:
    """Return whether a text could be, or hold, a key, credentials or an address with a password."""
    packed = "".join(text.split())
    if SECRETIVE.search(packed) or _TELLTALE.search(text) or not text.isprintable():
        return True
    digits = packed.rstrip("=")
    if not _BASE64.fullmatch(packed) or len(digits) % 4 == 1:
        return False
    standard = digits.replace("-", "+").replace("_", "/")
    decoded = b64decode(standard + "=" * (-len(digits) % 4))
    return packed != digits or (decoded.isascii() and decoded.decode().isprintable())


def path_text(path: str | Path) -> str:
    """Return a path for an error; one that could be a secret given by mistake is not shown."""
    if not may_be_secret(str(path)):
        return str(path)
    return "a file (its name is not shown: it looks like a secret, not like a file name)"


def parse_toml(text: str, source: str, error: type[Exception]) -> dict[str, Any]:
    """Parse TOML text; a leading byte order mark is skipped.

    Args:
        text: The text.
        source: The name of the text, for errors.
        error: The class of the errors to raise; they quote nothing that could be a secret.

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
        if _ENDED.search("".join(text.splitlines()[int(line) - 1 : int(line)])):
            reason += "; write a text that holds double quotes in single quotes"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # Python's limit
        reason = "not TOML: an integer of too many digits"
    raise error(f"{source}, line {line}: {reason}")  # not above: its context would hold the text
