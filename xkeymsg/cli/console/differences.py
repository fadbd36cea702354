"""What another policy changes, decided at representative places.

The first rule that matches a field decides, so that a moved rule changes only the places that it
shares with others. Therefore a place is made for each pattern, and for each two patterns that match
a common place, and both policies are asked about it. A place has as few names in common with other
patterns as possible: what decides there, decides wherever only these patterns match.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import combinations
from time import monotonic
from typing import Any, Final, NamedTuple

from xkeymsg.cli.coverage import Path, PatternOf, covers, patterns_of
from xkeymsg.errors import PolicyError
from xkeymsg.fields.pattern import Segment
from xkeymsg.fields.policy import Policy

__all__ = ("PolicyDifference", "differences")

_MOST: Final = 300
"""Patterns of both policies that are compared."""
_LONGEST: Final = 5.0
"""Seconds for a comparison."""
_FRESH: Final = "\ue000"
"""A name that no pattern should have."""
_ANY: Final = Segment(None)

_Decisions = tuple[tuple[str, ...] | None, tuple[str, ...] | None]
"""The permissions before and after; None if no rule matches."""


class PolicyDifference(NamedTuple):
    """Places about which two policies decide differently."""

    patterns: tuple[str, ...]
    """The places that one pattern matches, or two."""
    before: tuple[str, ...] | None
    """The permissions; None if no rule matches."""
    after: tuple[str, ...] | None


def differences(before: Policy, after: Policy) -> tuple[list[PolicyDifference], int]:
    """Return the differences, and the number of patterns without any.

    Raises:
        PolicyError: If the policies have too many patterns.
    """
    end = monotonic() + _LONGEST
    old, new = patterns_of(before), patterns_of(after)
    if len(old) + len(new) > _MOST:
        raise PolicyError(f"{len(old)} and {len(new)} patterns: at most {_MOST} can be compared")
    unique = list({each.text: each for each in (*new, *old)}.values())
    found: dict[PolicyDifference, None] = {}
    known: dict[str, set[_Decisions]] = {}
    for one in unique:
        known[one.text] = set(_decisions(one.segments, (), old, new))
        found |= {PolicyDifference((one.text,), *each): None for each in known[one.text]}
    same = sum(not each for each in known.values())
    for one, other in combinations(unique, 2):
        if monotonic() > end:
            raise PolicyError(f"the policies take more than {_LONGEST:g} s to compare")
        for each in _decisions(one.segments, other.segments, old, new):
            if each not in known[one.text] | known[other.text]:
                found[PolicyDifference((one.text, other.text), *each)] = None
    return list(found), same


def _decisions(
    one: Sequence[Segment],
    other: Sequence[Segment],
    old: Sequence[PatternOf],
    new: Sequence[PatternOf],
) -> Iterator[_Decisions]:
    """Yield what both policies say of the places that two patterns match, if it differs."""
    for path, document in _places(one, other):
        was, will = (_readers(patterns, path, document) for patterns in (old, new))
        if was != will:
            yield was, will


def _readers(patterns: Sequence[PatternOf], path: Path, document: Any) -> tuple[str, ...] | None:
    for each in patterns:
        if covers(each.segments, path, document):
            return tuple(sorted(each.readers))
    return None


def _places(one: Sequence[Segment], other: Sequence[Segment]) -> Iterator[tuple[Path, Any]]:
    """Yield places that both patterns match: with `**` for nothing, and for more; and below."""
    is_deep = any(each.deep for each in (*one, *other))
    for pad in (0, 1) if is_deep else (0,):
        merged = _merge(_padded(one, pad), _padded(other, pad))
        if merged is None:
            continue
        for below in ((), (_ANY,)):
            made = _document((*merged, *below))
            if made is not None:
                yield made


def _padded(segments: Sequence[Segment], pad: int) -> list[Segment]:
    return [e for each in segments for e in ((*[_ANY] * pad, each) if each.deep else (each,))]


def _merge(one: Sequence[Segment], other: Sequence[Segment]) -> tuple[Segment, ...] | None:
    """Return the shortest pattern without `**` that two patterns both match; None without one."""
    left = deque([(0, 0, tuple[Segment, ...]())])
    seen = set[tuple[int, int]]()
    while left:
        at, by, merged = left.popleft()
        if (at, by) in seen:
            continue
        seen.add((at, by))
        if at == len(one) and by == len(other):
            return merged
        if at < len(one) and one[at].deep:
            left.appendleft((at + 1, by, merged))
        if by < len(other) and other[by].deep:
            left.appendleft((at, by + 1, merged))
        (first, at), (second, by) = _step(one, at), _step(other, by)
        if None in (first.name, second.name) or first.name == second.name:
            name = second.name if first.name is None else first.name
            left.append((at, by, (*merged, Segment(name, first.filters | second.filters))))
    return None


def _step(segments: Sequence[Segment], at: int) -> tuple[Segment, int]:
    """Return what a pattern demands of the next name of a path, and where it goes on."""
    if at == len(segments):
        return _ANY, at  # it matches everything below
    return (_ANY, at) if segments[at].deep else (segments[at], at + 1)


def _document(segments: Sequence[Segment]) -> tuple[Path, Any] | None:
    """Return a path and a document that has it; None if filters contradict each other."""
    path = tuple([each.name or _FRESH for each in segments])
    value: Any = 1
    for at in reversed(range(len(segments))):
        members = {each.name: each.value for each in segments[at].filters}
        if len(members) < len(segments[at].filters):
            return None
        if members and not isinstance(value, dict):
            return None  # a filter is about a map: there is a place below
        if members and any(isinstance(value.get(name), dict) for name in members):
            return None
        value = {path[at]: {**value, **members} if members else value}
    return path, value
