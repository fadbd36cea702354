"""Patterns, rules and readers (docs/spec/fields.md, Policy), and their files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from tests.reference import nkeystring
from tests.reference.fields_model import FieldsRefusalError, Path

STAR: Final = None  # in a parsed pattern: any segment
PERMISSION: Final = re.compile(r"[a-z0-9._-]+")
SURROGATE: Final = re.compile("[\ud800-\udfff]")
ESCAPED: Final = {"0": "~", "1": "/", "2": "*"}


def invalid(rule: str) -> FieldsRefusalError:
    return FieldsRefusalError("policy_invalid", rule)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Segments without a last `**`, and whether there is one."""

    segments: tuple[str | None, ...]
    below: bool

    def matches(self, path: Path) -> bool:
        n = len(self.segments)
        if len(path) < n or (len(path) > n and not self.below):
            return False
        return all(
            wanted is STAR or wanted == str(segment)
            for wanted, segment in zip(self.segments, path, strict=False)
        )


def read_pattern(text: str) -> Pattern:
    if SURROGATE.search(text):
        raise invalid("F-30")
    if not text:
        return Pattern((), below=False)
    if not text.startswith("/"):
        raise invalid("F-30")
    parts = text[1:].split("/")
    below = parts[-1] == "**"
    return Pattern(tuple(map(segment, parts[:-1] if below else parts)), below)


def segment(text: str) -> str | None:
    if text == "*":
        return STAR
    if "*" in text or re.search("~(?![012])", text):
        raise invalid("F-30")
    return re.sub("~(.)", lambda match: ESCAPED[match[1]], text, flags=re.DOTALL)


def pointer(path: Path) -> str:
    """F-33."""
    escaped = str.maketrans({"~": "~0", "/": "~1", "*": "~2"})
    return "".join(f"/{str(one).translate(escaped)}" for one in path)


@dataclass(frozen=True, slots=True)
class Rule:
    permissions: frozenset[str]
    pattern: str


@dataclass(frozen=True, slots=True)
class Policy:
    rules: tuple[Rule, ...]
    allow_unread: frozenset[str] = frozenset()

    @property
    def named(self) -> frozenset[str]:
        return frozenset().union(*(rule.permissions for rule in self.rules))

    def check(self) -> None:
        """F-30, F-34, F-36."""
        if not self.rules:
            raise invalid("F-34")
        for rule in self.rules:
            check_rule(rule)
        if not self.allow_unread <= self.named:
            raise invalid("F-36")

    def check_readers(self, readers: Mapping[str, frozenset[str]]) -> None:
        """F-35; readers are names and the permissions that each holds."""
        held: frozenset[str] = frozenset().union(*readers.values())
        if self.named - held - self.allow_unread:
            raise invalid("F-35")

    def permissions(self, path: Path) -> frozenset[str] | None:
        """Of a field with this path (F-31); None if no rule matches."""
        for rule in self.rules:
            if read_pattern(rule.pattern).matches(path):
                return rule.permissions
        return None


def check_rule(rule: Rule) -> None:
    read_pattern(rule.pattern)
    if not rule.permissions or not all(map(PERMISSION.fullmatch, rule.permissions)):
        raise invalid("F-34")


# --- files


def located(refused: FieldsRefusalError, line: int | None, number: int | None = None) -> NoReturn:
    raise FieldsRefusalError(refused.code, refused.rule, line=line, number=number) from refused


def line_of(text: str, form: str, count: int = 1) -> int | None:
    """The line of the nth match; the files here have no such line within a text."""
    lines = [n for n, line in enumerate(text.split("\n"), 1) if re.match(form, line)]
    return lines[count - 1] if len(lines) >= count else None


def parse_toml(file: bytes, rule: str) -> tuple[str, dict[str, Any]]:
    try:
        text = file.decode("utf-8")
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
    if not isinstance(table["pattern"], str):
        raise invalid("F-37")
    rule = Rule(frozenset(texts(table["readers"], "F-37")), table["pattern"])
    check_rule(rule)
    return rule


def read_policy(file: bytes) -> Policy:
    """F-37, F-39."""
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
        located(refused, None if refused.rule == "F-34" else line)
    return policy


def read_recipient(text: str) -> tuple[bytes, bytes | None]:
    xkey, space, user = text.partition(" ")
    try:
        return nkeystring.xkey(xkey), nkeystring.user(user) if space else None
    except ValueError:
        raise FieldsRefusalError("key_format", "F-38") from None


def read_readers(file: bytes) -> dict[str, list[tuple[bytes, bytes | None]]]:
    """F-38."""
    _, top = parse_toml(file, "F-38")
    readers = top.get("readers")
    if top.keys() != {"readers"} or not isinstance(readers, dict):
        raise invalid("F-38")
    lists = {name: texts(value, "F-38") for name, value in readers.items()}
    if not all(map(PERMISSION.fullmatch, lists)):
        raise invalid("F-38")
    return {name: [read_recipient(one) for one in listed] for name, listed in lists.items()}
