"""Bounded texts of names and objects, for errors and reprs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

__all__ = (
    "MOST_NAME",
    "MOST_PLACES",
    "MOST_TEXT",
    "SafeRepr",
    "cut",
    "listed",
    "origin",
    "safe_repr",
)

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


def listed(first: Sequence[str], count: int | None = None, *, most: int = MOST_NAME) -> str:
    """Return the first names in one line, each cut at `most`, and how many more there are.

    Args:
        first: The names, or the first of them.
        count: The number of all names, if `first` does not hold all.
        most: Characters of each name.
    """
    shown = ", ".join([cut(each, most) for each in first[:MOST_PLACES]])
    more = (len(first) if count is None else count) - min(len(first), MOST_PLACES)
    return f"{shown}, and {more} more" if more > 0 else shown


def origin(error: BaseException) -> str:
    """Return the class of an error, and where it was raised: its text may hold content."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = type(error).__name__
    if trace is None:
        return name
    return f"{name} at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


def safe_repr(cls: _T) -> _T:
    """Let `repr` work on an object whose `__init__` has not finished; decorates a class.

    Error reporters show local variables, including `self` of a constructor that raised.
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


class SafeRepr:
    """Base class that applies `safe_repr` to its subclasses; dataclasses use the decorator."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__repr__" in vars(cls):
            safe_repr(cls)
