"""What is questionable about a policy: by itself, and for documents that it is meant for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final, NamedTuple

from xkeymsg.errors import FieldAmbiguousError, PolicyError
from xkeymsg.fields.matching import NO_PATTERN
from xkeymsg.fields.pattern import Segment, fold, parse_pattern, pointer
from xkeymsg.fields.policy import Decision, Policy

__all__ = ("covers", "findings", "notes", "paths_of")

_LITERAL: Final = re.compile(r"""[,;|\\?!#<>'`&]""")
"""What means something in other languages and stands for itself here."""
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


class _Pattern(NamedTuple):
    """One pattern of a policy."""

    rule: int
    text: str
    segments: tuple[Segment, ...]
    readers: frozenset[str]

    def __str__(self) -> str:
        return f"rule {self.rule} ({self.text!r})"


def findings(
    policy: Policy,
    documents: Mapping[str, Any] | None = None,
    readers: Mapping[str, object] | None = None,
) -> list[str]:
    """Return what is questionable.

    Args:
        policy: The policy.
        documents: Documents that it is meant for, by the names that findings give them.
        readers: Who holds each permission.
    """
    patterns = _patterns(policy)
    found = [*_odd_names(patterns), *_filters(policy, patterns)]
    if documents:
        found += _Documents(policy, patterns).findings(documents)
    if readers is not None:
        held = {name for name, keys in readers.items() if keys}
        found += [
            f"permission {name!r} has no readers"
            for name in sorted(policy.permissions - held - policy.allow_unread)
        ]
    return found


def notes(policy: Policy) -> list[str]:
    """Return what a policy's author should have decided: who reads fields that nobody named."""
    *before, last = _patterns(policy)
    for each in before if not last.segments else ():
        if last.readers - each.readers:
            return [
                f"{last} gives every field that no rule names, and every new one, to"
                f" {_names(last.readers)}, also next to what {each} gives to"
                f" {_names(each.readers)} alone"
            ]
    return []


def _patterns(policy: Policy) -> list[_Pattern]:
    return [
        _Pattern(number, text, parse_pattern(text), frozenset(rule.permissions))
        for number, rule in enumerate(policy.rules, 1)
        for text in rule.patterns
    ]


def _names(readers: frozenset[str]) -> str:
    return ", ".join(sorted(readers)) or "nobody"


def _odd_names(patterns: Sequence[_Pattern]) -> Iterator[str]:
    """Find names that are allowed, and that hardly any document has."""
    spelt: dict[tuple[tuple[Segment, ...], str], tuple[str, _Pattern]] = {}
    for each in patterns:
        bare = _QUOTED.sub('""', each.text)
        if odd := _LITERAL.search(bare):
            yield f"{each} has {odd[0]!r} in a name, where it stands for itself"
        if any(character != " " and not fold(character) for character in bare):
            yield f"{each.text!a} of rule {each.rule} has characters that cannot be seen"
        for at, segment in enumerate(each.segments):
            if segment.name is None:
                continue
            place = each.segments[:at], fold(segment.name)
            name, first = spelt.setdefault(place, (segment.name, each))
            if name != segment.name:
                yield f"{each} and {first} spell one name in two ways"


def _filters(policy: Policy, patterns: Sequence[_Pattern]) -> Iterator[str]:
    """Find what filters tell their readers, and what they leave to others."""
    for each in patterns:
        for at, segment in enumerate(each.segments, 1):
            for test in sorted(segment.filters, key=str):
                member = *each.segments[:at], Segment(test.name)
                hidden = each.readers - _readers(policy, member)
                if hidden:
                    yield (
                        f"{each}: the filter tells {_names(hidden)} the member {test.name!r},"
                        " which they may not read"
                    )
        if any(segment.filters for segment in each.segments):
            rest = _readers(policy, [each._replace(filters=frozenset()) for each in each.segments])
            if rest - each.readers:
                yield (
                    f"{each} is for fewer readers than what the filter leaves over, which"
                    f" {_names(rest - each.readers)} may read: whoever writes the document chooses."
                    " Filter what many may read, and leave the rest to few"
                )


def _readers(policy: Policy, segments: Sequence[Segment]) -> frozenset[str]:
    """Return who may read a place that a pattern matches, and no narrower one."""
    for state in policy.reach(segments):
        if state.rule != NO_PATTERN:
            return frozenset(policy.decide((), state.rule).permissions)
    return frozenset()


class _Field(NamedTuple):
    path: tuple[str | int, ...]
    document: Any
    decision: Decision


class _Documents:
    """What documents show of a policy."""

    def __init__(self, policy: Policy, patterns: Sequence[_Pattern]) -> None:
        self._policy = policy
        self._patterns = patterns
        self._numbers = {(each.rule, each.text): at for at, each in enumerate(patterns)}
        self._is_in = cache(self._is_contained)

    def findings(self, documents: Mapping[str, Any]) -> list[str]:
        found: dict[str, None] = {}
        fields: dict[object, _Field] = {}
        for name, document in documents.items():
            try:
                decisions = self._policy.explain(document)
            except FieldAmbiguousError as error:
                found[f"{name} cannot be sealed: {error}"] = None
                continue
            denied = [each.pointer for each in decisions if not each.permissions]
            if denied:
                more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
                found[f"{name} cannot be sealed: no rule for {denied[0]}{more}"] = None
            for path, decision in zip(paths_of(document), decisions, strict=True):
                shape = tuple([each if isinstance(each, str) else None for each in path])
                fields.setdefault((shape, decision[1:3]), _Field(path, document, decision))
        for check in (self._positions, self._taken, self._unused):
            found |= dict.fromkeys(check(fields.values()))
        return list(found)

    def _pattern_of(self, field: _Field) -> int:
        """Return the number of the pattern that decides about a field."""
        return self._numbers.get(field.decision[1:3], len(self._patterns))

    def _positions(self, fields: Collection[_Field]) -> Iterator[str]:
        """Find patterns that name positions of lists."""
        for field in fields:
            for each in self._patterns[self._pattern_of(field) :][:1]:
                names = {segment.name for segment in each.segments}
                for at, segment in enumerate(field.path):
                    if isinstance(segment, int) and str(segment) in names:
                        place = pointer(field.path[:at])
                        yield f"{each} names one position of the list {place}: /* matches all"

    def _taken(self, fields: Collection[_Field]) -> Iterator[str]:
        """Find what a pattern covers, and an earlier one decides for others."""
        for field in fields:
            number = self._pattern_of(field)
            for later in range(number + 1, len(self._patterns)):
                one, other = self._patterns[number], self._patterns[later]
                wider = one.readers - other.readers
                is_covered = wider and covers(other.segments, field.path, field.document)
                if is_covered and not self._is_in(number, later):
                    yield (
                        f"{other} covers {field.decision.pointer}, where {one} before it decides,"
                        f" for {_names(wider)} as well"
                    )

    def _is_contained(self, one: int, other: int) -> bool:
        """Tell whether whatever one pattern matches, the other does."""
        try:
            Policy([(self._patterns[other].text, ["x"]), (self._patterns[one].text, ["x"])])
        except PolicyError:
            return True
        return False

    def _unused(self, fields: Collection[_Field]) -> Iterator[str]:
        used = {self._pattern_of(field) for field in fields}
        places = {pointer(each.path[:at]) for each in fields for at in range(len(each.path) + 1)}
        for number, each in enumerate(self._patterns):
            if number in used:
                continue
            hidden = [
                field for field in fields if covers(each.segments, field.path, field.document)
            ]
            for field in hidden:
                first = self._pattern_of(field)
                if not self._is_in(first, number):  # a part of it, which is why it is first
                    yield (
                        f"{each} decides nothing in the documents: {self._patterns[first]}"
                        f" before it decides {field.decision.pointer}"
                    )
                    break
            if not hidden:
                close = get_close_matches(each.text, sorted(places), 1, 0.75)
                hint = f"; did you mean {close[0]}?" if close else ""
                yield f"{each} matches nothing in the documents{hint}"


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each field of a document, in its order."""
    items: Any = ()
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
    for segment, item in items:
        yield from paths_of(item, (*path, segment))
    if not items or not value:
        yield path


def covers(segments: Sequence[Segment], path: Sequence[str | int], value: Any) -> bool:
    """Tell whether a pattern matches a path of a document, or a prefix of it."""
    if not segments:
        return True
    (name, filters, deep), rest = segments[0], segments[1:]
    if deep and covers(rest, path, value):
        return True
    if not path or (name is not None and name != str(path[0])):
        return False
    below = value[path[0]]
    if any(
        not isinstance(below, dict) or type(below.get(each.name)) is not each.kind
        or below[each.name] != each.value
        for each in filters
    ):  # fmt: skip
        return False
    return covers(segments if deep else rest, path[1:], below)
