"""The token of the HTTP sink."""

from __future__ import annotations

from pathlib import Path

from xkeymsg.errors import ConfigurationError
from xkeymsg.text import path_text, without_mark

__all__ = ("read_token",)


def read_token(path: Path) -> str:
    """Read a bearer token.

    Raises:
        ConfigurationError: If it cannot be read, is readable by others, or is not a valid token.
            The message shows nothing of it.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError(f"{path}: others can read it; chmod 600 it")
        text = without_mark(path.read_bytes()[:8192]).decode("ascii", "replace").strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path_text(path)}: {error.strerror}") from None
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError(f"{path}: expected one token of printable ASCII")
    return text
