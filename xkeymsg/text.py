"""Text files that people write: UTF-8, of which a byte order mark in front is skipped."""

from __future__ import annotations

from typing import Final

__all__ = ("MARK", "decode_text", "is_unicode", "without_mark")

MARK: Final = "\ufeff"
_MARK: Final = MARK.encode()


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
