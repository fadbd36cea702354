"""Policies and readers in TOML files (spec, "Files"): the module of fields that reads files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final, Self

from xkeymsg.errors import KeyFormatError, PolicyError
from xkeymsg.fields import policy
from xkeymsg.keys import Recipient, XKey
from xkeymsg.refusals import refusing
from xkeymsg.shown import cut
from xkeymsg.text import TomlError, parse_toml

__all__ = ("Policy", "load_readers", "parse_readers")

_RULE: Final = re.compile(r"""^\ufeff?[ \t]*\[\[[ \t]*["']?rule["']?[ \t]*\]\]""", re.MULTILINE)


class Policy(policy.Policy):
    """Ordered rules, pattern to permissions; the first that matches a field decides.

        policy = Policy([("/patient/name", ["clinic", "billing"]), ("/**", ["clinic"])])
        policy = Policy.load("policy.toml")

    Immutable; made once and used for every document. Thread-safe.
    """

    @classmethod
    @refusing
    def load(cls, path: str | Path) -> Self:
        """Read a policy file.

        Raises:
            PolicyError: If it cannot be read or used; names the file, the line and the rule.
        """
        return cls.parse(_read(Path(path)), source=str(path))

    @classmethod
    @refusing
    def parse(cls, text: str, source: str = "policy") -> Self:
        """Read a policy in TOML.

        Raises:
            PolicyError: If it cannot be used; names `source`, the line and the rule (F-37, F-39).
        """
        settings = _toml(text, source)
        lines = _rule_lines(text)
        line = _line_of(text, "allow_unread")
        unknown = sorted(settings.keys() - {"rule", "allow_unread"})
        if unknown:
            at = _line_of(text, unknown[0])
            raise PolicyError(
                f"{source}, line {at}: {cut(unknown[0])!r} is not a setting of a policy"
            )
        rules = settings.get("rule")
        if not isinstance(rules, list) or not rules:
            at = _line_of(text, "rule")
            raise PolicyError(f"{source}, line {at}: a policy has one [[rule]] at least")
        if len(lines) != len(rules):  # written in another way, which TOML has
            lines = [_line_of(text, "rule")] * len(rules)
        pairs = []
        for number, (rule, at) in enumerate(zip(rules, lines, strict=True), 1):
            where = f"{source}, line {at}, rule {number}"
            pairs.append(_rule(rule, where))
            try:
                policy.Policy([pairs[-1]])
            except PolicyError as error:
                reason = str(error).removeprefix("rule 1: ")
                raise PolicyError(f"{where}: {reason}") from None
        allowed = settings.get("allow_unread", [])
        if not _is_texts(allowed):
            raise PolicyError(f"{source}, line {line}: allow_unread is an array of permissions")
        try:
            return cls(pairs, allow_unread=allowed)
        except PolicyError as error:
            raise PolicyError(f"{source}, line {line}: {error}") from None


def _rule(rule: Any, where: str) -> tuple[str, list[str]]:
    if not isinstance(rule, dict) or rule.keys() != {"pattern", "readers"}:
        raise PolicyError(f"{where}: a rule has a pattern and readers, and nothing else")
    pattern, readers = rule["pattern"], rule["readers"]
    if not isinstance(pattern, str) or not _is_texts(readers):
        raise PolicyError(f"{where}: a pattern is text, and readers are an array of permissions")
    return pattern, readers


@refusing
def load_readers(path: str | Path) -> dict[str, list[Recipient]]:
    """Read a file of readers: who holds which permission.

    Raises:
        PolicyError: If it cannot be read or used.
        KeyFormatError: If a reader is no key.
    """
    return parse_readers(_read(Path(path)), source=str(path))


@refusing
def parse_readers(text: str, source: str = "readers") -> dict[str, list[Recipient]]:
    """Read who holds which permission, in TOML.

    Raises:
        PolicyError: If it cannot be used (F-38).
        KeyFormatError: If a reader is no key `X…`, or no key and user `X… U…`.
    """
    settings = _toml(text, source)
    table = settings.get("readers")
    if settings.keys() != {"readers"} or not isinstance(table, dict):
        raise PolicyError(f"{source}: a file of readers has the table [readers] and nothing else")
    readers = {}
    for permission, keys in table.items():
        if not policy.PERMISSION.fullmatch(permission):
            raise PolicyError(
                f"{source}: invalid permission name {cut(permission)!r} (allowed: a-z 0-9 . _ -)"
            )
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


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except TomlError as error:
        raise PolicyError(f"{source}, line {error.line}: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise PolicyError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path}, line {line}: not UTF-8") from None
