"""Coverage: the patterns of a policy, and the places in a document that they match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from xkeymsg.display import cut
from xkeymsg.errors import PolicyError
from xkeymsg.fields.pattern import Segment, parse_pattern
from xkeymsg.fields.policy import Policy
from xkeymsg.places import items_of, short_pointer
from xkeymsg.spelling import quoted

__all__ = (
    "Path", "PatternOf", "contains", "covered", "covers", "listed_readers", "paths_of",
    "patterns_of", "shown_shape",
)  # fmt: skip

Path = tuple[str | int, ...]


class PatternOf(NamedTuple):
    """One pattern of a policy."""

    rule: int
    text: str
    segments: tuple[Segment, ...]
    readers: frozenset[str]

    @property
    def name_at(self) -> int | None:
        """The index of its last segment that is a name and not a position."""
        found = [
            at for at, each in enumerate(self.segments) if each.name and not each.name.isdecimal()
        ]
        return found[-1] if found else None

    @property
    def is_position(self) -> bool:
        """Whether it ends in a number."""
        return bool(self.segments) and (self.segments[-1].name or "").isdecimal()

    @property
    def is_deep(self) -> bool:
        """Whether it has a `**` before its end."""
        return any(each.deep for each in self.segments)

    @property
    def is_whole(self) -> bool:
        """Whether it covers the whole document, or all of its members."""
        return all(each.name is None and not each.filters for each in self.segments)

    def __str__(self) -> str:
        return f"rule {self.rule} ({quoted(self.text)})"


def patterns_of(policy: Policy) -> list[PatternOf]:
    """Return the patterns of a policy, in order."""
    return [
        PatternOf(number, text, parse_pattern(text), frozenset(rule.permissions))
        for number, rule in enumerate(policy.rules, 1)
        for text in rule.patterns
    ]


def listed_readers(readers: frozenset[str]) -> str:
    """Format permissions for a message."""
    return cut(", ".join(sorted(readers)), 200) or "nobody"


def shown_shape(path: Path) -> str:
    """Format a place as a pattern, with `*` for list positions."""
    return "".join(["/*" if isinstance(each, int) else short_pointer([each]) for each in path])


def paths_of(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of each field, in document order."""
    items = items_of(value)
    for segment, item in items:
        yield from paths_of(item, (*path, segment))
    if not items:
        yield path


def covered(
    segments: Sequence[Segment], path: Sequence[str | int], value: Any, at: int = 0
) -> list[int] | None:
    """Return the positions in a path that the segments of a pattern match, or None.

    Args:
        segments: The pattern.
        path: The path.
        value: The document.
        at: The position of `path` in the whole path.

    Returns:
        For each segment its index in the path, -1 for `**`; None if the pattern does not match.
    """
    if not segments:
        return []
    (name, filters, deep), rest = segments[0], segments[1:]
    if deep:
        found = covered(rest, path, value, at)
        if found is None and path:
            return covered(segments, path[1:], value[path[0]], at + 1)
        return None if found is None else [-1, *found]
    if not path or (name is not None and name != str(path[0])):
        return None
    below = value[path[0]]
    if any(
        not isinstance(below, dict) or each.name not in below
        or type(below[each.name]) is not each.kind or below[each.name] != each.value
        for each in filters
    ):  # fmt: skip
        return None
    found = covered(rest, path[1:], below, at + 1)
    return None if found is None else [at, *found]


def covers(segments: Sequence[Segment], path: Sequence[str | int], value: Any) -> bool:
    """Return whether a pattern matches a path of a document, or a prefix of it."""
    return covered(segments, path, value) is not None


def contains(outer: PatternOf, inner: PatternOf) -> bool:
    """Return whether a pattern matches everything that another one does."""
    if not (outer.is_deep or inner.is_deep):
        pairs = zip(outer.segments, inner.segments, strict=False)
        if len(outer.segments) > len(inner.segments) or any(
            one.name not in (None, other.name) for one, other in pairs
        ):
            return False
    try:
        Policy([(outer.text, ["x"]), (inner.text, ["x"])])
    except PolicyError:
        return True
    return False
