"""Places of a document in errors: the first ones and their number, with names cut (F-33)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from xkeymsg.fields.pattern import pointer
from xkeymsg.shown import MOST_PLACES, cut

__all__ = ("Path", "Places", "place", "short_pointer")

Path = Sequence[str | int]

_MOST_POINTER: Final = 800
"""Characters of a pointer: a hostile document may be hundreds of long names deep."""


def short_pointer(path: Path) -> str:
    """Return the pointer to a place, with names cut, as Unicode text in any case."""
    names = [cut(each) if isinstance(each, str) else each for each in path]
    return cut(pointer(names), _MOST_POINTER).encode("utf-8", "backslashreplace").decode()


def place(path: Path) -> str:
    """Return the pointer to a place for an error; "the document" for the whole."""
    return short_pointer(path) or "the document"


class Places:
    """Collects places: it keeps the first ones and counts all."""

    __slots__ = ("count", "first")

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, path: Path) -> None:
        """Add a place."""
        self.count += 1
        if len(self.first) < MOST_PLACES:
            self.first.append(short_pointer(path))
