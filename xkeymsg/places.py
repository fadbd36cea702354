"""Places of a document in errors: the first ones and their number, names truncated (F-33)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from xkeymsg.display import MOST_PLACES, cut
from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.pattern import pointer

__all__ = ("Path", "first_places", "items_of", "located", "place", "short_pointer")

Path = Sequence[str | int]

_MOST_POINTER: Final = 800
"""Characters of a pointer: a hostile document may be hundreds of long names deep."""


def items_of(value: Any) -> Sequence[tuple[str | int, Any]]:
    """Return the names or indices in a container with their values; nothing for a scalar."""
    if type(value) is dict:
        return list(value.items())
    return list(enumerate(value)) if type(value) is list else ()


def short_pointer(path: Path) -> str:
    """Return the pointer to a place, with truncated names and escaped lone surrogates."""
    names = [cut(each) if isinstance(each, str) else each for each in path]
    return cut(pointer(names), _MOST_POINTER).encode("utf-8", "backslashreplace").decode()


def place(path: Path) -> str:
    """Return the pointer to a place for an error; "the document" for the root."""
    return short_pointer(path) or "the document"


def first_places(paths: Iterable[Path]) -> tuple[tuple[str, ...], int]:
    """Return the pointers of the first places, and the number of all places."""
    left = iter(paths)
    first = tuple(map(short_pointer, islice(left, MOST_PLACES)))
    return first, len(first) + sum(1 for _ in left)


def located(
    error: MalformedError | LimitExceededError, path: Path
) -> MalformedError | LimitExceededError:
    """Return a copy of an error that names the place of the fault."""
    if isinstance(error, LimitExceededError):
        return type(error)(f"{place(path)}: {error.what}", error.actual, error.limit)
    return type(error)(f"{place(path)}: {error}")
