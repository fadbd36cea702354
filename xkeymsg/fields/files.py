"""Policies and readers in TOML (spec, "Files")."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from xkeymsg.errors import KeyFormatError, PolicyError
from xkeymsg.files import read_text
from xkeymsg.keys import Recipient, XKey
from xkeymsg.nkey import is_seed
from xkeymsg.refusals import refusing
from xkeymsg.shown import cut
from xkeymsg.spelling import quoted
from xkeymsg.text import masked, parse_toml

__all__ = (
    "PERMISSION",
    "PolicyFile",
    "check_permissions",
    "load_readers",
    "parse_policy",
    "parse_readers",
)

PERMISSION: Final = re.compile(r"[a-z0-9._-]+")
"""What permissions may be called."""

_RULE: Final = re.compile(r"""^\ufeff?[ \t]*\[\[[ \t]*["']?rule["']?[ \t]*\]\]""", re.MULTILINE)
_NUMBER: Final = re.compile(r"rule (\d+): ")


class PolicyFile(NamedTuple):
    """What a policy file says, and where."""

    source: str
    rules: list[tuple[list[str], list[str]]]
    """Patterns, and the permissions that may read what they match."""
    allow_unread: list[str]
    lines: list[int]
    """By rule: the line on which it begins."""
    line: int
    """The line of `allow_unread`."""

    def located(self, error: PolicyError) -> PolicyError:
        """Return the error of a policy of these rules with its place in the file."""
        found = _NUMBER.match(str(error))
        at = self.lines[int(found[1]) - 1] if found else self.line
        return PolicyError(f"{self.source}, line {at}{',' if found else ':'} {error}")


def check_permissions(names: Any, where: str) -> tuple[str, ...]:
    """Return the names of permissions, each once.

    Raises:
        PolicyError: If they are not an iterable of valid names (F-34); names `where`.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise PolicyError(f"{where}: permissions are a list of texts")
    names = tuple(names)
    for name in names:
        if not isinstance(name, str) or not PERMISSION.fullmatch(name) or is_seed(name):
            said = f"invalid permission name {cut(masked(repr(name)))} (allowed: a-z 0-9 . _ -)"
            raise PolicyError(f"{where}: {said}")
    return tuple(dict.fromkeys(names))


def parse_policy(text: str, source: str) -> PolicyFile:
    """Read a policy in TOML.

    Raises:
        PolicyError: If it is not one; names `source`, the line and the rule (F-37, F-39).
    """
    settings = parse_toml(text, source, PolicyError)
    lines = _rule_lines(text)
    line = _line_of(text, "allow_unread")
    unknown = sorted(settings.keys() - {"rule", "allow_unread"})
    if unknown:
        at = _line_of(text, unknown[0])
        raise PolicyError(f"{source}, line {at}: unknown setting {quoted(cut(unknown[0]))}")
    rules = settings.get("rule")
    if not isinstance(rules, list) or not rules:
        at = _line_of(text, "rule")
        raise PolicyError(f"{source}, line {at}: expected at least one [[rule]]")
    if len(lines) != len(rules):  # written in another way that TOML has
        lines = [_line_of(text, "rule")] * len(rules)
    pairs = [
        _rule(rule, f"{source}, line {at}, rule {number}")
        for number, (rule, at) in enumerate(zip(rules, lines, strict=True), 1)
    ]
    allowed = settings.get("allow_unread", [])
    if not _is_texts(allowed):
        raise PolicyError(f"{source}, line {line}: allow_unread must be a list of permissions")
    return PolicyFile(source, pairs, allowed, lines, line)


def _rule(rule: Any, where: str) -> tuple[list[str], list[str]]:
    keys = rule.keys() if isinstance(rule, dict) else set()
    known = {"pattern", "readers"}
    for key in [*sorted(keys - known), *sorted(known - keys)]:
        fault = f"unknown key {cut(masked(key))!r}" if key in keys else f"no `{key}`"
        raise PolicyError(f"{where}: a rule has `pattern` and `readers` only; found {fault}")
    patterns, readers = rule["pattern"], rule["readers"]
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not _is_texts(patterns):
        raise PolicyError(f"{where}: `pattern` must be a text or a list of texts")
    if not _is_texts(readers):
        raise PolicyError(f'{where}: `readers` must be a list of texts, such as ["clinic"]')
    return patterns, readers


def load_readers(path: str | Path) -> dict[str, list[Recipient]]:
    """Read a file of readers: who holds which permission.

    Raises:
        PolicyError: If it cannot be read or used.
        KeyFormatError: If a reader is no key.
    """
    return parse_readers(read_text(Path(path), PolicyError), source=masked(str(path)))


@refusing
def parse_readers(text: str, source: str = "readers") -> dict[str, list[Recipient]]:
    """Read who holds which permission, in TOML.

    Raises:
        PolicyError: If it cannot be used (F-38).
        KeyFormatError: If a reader is no key `X…`, or no key and user `X… U…`.
    """
    settings = parse_toml(text, source, PolicyError)
    table = settings.get("readers")
    if settings.keys() != {"readers"} or not isinstance(table, dict):
        raise PolicyError(f"{source}: a file of readers has the table [readers] and nothing else")
    readers = {}
    for permission, keys in table.items():
        check_permissions([permission], source)
        name = cut(permission)
        if not _is_texts(keys):
            raise PolicyError(f"{source}: expected an array of texts for {name!r}")
        readers[permission] = [_recipient(key, f"{source}, {name}") for key in keys]
    return readers


def _recipient(text: str, where: str) -> Recipient:
    key, space, user = text.partition(" ")
    try:
        return Recipient(XKey.parse(key), user if space else None)
    except KeyFormatError as error:
        raise KeyFormatError(f"{where}: {error}") from None


def _rule_lines(text: str) -> list[int]:
    """Return the lines on which rules begin."""
    lines, line, at = [], 1, 0
    for match in _RULE.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        lines.append(line)
    return lines


def _line_of(text: str, key: str) -> int:
    """Return the line that a key of a file, or a table, begins; 1 where it is not to be found."""
    found = re.search(rf"""^[ \t\[]*["']?{re.escape(key)}\b""", text, re.MULTILINE)
    return 1 if found is None else text.count("\n", 0, found.end()) + 1


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
