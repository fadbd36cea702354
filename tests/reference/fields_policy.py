"""Patterns, rules and readers (docs/spec/fields.md, Policy), and their files."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, Final, NoReturn

from tests.reference import nkeystring
from tests.reference.fields_model import Document, FieldsRefusalError, Path

PERMISSION: Final = re.compile(r"[a-z0-9._-]+")
SURROGATE: Final = re.compile("[\ud800-\udfff]")
RESERVED: Final = set('/"[]{}.*')
RESERVED_IN_FILTERS: Final = RESERVED | set("=!<>?^|$")

Scalar = str | int | None
Place = tuple[tuple[str, Document], ...]
"""Return the segments of a path as text, each with the value that it leads to."""


def invalid(rule: str) -> FieldsRefusalError:
    return FieldsRefusalError("policy_invalid", rule)


# --- patterns


@dataclass(frozen=True, slots=True)
class Step:
    name: str | None
    """The name; None for `*` and `**`."""
    deep: bool = False
    filters: tuple[tuple[str, Scalar], ...] = ()


Steps = tuple[Step, ...]


@dataclass(slots=True)
class Reader:
    """Reads a pattern, character by character."""

    text: str
    at: int = 0

    @property
    def next(self) -> str:
        return self.text[self.at : self.at + 1]

    def pattern(self) -> Steps:
        steps = []
        while self.at < len(self.text):
            self.expect("/")
            steps.append(self.segment())
        if len(steps) > 256 or sum(step.deep for step in steps) > 1:
            raise invalid("F-30")
        return tuple(steps[:-1] if steps and steps[-1].deep else steps)

    def expect(self, character: str) -> None:
        if self.next != character:
            raise invalid("F-30")
        self.at += 1

    def segment(self) -> Step:
        if self.text[self.at : self.at + 2] == "**":
            self.at += 2
            return Step(None, deep=True)
        name = None
        if self.next == "*":
            self.at += 1
        else:
            name = self.name(RESERVED)
        filters = []
        while self.next == "[":
            self.at += 1
            member = self.name(RESERVED_IN_FILTERS)
            self.expect("=")
            filters.append((member, self.value()))
            self.expect("]")
        return Step(name, filters=tuple(filters))

    def name(self, reserved: set[str]) -> str:
        if self.next == '"':
            return self.string()
        start = self.at
        while self.next and self.next not in reserved:
            self.at += 1
        raw = self.text[start : self.at]
        odd = raw in ("", "-") or raw[0] == ":" or "%2f" in raw.lower() or raw != raw.strip()
        if odd or SURROGATE.search(raw) or re.search("~(?![012])", raw):
            raise invalid("F-30")
        return re.sub("~(.)", lambda found: {"0": "~", "1": "/", "2": "*"}[found[1]], raw)

    def string(self) -> str:
        start = self.at
        self.at += 1
        while self.next and self.next != '"':
            self.at += 2 if self.next == "\\" else 1
        self.expect('"')
        try:
            read: str = json.loads(self.text[start : self.at])
        except ValueError:
            raise invalid("F-30") from None
        if SURROGATE.search(read):
            raise invalid("F-30")
        return read

    def value(self) -> Scalar:
        if self.next == '"':
            return self.string()
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        found = re.compile("-?(0|[1-9][0-9]{0,4299})").match(self.text, self.at)
        if found is None:
            raise invalid("F-30")
        self.at = found.end()
        return int(found[0])


@cache
def read_pattern(text: str) -> Steps:
    return Reader(text).pattern()


def pointer(path: Path) -> str:
    """Check one pattern (F-33)."""
    spelt = []
    for segment in map(str, path):
        bare = segment.replace("~", "~0").replace("/", "~1").replace("*", "~2")
        try:
            is_bare = read_pattern(f"/{bare}") == (Step(segment),)
        except FieldsRefusalError:
            is_bare = False
        is_bare = is_bare and segment.isprintable()
        quoted = json.dumps(segment, ensure_ascii=not segment.isprintable())
        spelt.append(f"/{bare if is_bare else quoted}")
    return "".join(spelt)


# --- look-alikes


def is_unseen(character: str) -> bool:
    code = ord(character)
    return (
        character.isspace()
        or unicodedata.category(character) == "Me"
        or code in (0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFEFF)
        or code in (0x13441, 0x16FE4)
        or any(
            first <= code <= last
            for first, last in (
                (0, 0x1F), (0x7F, 0x9F), (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E),
                (0x2060, 0x206F), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
                (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
            )
        )
    )  # fmt: skip


@cache
def fold(name: str) -> str:
    """Return the folded name; names that look alike fold to the same text (F-64)."""
    seen = "".join(one for one in name if not is_unseen(one))
    if len(seen) > 256:
        return name
    seen = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    letters = []
    for one in seen:
        mark = unicodedata.combining(one)
        if not is_unseen(one) and (mark in (0, 9) or 84 <= mark <= 132):
            letters.append(one)
    return "".join(letters)


NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,5})?")


def as_text(value: object) -> str | None:
    """The folded text of a value that is not a number."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float | Decimal):
        return None
    return fold(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def as_numbers(value: object) -> set[Fraction]:
    """The number that a value is, or its text writes."""
    text = as_text(value)
    if text is None:
        assert isinstance(value, bool | int | float | Decimal)
        return {Fraction(value)} | ({Fraction(repr(value))} if isinstance(value, float) else set())
    text = {"true": "1", "false": "0"}.get(text, text)
    found = NUMBER.fullmatch(text)
    digits = re.split("[.e]", text.lstrip("+-"))
    return {Fraction(text)} if found and all(len(each) <= 4300 for each in digits) else set()


def is_like(value: Document, wanted: Scalar) -> bool:
    """Return whether two values are equal except for type, spelling, or being in a list (F-63)."""
    if isinstance(value, list):
        return any(not isinstance(one, list) and is_like(one, wanted) for one in value)
    if isinstance(value, dict):
        return False
    texts = as_text(value), as_text(wanted)
    if None not in texts:
        return texts[0] == texts[1]
    return bool(as_numbers(value) & as_numbers(wanted))


def is_exactly(value: Document, wanted: Document) -> bool:
    return type(value) is type(wanted) and bool(value == wanted)


def holds(step: Step, value: Document, known: Collection[tuple[str, Scalar]] = ()) -> bool | None:
    """Return whether the filters of a step hold; None if that cannot be decided.

    A member that is exactly one of the known filters is not a look-alike.
    """
    if not step.filters:
        return True
    if isinstance(value, list):
        return None
    if not isinstance(value, dict):
        return False
    results = [
        True
        if name in value and is_exactly(value[name], wanted)
        else None
        if any(
            fold(str(k)) == fold(name)
            and is_like(v, wanted)
            and not any(k == other and is_exactly(v, one) for other, one in known)
            for k, v in value.items()
        )
        else False
        for name, wanted in step.filters
    ]
    return None if None in results else all(results)


# --- policies


@dataclass(frozen=True, slots=True)
class Rule:
    permissions: frozenset[str]
    pattern: str | tuple[str, ...]

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.pattern,) if isinstance(self.pattern, str) else tuple(self.pattern)


def matching(steps: Steps, place: Place) -> bool:
    """Return whether the steps lead to a place, including all filters."""
    if not steps:
        return not place
    step, rest = steps[0], steps[1:]
    if step.deep:
        return any(matching(rest, place[at:]) for at in range(len(place) + 1))
    if not place or step.name not in (None, place[0][0]):
        return False
    return holds(step, place[0][1]) is True and matching(rest, place[1:])


def without_last_filters(steps: Steps) -> Steps:
    return (*steps[:-1], Step(steps[-1].name, steps[-1].deep))


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]
    allow_unread: frozenset[str] = frozenset()

    @property
    def named(self) -> frozenset[str]:
        return frozenset().union(*(rule.permissions for rule in self.rules))

    @property
    def patterns(self) -> list[Steps]:
        return [read_pattern(text) for rule in self.rules for text in rule.patterns]

    @property
    def permissions(self) -> list[frozenset[str]]:
        """The permissions of each pattern."""
        return [rule.permissions for rule in self.rules for _ in rule.patterns]

    def check(self) -> None:
        """Check the policy (F-30, F-34, F-36, F-62)."""
        if not self.rules:
            raise invalid("F-34")
        for rule in self.rules:
            check_rule(rule)
        if not self.allow_unread <= self.named:
            raise invalid("F-36")
        for number in range(len(self.patterns)):
            if not self.is_reachable(number):
                raise FieldsRefusalError("policy_invalid", "F-62", number=self.rule_of(number))

    def rule_of(self, pattern: int) -> int:
        """Return the number of a pattern's rule, counted from 1."""
        owners = [number for number, rule in enumerate(self.rules, 1) for _ in rule.patterns]
        return owners[pattern]

    def check_readers(self, readers: Mapping[str, frozenset[str]]) -> None:
        """Check the readers (F-35): names, and the permissions that each holds."""
        held: frozenset[str] = frozenset().union(*readers.values())
        if self.named - held - self.allow_unread:
            raise invalid("F-35")

    # --- matching

    def first(self, place: Place) -> int | None:
        """Return the first pattern that covers a place (F-31)."""
        return next(
            (
                number
                for number, steps in enumerate(self.patterns)
                if any(matching(steps, place[:end]) for end in range(len(place) + 1))
            ),
            None,
        )

    def readers_of(self, place: Place) -> frozenset[str] | None:
        number = self.first(place)
        return None if number is None else self.permissions[number]

    def before(self, place: Place) -> list[Steps]:
        """Return the patterns before the one that covers a place."""
        return self.patterns[: self.first(place)]

    def tested(self, place: Place) -> list[tuple[int, Step]]:
        """Return the filters of each pattern that reaches a place, up to one that covers it."""
        found = []
        for number, steps in enumerate(self.patterns):
            if any(matching(steps, place[:end]) for end in range(len(place))):
                break
            if matching(steps, place) and not (steps and steps[-1].filters):
                break
            found += [
                (number, steps[end - 1])
                for end in range(1, len(steps) + 1)
                if place and matching(without_last_filters(steps[:end]), place)
            ]
        return found

    def is_odd(self, place: Place) -> bool:
        """Return whether a filter that is tested at a place cannot be decided (F-63)."""
        tested = self.tested(place)
        known = [each for _, step in tested for each in step.filters]
        first = self.first(place)
        return any(
            holds(step, place[-1][1], known) is None
            for number, step in tested
            if first is None or number < first
        )

    def names_at(self, place: Place) -> set[str]:
        """Return the names that patterns have for members of the value at a place."""
        return {
            name
            for steps in self.before(place)
            for at, step in enumerate(steps)
            if (name := step.name) is not None and matching(steps[:at], place)
        }

    def check_document(self, document: Document) -> None:
        """Refuse the first place, in document order, that is a look-alike (F-63, F-64)."""
        self.check_place((), document)

    def check_place(self, place: Place, value: Document, path: Path = ()) -> None:
        if self.is_odd(place):
            raise ambiguous("F-63", path)
        known = self.names_at(place)
        for segment, item in members(value):
            for twin in known if str(segment) not in known else ():
                if fold(twin) == fold(str(segment)) and self.differ(
                    (*place, (str(segment), item)), (*place, (twin, item)), item
                ):
                    raise ambiguous("F-64", (*path, segment))
        for segment, item in members(value):
            self.check_place((*place, (str(segment), item)), item, (*path, segment))

    def differ(self, one: Place, other: Place, value: Document) -> bool:
        """Return whether a field of a value has other readers at one place than at another."""
        odd = self.is_odd(one), self.is_odd(other)
        if any(odd):
            return odd[0] != odd[1]
        inside = list(members(value))
        if not inside:
            return self.readers_of(one) != self.readers_of(other)
        return any(
            self.differ((*one, (str(name), item)), (*other, (str(name), item)), item)
            for name, item in inside
        )

    # --- reachability

    def is_reachable(self, number: int) -> bool:
        """Return whether a pattern can decide any field (F-62)."""
        steps = self.patterns[number]
        longest = max(map(len, self.patterns))
        deep = any(step.deep for step in steps)
        filtered = any(step.filters for each in self.patterns for step in each)
        for depth in range(longest + 2 if deep else 1):
            place = instance(steps, depth)
            if place is None or self.first(place) != number:
                continue
            prefixes = (place[:end] for end in range(len(place) + 1))
            if not (filtered and any(map(self.is_odd, prefixes))):
                return True
        return False


def ambiguous(rule: str, path: Path) -> FieldsRefusalError:
    return FieldsRefusalError("field_ambiguous", rule, pointers=(pointer(path),))


def members(value: Document) -> Iterator[tuple[str | int, Document]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def wanted_by(step: Step) -> dict[str, Document] | None:
    """Return a map with the members that the filters of a step want; None if they contradict."""
    wanted: dict[str, Document] = {}
    for name, value in step.filters:
        if not is_exactly(wanted.setdefault(name, value), value):
            return None
    return wanted


def instance(steps: Steps, depth: int) -> Place | None:
    """Return a place that this pattern and few others match; `**` becomes `depth` names."""
    flat: list[Step] = []
    for step in steps:
        flat += [Step(None)] * depth if step.deep else [step]
    place: Place = ()
    for number, step in reversed(list(enumerate(flat))):
        wanted = wanted_by(step)
        if wanted is None:
            return None
        if place:
            below, value = place[0]
            if below in wanted and isinstance(value, dict):
                return None
            value = wanted.get(below, value)
            place = ((below, value), *place[1:])
            wanted[below] = value
        name = f"fresh name {number}" if step.name is None else step.name
        place = ((name, wanted or "fresh value"), *place)
    return place


def check_rule(rule: Rule) -> None:
    if not rule.patterns:
        raise invalid("F-37")
    for text in rule.patterns:
        read_pattern(text)
    if not rule.permissions or not all(map(PERMISSION.fullmatch, rule.permissions)):
        raise invalid("F-34")


# --- files


def located(refused: FieldsRefusalError, line: int | None, number: int | None = None) -> NoReturn:
    raise FieldsRefusalError(refused.code, refused.rule, line=line, number=number) from refused


def line_of(text: str, form: str, count: int = 1) -> int | None:
    """Return the line of the nth match; in these files, no text contains such a line."""
    lines = [n for n, line in enumerate(text.split("\n"), 1) if re.match(form, line)]
    return lines[count - 1] if len(lines) >= count else None


def parse_toml(file: bytes, rule: str) -> tuple[str, dict[str, Any]]:
    try:
        text = file.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise invalid(rule) from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        located(invalid(rule), int(found[1]) if found else None)


def texts(value: object, rule: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise invalid(rule)
    return value


def read_rule(table: object) -> Rule:
    if not isinstance(table, dict) or table.keys() != {"pattern", "readers"}:
        raise invalid("F-37")
    pattern = table["pattern"]
    if not isinstance(pattern, str):
        pattern = tuple(texts(pattern, "F-37"))
    rule = Rule(frozenset(texts(table["readers"], "F-37")), pattern)
    check_rule(rule)
    return rule


def read_policy(file: bytes) -> Policy:
    """Read a policy file (F-37, F-39)."""
    text, top = parse_toml(file, "F-37")
    if not top.keys() <= {"rule", "allow_unread"} or not isinstance(top.get("rule"), list):
        raise invalid("F-37")
    rules = []
    for number, table in enumerate(top["rule"], 1):
        try:
            rules.append(read_rule(table))
        except FieldsRefusalError as refused:
            located(refused, line_of(text, r"\s*\[\[\s*rule\s*\]\]", number), number)
    line = line_of(text, r"\s*allow_unread\s*=")
    try:
        policy = Policy(tuple(rules), frozenset(texts(top.get("allow_unread", []), "F-37")))
        policy.check()
    except FieldsRefusalError as refused:
        if refused.number is not None:
            line = line_of(text, r"\s*\[\[\s*rule\s*\]\]", refused.number)
        located(refused, None if refused.rule == "F-34" else line, refused.number)
    return policy


def read_recipient(text: str) -> tuple[bytes, bytes | None]:
    xkey, space, user = text.partition(" ")
    try:
        pair = nkeystring.xkey(xkey), nkeystring.user(user) if space else None
    except ValueError:
        raise FieldsRefusalError("key_format", "F-38") from None
    if pair[1] == bytes(32):
        raise FieldsRefusalError("key_format", "F-38")
    return pair


def read_readers(file: bytes) -> dict[str, list[tuple[bytes, bytes | None]]]:
    """Read a file of readers (F-38)."""
    _, top = parse_toml(file, "F-38")
    readers = top.get("readers")
    if top.keys() != {"readers"} or not isinstance(readers, dict):
        raise invalid("F-38")
    lists = {name: texts(value, "F-38") for name, value in readers.items()}
    if not all(map(PERMISSION.fullmatch, lists)):
        raise invalid("F-38")
    return {name: [read_recipient(one) for one in listed] for name, listed in lists.items()}
