"""Tables for a terminal, safe for names from outside."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from xkeymsg.daemons.common.terminal import quote

__all__ = ("aligned", "bare", "place")

_BARE: Final = re.compile(r'[^\s"\\]+')
_GAP: Final = "  "


def bare(text: str) -> str:
    """Return text from outside unchanged if it is a single word, else quoted.

    A name with spaces could look like extra columns.
    """
    return text if text.isprintable() and _BARE.fullmatch(text) else quote(text)


def place(text: str) -> str:
    """Return a pointer or a pattern ready for pasting, or quoted if it could look like columns."""
    return text if text.isprintable() and text and _GAP not in text else quote(text)


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line per row, with aligned columns."""
    rows = list(rows)
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Return the width of a text in terminal columns."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
