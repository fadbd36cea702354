"""Armoured envelopes: an envelope as text, in exactly one form (docs/spec/text.md)."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.errors import LimitExceededError, MalformedError

__all__ = ("BEGIN", "armour", "dearmour", "is_armoured")

BEGIN: Final = "-----BEGIN XKM1 ENVELOPE-----"
_END: Final = "-----END XKM1 ENVELOPE-----"
_COLUMNS: Final = 64
_MAGIC: Final = b"xkm1\x96"
_MOST: Final = 8 << 20
"""Bytes of an envelope, by default."""


def armour(envelope: Buffer) -> str:
    """Return an envelope as text.

    Args:
        envelope: A sealed message, in the format xkm1.

    Raises:
        MalformedError: If it does not begin as an envelope.
        TypeError: If it is not a buffer.
    """
    data = as_bytes("an envelope", envelope)
    if not data.startswith(_MAGIC):
        raise MalformedError("only envelopes of the format xkm1 can be armoured")
    text = base64.b64encode(data).decode()
    lines = [text[at : at + _COLUMNS] for at in range(0, len(text), _COLUMNS)]
    return "\n".join([BEGIN, *lines, _END, ""])


def is_armoured(content: bytes) -> bool:
    """Return whether bytes begin like an armoured envelope."""
    return content.startswith(BEGIN.encode())


def dearmour(text: str, *, limit: int = _MOST) -> bytes:
    """Return the envelope of an armoured text; nothing in it is verified.

    Args:
        text: The text, without anything before or after it.
        limit: The greatest size of the envelope in bytes.

    Raises:
        LimitExceededError: If it is too long.
        MalformedError: If it is not in the one form that `armour` makes.
        TypeError: If it is not a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"an armoured envelope must be a str, not {type(text).__name__}")
    most = _length(limit)
    if len(text) > most:
        raise LimitExceededError("characters of an armoured envelope", len(text), most)
    if not text.startswith(f"{BEGIN}\n"):
        raise MalformedError(f"armour, line 1: expected {BEGIN!r} alone")
    if not text.endswith(f"\n{_END}\n"):
        raise MalformedError(f"armour, last line: expected {_END!r} alone, and a line feed")
    body = text[len(BEGIN) + 1 : -len(_END) - 2]
    try:
        envelope = base64.b64decode(body.replace("\n", "").encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        envelope = b""
    if not envelope.startswith(_MAGIC) or armour(envelope) != text:
        raise MalformedError(f"armour, line {_first_wrong(body)}: {_FORM}")
    return envelope


_FORM: Final = f"expected base64 of an xkm1 envelope, {_COLUMNS} characters a line"


def _length(size: int) -> int:
    """Return the length of the armour of an envelope of a size."""
    characters = (size + 2) // 3 * 4
    return len(BEGIN) + len(_END) + 2 + characters + -(-characters // _COLUMNS)


def _first_wrong(body: str) -> int:
    """Return the number of the first line that no armour has there; 2 if each line is possible."""
    lines = body.split("\n")
    for number, line in enumerate(lines, 2):
        is_last = number == len(lines) + 1
        full = len(line) == _COLUMNS or (is_last and 0 < len(line) < _COLUMNS)
        plain = line if not is_last else line.rstrip("=")
        if not full or not plain.replace("+", "a").replace("/", "a").isalnum():
            return number
        if not plain.isascii():
            return number
    return len(lines) + 1 if body.startswith("eGttMZ") else 2
