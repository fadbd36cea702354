"""Forms of values in documents, and the types whose forms are text.

A document holds the types of `SCALARS`, list and dict. A value of another type has a form: that of
a date is its ISO 8601 text, that of a set a list. A value is read by the type of its field, so
members of a union need forms that can be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import STRICT, Enum, Flag
from itertools import islice
from math import isfinite
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_origin
from uuid import UUID

from xkeymsg.display import MOST_PLACES
from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.models.hash_limit import find_excess
from xkeymsg.models.tree import Fault, Node, Path
from xkeymsg.places import place

__all__ = (
    "SCALARS",
    "TEXTS",
    "Shape",
    "alike",
    "check_depth",
    "choices_of",
    "exact",
    "first_misfits",
    "flaw_of_flag",
    "form_of",
    "from_form",
    "is_same",
    "key_text",
    "to_form",
)

SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes, Decimal, datetime, UUID})
_DEPTH: Final = 256
"""The maximum of any depth limit; a cycle exceeds it."""
_MOST_TEXT: Final = 64
_MOST_FLAGS: Final = 16
_MOST_REREAD: Final = 512
_MOST_MISFITS: Final = MOST_PLACES + 1
_DURATION: Final = re.compile(
    r"([+-]?)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,6}))?S)?)?", re.ASCII
)


def exact(value: Any, path: Path, lists: tuple[type, ...] = (list,)) -> Any:
    """Return a copy of a value of any type that a document holds as it is, or as a list.

    Raises:
        MalformedError: If it is or holds a value of another type; names the place.
        LimitExceededError: If it is too deep.
    """
    check_depth(path)
    if type(value) in lists:
        return [exact(each, (*path, at), lists) for at, each in enumerate(value)]
    if type(value) is dict:
        items = value.items()
        return {key_text(name, path): exact(each, (*path, name), lists) for name, each in items}
    if type(value) not in SCALARS:
        raise MalformedError(f"{place(path)}: a document cannot hold a {type(value).__name__}")
    return value


def check_depth(path: Path) -> None:
    """Raise a LimitExceededError if a place is deeper than any document."""
    if len(path) > _DEPTH:
        raise LimitExceededError(f"{place(path)}: depth of a document", len(path), _DEPTH)


def key_text(name: Any, path: Path) -> str:
    """Return a key of a dict, which must be a str."""
    if type(name) is not str:
        raise MalformedError(f"{place(path)}: a dict key must be a str, not {type(name).__name__}")
    return name


def _duration(value: timedelta) -> str:
    sign, value = ("-", -value) if value.days < 0 else ("", value)
    micros = f".{value.microseconds:06}" if value.microseconds else ""
    return f"{sign}P{value.days}DT{value.seconds}{micros}S"


def _read_duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None or text.endswith(("P", "T")):
        raise ValueError
    sign, *numbers, fraction = match.groups(default="")
    days, hours, minutes, seconds = (int(each or 0) for each in numbers)
    micros = int(fraction.ljust(6, "0"))
    value = timedelta(days, seconds, micros, hours=hours, minutes=minutes)
    return -value if sign == "-" else value


TEXTS: Final[Mapping[Any, tuple[Callable[[Any], str], Callable[[str], Any]]]] = MappingProxyType(
    {
        date: (date.isoformat, date.fromisoformat),
        time: (time.isoformat, time.fromisoformat),
        timedelta: (_duration, _read_duration),
    }
)
"""For types whose form is text: conversion to it, and from it."""


def _secret_of(kind: type) -> type | None:
    """Return the type that pydantic's SecretStr or SecretBytes wraps; None for other types."""
    names = [base.__name__ for base in kind.__mro__] if hasattr(kind, "get_secret_value") else ()
    return str if "SecretStr" in names else bytes if "SecretBytes" in names else None


def form_of(kind: Any) -> type | None:
    """Return the type of the form of an own type: date, Path, SecretStr…; None for other types."""
    if not isinstance(kind, type) or get_origin(kind) is not None:
        return None
    return str if kind in TEXTS or issubclass(kind, PurePath) else _secret_of(kind)


def to_form(value: Any) -> Any:
    """Return the form of a value whose type `form_of` knows.

    Raises:
        ValueError: If its type has none.
    """
    if type(value) in TEXTS:
        return TEXTS[type(value)][0](value)
    if isinstance(value, PurePath):
        return str(value)
    if _secret_of(type(value)) is not None:
        return value.get_secret_value()
    raise ValueError


def from_form(kind: Any, form: Any) -> Any:
    """Return the value of a type that has a form.

    Raises:
        ValueError, TypeError, OverflowError: If it has no such value.
    """
    if type(form) is not form_of(kind):
        raise TypeError
    if kind not in TEXTS:
        return kind(form)
    if not isinstance(form, str) or len(form) > _MOST_TEXT:
        raise ValueError
    return TEXTS[kind][1](form)


def choices_of(values: Sequence[Any]) -> dict[tuple[type, Any], Any] | None:
    """Return the values of an Enum or Literal by the type and value of their forms.

    None if a document cannot hold them as they are.
    """
    forms = [each.value if isinstance(each, Enum) else each for each in values]
    if any(
        type(form) not in SCALARS or (type(form) is float and not isfinite(form)) for form in forms
    ):
        return None
    return {(type(form), form): each for form, each in zip(forms, values, strict=True)}


def flaw_of_flag(kind: Any) -> str:
    """Return why reading values of an Enum could exhaust memory, or an empty string.

    A Flag keeps a member for every combination, or every int, that was ever read.
    """
    if not (isinstance(kind, type) and issubclass(kind, Flag)):
        return ""
    if kind._boundary_ is not STRICT:  # type: ignore[attr-defined]
        return f"{kind.__name__} keeps unknown bits in memory: declare it with boundary=STRICT"
    if kind._flag_mask_.bit_count() > _MOST_FLAGS:  # type: ignore[attr-defined]
        return f"{kind.__name__} has more than {_MOST_FLAGS} flags: use an int"
    return ""


def is_same(form: Any, value: Any, *, common: bool = False, floats: bool = False) -> bool:
    """Return whether two forms are equal, but for the order of sets.

    Args:
        form: A form.
        value: Another one.
        common: Whether to compare only the members that both have.
        floats: Whether an int may be in place of an equal float.
    """
    if type(form) is not type(value):
        return floats and {type(form), type(value)} == {int, float} and bool(form == value)
    if type(form) is dict:
        keys = form.keys() & value.keys()
        same = common or len(keys) == len(form) == len(value)
        return same and all(
            is_same(form[key], value[key], common=common, floats=floats) for key in keys
        )
    if isinstance(form, list | tuple):
        if len(form) != len(value):
            return False
        pairs = zip(form, value, strict=True)
        same = all(is_same(*pair, common=common, floats=floats) for pair in pairs)
        # Comparing sorted items with `is_same` would try each level twice.
        return same or sorted(map(repr, form)) == sorted(map(repr, value))
    return bool(form == value)


class Shape(NamedTuple):
    """The forms of a type, as far as they are known."""

    kinds: frozenset[Any] = frozenset({None})
    """The types of its forms; None stands for any."""
    values: frozenset[Any] | None = None
    """All its forms with their types, if it has a few."""
    native: bool = False
    """Whether its values are their forms."""
    tags: Mapping[str, frozenset[Any]] = MappingProxyType({})
    """The forms of some members of a dict, if these have a few."""


def alike(shapes: Sequence[Shape]) -> bool:
    """Return whether two of the types have forms that cannot be told apart."""
    return any(_alike(one, other) for at, one in enumerate(shapes) for other in shapes[at + 1 :])


def _alike(one: Shape, other: Shape) -> bool:
    if one.native and other.native:
        return False
    if None not in one.kinds | other.kinds and not one.kinds & other.kinds:
        return False
    if one.values is not None and other.values is not None:
        return bool(one.values & other.values)
    shared = one.tags.keys() & other.tags.keys()
    return all(one.tags[key] & other.tags[key] for key in shared)


def first_misfits(
    node: Node, value: Any, path: Path, read: Callable[[Any, Any], object]
) -> list[Fault]:
    """Return the first innermost places that do not fit, found by reading each value.

    Args:
        node: The place.
        value: The value of a document.
        path: Its path.
        read: Reads a value as a type; it raises any exception if that does not fit.
    """
    if find_excess(node, value, _MOST_REREAD):  # each level of a model is read again
        return [Fault(path)]
    return [Fault(each) for each in islice(_misfits(node, value, path, read), _MOST_MISFITS)]


def _misfits(
    node: Node, value: Any, path: Path, read: Callable[[Any, Any], object]
) -> Iterator[Path]:
    found = False
    if node.holds(value):
        for field, item, at in node.below(value, path):
            for each in _misfits(field.node, item, at, read):
                found = True
                yield each
    if not found:
        try:
            read(node.annotation, value)
        except Exception:  # noqa: BLE001 - of code of the model, and it may show the values
            yield path
