"""Parsing of policy files and readers files in TOML (spec, "Files")."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from xkeymsg.display import cut
from xkeymsg.errors import KeyFormatError, PolicyError
from xkeymsg.files import read_text
from xkeymsg.keys import Recipient, XKey
from xkeymsg.nkey import is_seed
from xkeymsg.refusals import refusing
from xkeymsg.spelling import quoted
from xkeymsg.suggestions import did_you_mean
from xkeymsg.text import is_texts, masked, parse_toml, path_text

__all__ = (
    "PERMISSION",
    "PolicyFile",
    "check_permissions",
    "load_readers",
    "parse_policy",
    "parse_readers",
)

PERMISSION: Final = re.compile(r"[a-z0-9._-]+")
"""A valid permission name."""

_RULE: Final = re.compile(r"""^\ufeff?[ \t]*\[\[[ \t]*["']?rule["']?[ \t]*\]\]""", re.MULTILINE)
_NUMBER: Final = re.compile(r"rule (\d+): ")


class PolicyFile(NamedTuple):
    """The contents of a policy file, with line numbers."""

    source: str
    rules: list[tuple[list[str], list[str]]]
    """Patterns and permissions of each rule."""
    allow_unread: list[str]
    lines: list[int]
    """The first line of each rule."""
    line: int
    """The line of `allow_unread`."""

    def located(self, error: PolicyError) -> PolicyError:
        """Return an error of `Policy` with its location in this file."""
        found = _NUMBER.match(str(error))
        at = self.lines[int(found[1]) - 1] if found else self.line
        return PolicyError(f"{self.source}, line {at}{',' if found else ':'} {error}")


def check_permissions(names: Any, where: str) -> tuple[str, ...]:
    """Return the permission names without duplicates.

    Raises:
        PolicyError: If `names` is not an iterable of valid names (F-34); mentions `where`.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise PolicyError(f"{where}: permissions must be a list of strings")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not PERMISSION.fullmatch(name) or is_seed(name):
            said = f"invalid permission name {cut(masked(repr(name)))} (allowed: a-z 0-9 . _ -)"
            raise PolicyError(f"{where}: {said}")
    return tuple(dict.fromkeys(names))


def parse_policy(text: str, source: str) -> PolicyFile:
    """Parse a policy in TOML.

    Raises:
        PolicyError: If it is invalid; names `source`, the line and the rule (F-37, F-39).
    """
    settings = parse_toml(text, source, PolicyError)
    lines = _rule_lines(text)
    line = _line_of(text, "allow_unread")
    if unknown := sorted(settings.keys() - {"rule", "allow_unread"}):
        at = _line_of(text, unknown[0])
        near = did_you_mean(unknown[0], ("rule", "allow_unread")) or "; known: rule, allow_unread"
        raise PolicyError(f"{source}, line {at}: unknown setting {quoted(cut(unknown[0]))}{near}")
    rules = settings.get("rule")
    if not isinstance(rules, list) or not rules:
        at = _line_of(text, "rule")
        raise PolicyError(f"{source}, line {at}: expected at least one [[rule]]")
    if len(lines) != len(rules):  # another TOML syntax, such as an inline array
        lines = [_line_of(text, "rule")] * len(rules)
    pairs = [
        _rule(rule, f"{source}, line {at}, rule {number}")
        for number, (rule, at) in enumerate(zip(rules, lines, strict=True), 1)
    ]
    allowed = settings.get("allow_unread", [])
    if not is_texts(allowed):
        raise PolicyError(f"{source}, line {line}: allow_unread must be a list of permissions")
    return PolicyFile(source, pairs, allowed, lines, line)


def _rule(rule: Any, where: str) -> tuple[list[str], list[str]]:
    keys = rule.keys() if isinstance(rule, dict) else set()
    known = {"pattern", "readers"}
    for key in [*sorted(keys - known), *sorted(known - keys)]:
        fault = f"{'unknown' if key in keys else 'missing'} key {quoted(cut(key))}"
        raise PolicyError(f"{where}: {fault}: a rule has exactly `pattern` and `readers`")
    patterns, readers = rule["pattern"], rule["readers"]
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not is_texts(patterns):
        raise PolicyError(f"{where}: `pattern` must be a string or a list of strings")
    if not is_texts(readers):
        raise PolicyError(f'{where}: `readers` must be a list of strings, such as ["clinic"]')
    return patterns, readers


def load_readers(path: str | Path) -> dict[str, list[Recipient]]:
    """Load a readers file: the holders of each permission.

    Raises:
        PolicyError: If it cannot be read or is invalid.
        KeyFormatError: If a reader is not a valid key.
    """
    return parse_readers(read_text(Path(path), PolicyError), source=path_text(path))


@refusing
def parse_readers(text: str, source: str = "readers") -> dict[str, list[Recipient]]:
    """Parse the holders of each permission from TOML.

    Raises:
        PolicyError: If the TOML is invalid (F-38).
        KeyFormatError: If a reader is neither a key `X…` nor a key and a user `X… U…`.
    """
    settings = parse_toml(text, source, PolicyError)
    table = settings.get("readers")
    if settings.keys() != {"readers"} or not isinstance(table, dict):
        raise PolicyError(f"{source}: expected a [readers] table and nothing else")
    readers = {}
    for permission, keys in table.items():
        check_permissions([permission], source)
        name = cut(permission)
        if not is_texts(keys):
            raise PolicyError(f"{source}: expected an array of strings for {name!r}")
        readers[permission] = [_recipient(key, f"{source}, {name}") for key in keys]
    return readers


def _recipient(text: str, where: str) -> Recipient:
    key, space, user = text.partition(" ")
    try:
        return Recipient(XKey.parse(key), user if space else None)
    except KeyFormatError as error:
        raise KeyFormatError(f"{where}: {error}") from None


def _rule_lines(text: str) -> list[int]:
    """Return the first line of each rule."""
    lines, line, at = [], 1, 0
    for match in _RULE.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        lines.append(line)
    return lines


def _line_of(text: str, key: str) -> int:
    """Return the line of a top-level key or table, or 1 if it is not found."""
    found = re.search(rf"""^[ \t\[]*["']?{re.escape(key)}\b""", text, re.MULTILINE)
    return 1 if found is None else text.count("\n", 0, found.end()) + 1
