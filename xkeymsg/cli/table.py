"""Tables for a terminal: plain text in columns, also where names come from outside."""

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
    """Return text from outside as it is if it can only be one word, else quoted.

    A name with spaces in it could look like more columns than there are.
    """
    return text if text.isprintable() and _BARE.fullmatch(text) else quote(text)


def place(text: str) -> str:
    """Return a pointer or a pattern so that it can be pasted, if it cannot look like columns."""
    return text if text.isprintable() and text and _GAP not in text else quote(text)


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return one line for each row, its cells below one another."""
    rows = list(rows)
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP.join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
