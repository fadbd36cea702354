"""What a policy means, field by field and slowly: nothing here is shared with the package."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from xkeymsg import WITHHELD

Path = tuple[str | int, ...]
Rules = Sequence[tuple[str, Sequence[str]]]

MISSING: Final = object()
"""Instead of a value that must not be visible."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field of a document, in its order; withheld ones are not fields."""
    if value and isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for segment, item in items:
            yield from leaves(item, (*path, segment))
    elif value is not WITHHELD:
        yield path, value


def segments(pattern: str) -> list[str]:
    """The segments of a pattern without filters; a name in quotes has no slash but as ~1 or /."""
    return re.findall(r'/("[^"]*"|[^/]*)', pattern)


def spellings(name: str) -> tuple[str, ...]:
    """How a pattern can have a name."""
    bare = name.replace("~", "~0").replace("/", "~1").replace("*", "~2")
    return "*", f'"{name}"', *([bare] if name else [])


def matches(pattern: str, path: Path) -> bool:
    """Whether a pattern without filters covers a path."""

    def covers(wanted: list[str], names: list[str]) -> bool:
        if not wanted:
            return True
        if wanted[0] == "**":
            return any(covers(wanted[1:], names[at:]) for at in range(len(names) + 1))
        return bool(names) and wanted[0] in spellings(names[0]) and covers(wanted[1:], names[1:])

    return covers(segments(pattern), [str(segment) for segment in path])


def first(rules: Rules, path: Path) -> int | None:
    """The number, from 0, of the first rule that matches."""
    return next((n for n, (pattern, _) in enumerate(rules) if matches(pattern, path)), None)


def readers(rules: Rules, path: Path) -> frozenset[str]:
    number = first(rules, path)
    return frozenset() if number is None else frozenset(rules[number][1])


def view(value: Any, allowed: Callable[[Path], bool], path: Path = ()) -> Any:
    """What is to be seen of a value: the fields that are allowed at their places, or `MISSING`."""
    if not value or not isinstance(value, dict | list):
        return value if allowed(path) else MISSING
    if isinstance(value, dict):
        members = {name: view(item, allowed, (*path, name)) for name, item in value.items()}
        return {name: item for name, item in members.items() if item is not MISSING} or MISSING
    items = [view(item, allowed, (*path, index)) for index, item in enumerate(value)]
    while items and items[-1] is MISSING:
        items.pop()
    return [WITHHELD if item is MISSING else item for item in items] or MISSING


def exact(value: Any, *, ordered: bool = False) -> Any:
    """A form in which values are equal only if their kinds are, and the last bit of a number."""
    match value:
        case dict():
            members = [(name, exact(item, ordered=ordered)) for name, item in value.items()]
            return "map", members if ordered else sorted(members)
        case list():
            return "list", [exact(item, ordered=ordered) for item in value]
        case float():
            return "float", struct.pack(">d", value).hex()
        case Decimal():
            return "Decimal", repr(value.as_tuple())
        case datetime():
            return "time", repr((value.replace(tzinfo=None, fold=0), value.utcoffset()))
    return type(value).__name__, repr(value)
