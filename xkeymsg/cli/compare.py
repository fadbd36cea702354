"""Comparison of a policy with documents: patterns that decide, and fields that they expose.

Findings show member names, but never a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from json import dumps
from typing import Any, Final, NamedTuple

from xkeymsg.cli.coverage import (
    Path,
    PatternOf,
    contains,
    covered,
    covers,
    listed_readers,
    paths_of,
    shown_shape,
)
from xkeymsg.cli.findings import Finding
from xkeymsg.cli.similarity import is_similar
from xkeymsg.cli.trial import try_to_seal
from xkeymsg.display import MOST_PLACES, cut, listed
from xkeymsg.errors import FieldAmbiguousError, FieldDeniedError, XKeyMsgError
from xkeymsg.fields.pattern import Segment, fold, pointer
from xkeymsg.fields.policy import Decision, Policy
from xkeymsg.places import items_of, place, short_pointer

__all__ = ("Comparison",)

_MOST_SHOWN: Final = 200
"""Maximum characters of a place."""


class _Field(NamedTuple):
    path: Path
    document: Any
    decision: Decision
    name: str
    """The name of the document."""

    @property
    def shape(self) -> str:
        return cut(shown_shape(self.path), _MOST_SHOWN)


class _PlaceFindings:
    """Findings of one kind about several places: one line names the first and counts the rest."""

    def __init__(self) -> None:
        self._found: dict[object, tuple[str, str, bool, set[str]]] = {}

    def add(self, key: object, text: str, after: str, shape: str, *, is_error: bool) -> None:
        self._found.setdefault(key, (text, after, is_error, set()))[3].add(shape)

    def findings(self) -> Iterator[Finding]:
        for text, after, is_error, shapes in self._found.values():
            more = f" and {len(shapes) - 1} more" if len(shapes) > 1 else ""
            yield Finding(f"{text}{more}{after}", is_error)


class Comparison:
    """Documents matched against a policy."""

    def __init__(
        self, policy: Policy, patterns: Sequence[PatternOf], documents: Mapping[str, Any]
    ) -> None:
        self._policy = policy
        self._patterns = patterns
        self._numbers = {(each.rule, each.text): at for at, each in enumerate(patterns)}
        self._contains = cache(contains)
        self._refused: list[Finding] = []
        self._is_complete = bool(documents)
        fields: dict[object, _Field] = {}
        for name, document in documents.items():
            for field in self._fields_of(name, document):
                shape = tuple([each if isinstance(each, str) else None for each in field.path])
                fields.setdefault((shape, field.decision[1:3]), field)
        self._fields = list(fields.values())
        self.names = frozenset(
            [each for field in self._fields for each in field.path if isinstance(each, str)]
        )
        """The names in the documents."""

    def _fields_of(self, name: str, document: Any) -> Iterator[_Field]:
        """Yield the fields of a document, except at undecidable places."""
        sealable, decisions = self._decisions(name, document)
        denied = []
        for path, decision in decisions:
            field = _Field(path, sealable, decision, name)
            if not decision.permissions:
                denied.append(field)
            yield field
        if denied:
            more = f" and {len(denied) - 1} more" if len(denied) > 1 else ""
            where = f"{place(denied[0].path)}{more}{self._empty(denied)}"
            self._refuse(name, f"{FieldDeniedError.code}: no rule for {where}")
        elif decisions and sealable is document:
            try:
                try_to_seal(document, self._policy)
            except XKeyMsgError as error:
                self._refuse(name, f"{error.code}: {error}")

    def _decisions(self, name: str, document: Any) -> tuple[Any, list[tuple[Path, Decision]]]:
        """Return a document without its undecidable places, and each field with its decision."""
        for _ in range(MOST_PLACES):
            try:
                decisions = self._policy.explain(document)
                return document, list(zip(paths_of(document), decisions, strict=True))
            except XKeyMsgError as error:
                self._is_complete = False
                self._refuse(name, f"{error.code}: {error}")
                if not isinstance(error, FieldAmbiguousError):
                    break
                document = _without(document, error.pointers[0])
        return None, []

    def _refuse(self, name: str, why: str) -> None:
        self._refused.append(Finding(f"{name} cannot be sealed: {why}", is_error=True))

    def _empty(self, denied: Sequence[_Field]) -> str:
        """Return advice if an empty container is denied although a pattern covers its items."""
        for field in denied:
            if not isinstance(_value_at(field.document, field.path), dict | list):
                continue
            depth = len(field.path)
            for each in self._patterns:
                above = each.segments[:depth]
                is_longer = len(each.segments) > depth and not each.is_deep
                if is_longer and covers(above, field.path, field.document):
                    at = place(field.path)
                    return f"; {at} is empty, and {each} covers only its items: also name {at}"
        return ""

    def findings(self) -> Iterator[Finding]:
        """Yield the findings, most severe first."""
        found = [
            *self._refused, *self._unused(), *self._positions(), *self._elsewhere(),
            *self._taken(), *self._opened(),
        ]  # fmt: skip
        yield from dict.fromkeys(found)

    def decided(self, number: int) -> dict[str, list[str]]:
        """Return the distinct fields that a pattern decides, by document."""
        by: dict[str, list[str]] = {}
        for field in self._fields:
            if self._number(field) == number:
                by.setdefault(field.name, []).append(field.shape)
        return by

    def _number(self, field: _Field) -> int:
        """Return the number of the pattern that decides about a field."""
        return self._numbers.get(field.decision[1:3], len(self._patterns))

    def _pattern(self, field: _Field) -> PatternOf | None:
        number = self._number(field)
        return self._patterns[number] if number < len(self._patterns) else None

    def _positions(self) -> Iterator[Finding]:
        """Find patterns that name one position of a list.

        It is an error if the items are maps, and others may read the same fields of another item.
        """
        places, kinds = _PlaceFindings(), dict[PatternOf, dict[str, str]]()
        for field in self._fields:
            each = self._pattern(field)
            found = each and covered(each.segments, field.path, field.document)
            if each is None or not found:
                continue
            for segment, at in zip(each.segments, found, strict=True):
                index = field.path[at] if at >= 0 else ""
                if segment.name is None or not isinstance(index, int):
                    continue
                above = _value_at(field.document, field.path[:at])
                places.add(
                    (each, index),
                    f"{each} names position {index} of the list {place(field.path[:at])}",
                    ": /* matches every item",
                    shown_shape(field.path[:at]),
                    is_error=isinstance(above[index], dict) and not self._same(each, above),
                )
            if each.is_position:
                end = field.path[: found[-1] + 1]
                kind = _kind(_value_at(field.document, end))
                kinds.setdefault(each, {}).setdefault(kind, place(end))
        for pattern, by in kinds.items():
            if len(by) > 1:
                what = " but ".join([f"{kind} at {at}" for kind, at in by.items()])
                yield Finding(f"{pattern} matches {what}: lists may be nested to different depths")
        yield from places.findings()

    def _same(self, pattern: PatternOf, items: Sequence[Any]) -> bool:
        """Return whether nobody else may read the same fields of the other items of a list."""
        wider = [
            each._replace(name=None) if each.name and each.name.isdecimal() else each
            for each in pattern.segments
        ]
        others = [
            other
            for other in self._fields
            if covers(wider, other.path, other.document)
            and not covers(pattern.segments, other.path, other.document)
        ]
        return len(items) > 1 and all(
            set(each.decision.permissions) <= pattern.readers for each in others
        )

    def _elsewhere(self) -> Iterator[Finding]:
        """Find names that a pattern restricts, but that others may read at another place."""
        places = _PlaceFindings()
        keepers = [
            each for each in self._patterns if each.name_at is not None and not each.is_position
        ]
        if self._is_complete:  # `_unused` reports all others
            keepers = [each for each in keepers if self._covered_by(each)]
        for field in self._fields:
            decider = self._pattern(field)
            if decider is None:
                continue
            few = [
                each
                for each in keepers
                if each.readers < decider.readers
                and not covers(each.segments, field.path, field.document)
            ]
            named = {each.name for each in decider.segments}
            for at, name in enumerate(field.path) if few else ():
                if isinstance(name, int) or name in named:
                    continue
                for each in few:
                    kept = each.segments[each.name_at or 0].name or ""
                    is_same = fold(kept) == fold(name)
                    if not is_same and not self._is_near(each, kept, name, field):
                        continue
                    who = listed_readers(decider.readers - each.readers)
                    shape = cut(shown_shape(field.path[: at + 1]), _MOST_SHOWN)
                    hint = "" if each.is_deep else f"; did you mean /**{pointer([kept])}?"
                    places.add(
                        (each.readers, kept, name, decider),
                        f"{each} restricts {dumps(cut(kept))} to {listed_readers(each.readers)},"
                        f" but {decider} gives {shape}",
                        f" to {who}, too{hint if is_same else ': the names are similar'}",
                        shape,
                        is_error=False,
                    )
        yield from places.findings()

    def _covered_by(self, pattern: PatternOf) -> list[_Field]:
        """Return the fields that a pattern covers."""
        return [
            field for field in self._fields if covers(pattern.segments, field.path, field.document)
        ]

    def _is_near(self, pattern: PatternOf, kept: str, name: str, field: _Field) -> bool:
        """Return whether a similar name is where the pattern has its own."""
        at = pattern.name_at or 0
        if not is_similar(kept, name):
            return False
        segments = [*pattern.segments[:at], Segment(name)]
        return covers(segments, field.path, field.document)

    def _taken(self) -> Iterator[Finding]:
        """Find fields that a pattern covers, but that an earlier one gives to others."""
        places = _PlaceFindings()
        for field in self._fields:
            number = self._number(field)
            for later in range(number + 1, len(self._patterns)):
                one, other = self._patterns[number], self._patterns[later]
                wider = one.readers - other.readers
                is_covered = wider and covers(other.segments, field.path, field.document)
                if is_covered and not self._contains(other, one):
                    places.add(
                        (one, other),
                        f"{other} covers {field.shape}",
                        f", but {one} decides first and gives it to {listed_readers(wider)}, too",
                        field.shape,
                        is_error=False,
                    )
        yield from places.findings()

    def _opened(self) -> Iterator[Finding]:
        """Find patterns with `**` that give several places to more readers than the last rule."""
        last = self._patterns[-1]
        shapes: dict[PatternOf, dict[str, None]] = {}
        for field in self._fields:
            each = self._pattern(field)
            found = each and covered(each.segments, field.path, field.document)
            if each and found and each.is_deep and each.readers - last.readers:
                shape = cut(shown_shape(field.path[: found[-1] + 1]), _MOST_SHOWN)
                shapes.setdefault(each, {})[shape] = None
        for pattern, places in shapes.items():
            if len(places) > 1:
                usual = last.readers if last.is_whole else frozenset()
                who = listed_readers(pattern.readers - usual)
                yield Finding(f"{pattern} opens {listed([*places])} to {who}")

    def _unused(self) -> Iterator[Finding]:
        """Find patterns that decide nothing in the documents."""
        if not self._is_complete:
            return
        used = {self._number(field) for field in self._fields}
        places = {field.path[:at] for field in self._fields for at in range(1, len(field.path) + 1)}
        for number, each in enumerate(self._patterns):
            if number in used:
                continue
            hidden = self._covered_by(each)
            for field in hidden:
                first = self._patterns[self._number(field)]
                if not self._contains(each, first):  # else `first` is an intended exception
                    yield Finding(
                        f"{each} decides nothing in the documents: {first} decides"
                        f" {field.shape} first",
                        is_error=True,
                    )
                    break
            if not hidden:
                hint = self._hint(each, places)
                yield Finding(f"{each} matches nothing in the documents{hint}", is_error=True)

    def _hint(self, pattern: PatternOf, places: Iterable[Path]) -> str:
        """Return a hint with the place that a pattern was probably meant for."""
        plain = [each._replace(filters=frozenset()) for each in pattern.segments]
        if any(covers(plain, field.path, field.document) for field in self._fields):
            return "; its place exists, but its filter never matches"
        ranked = [(rank, place) for place in places if (rank := _rank(plain, place)) is not None]
        if not ranked:
            return ""
        _, place = min(ranked, key=lambda each: (each[0], shown_shape(each[1])))
        text = shown_shape(place)
        if fold(text) == fold(pattern.text):  # they look alike
            text = "".join(["/*" if isinstance(each, int) else _escaped(each) for each in place])
        return f"; did you mean {cut(text, _MOST_SHOWN)}?"


def _rank(segments: Sequence[Segment], place: Path) -> tuple[int, int] | None:
    """Return the distance of a place from a pattern, lower is closer; None if unrelated."""
    named = [each for each in segments if not each.deep]
    names = [each.name for each in named]
    last = place[-1]
    if not names or isinstance(last, int):
        return None
    if len(names) == len(segments) == len(place) and all(
        _alike(name, step) for name, step in zip(names, place, strict=True)
    ):
        changed = sum(name != step for name, step in zip(names, place, strict=True))
        return 0, changed
    if names[-1] is None:
        return None
    if fold(names[-1]) == fold(last):
        return 1, abs(len(place) - len(names)) - sum(name in place for name in names)
    if len(names) < len(segments) and is_similar(names[-1], last):
        return 2, len(place)
    return None


def _alike(name: str | None, step: str | int) -> bool:
    if name is None or isinstance(step, int):
        return name is None or name.isdecimal()
    return fold(name) == fold(step) or is_similar(name, step)


def _escaped(name: str) -> str:
    spelt = pointer([name])
    return spelt if name.isascii() else f"/{dumps(name)}"


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a map" if isinstance(value, dict) else "a list"
    return "a single value"


def _value_at(document: Any, path: Path) -> Any:
    for each in path:
        document = document[each]
    return document


def _without(document: Any, place: str) -> Any:
    """Return a copy of a document without the value at a place named by an error."""
    copy = deepcopy(document)
    open_: list[tuple[Path, Any]] = [((), copy)]
    while open_:
        path, value = open_.pop()
        for name, item in items_of(value):
            if short_pointer((*path, name)) != place:
                open_.append(((*path, name), item))
            elif isinstance(value, dict):
                del value[name]
                return copy
            else:
                value[name] = None
                return copy
    return None
