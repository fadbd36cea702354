"""What errors and reprs show of names, texts and objects: always a bounded amount."""

from __future__ import annotations

from functools import wraps
from typing import Any, Final, TypeVar

__all__ = ("MOST_NAME", "MOST_PLACES", "MOST_TEXT", "cut", "listed", "safe_repr")

MOST_NAME: Final = 80
"""Characters of a name from outside."""
MOST_PLACES: Final = 20
"""Names or places in one error."""
MOST_TEXT: Final = 16_384
"""Characters of the text of an error."""

_T = TypeVar("_T", bound=type)


def cut(text: str, most: int = MOST_NAME) -> str:
    """Return a text of at most `most` characters; one that was cut ends in "…"."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(first: list[str] | tuple[str, ...], count: int) -> str:
    """Return the first of `count` names in one line, and how many more there are."""
    shown = ", ".join(first[:MOST_PLACES])
    more = count - min(len(first), MOST_PLACES)
    return f"{shown}, and {more} more" if more > 0 else shown


def safe_repr(cls: _T) -> _T:
    """Class decorator: `repr` also works on an object whose `__init__` has not finished.

    Error reporters show local variables, `self` of a constructor that raised included.
    """
    show: Any = cls.__repr__

    @wraps(show)
    def __repr__(self: object) -> str:  # noqa: N807 - it becomes a method
        try:
            return str(show(self))
        except AttributeError:
            return f"<{type(self).__name__}, not initialized>"

    cls.__repr__ = __repr__  # type: ignore[method-assign, assignment]
    return cls
