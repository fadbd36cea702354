"""Test cases of a policy: documents, and the fields that readers may and may not see.

    [[case]]
    name = "research sees values, but no subjects"
    document = "observation.json"       # next to this file; or json = '{"a": 1}'
    reader = "research"                 # or a list, for a reader with several permissions
    visible = ["/Observation/valueQuantity/value"]
    hidden = ["/Observation/subject", "/**/extension"]

    [[case]]
    name = "an unknown resource is refused"
    json = '{"Device": {"id": 1}}'
    refused = "field_denied"

`visible` and `hidden` are patterns. Each must match a field of the document, and all fields that it
matches must be visible, or hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from xkeymsg.cli.coverage import covers, paths_of
from xkeymsg.cli.trial import try_to_seal
from xkeymsg.daemons.common.documents import parse_document
from xkeymsg.display import cut
from xkeymsg.errors import ConfigurationError, XKeyMsgError
from xkeymsg.fields.pattern import parse_pattern
from xkeymsg.fields.policy import Decision, Policy
from xkeymsg.files import read_file, read_text
from xkeymsg.spelling import quoted
from xkeymsg.suggestions import did_you_mean
from xkeymsg.text import is_texts, parse_toml

__all__ = ("Case", "failures", "load_cases")

_TEXTS: Final = ("name", "document", "json", "refused")
_KEYS: Final = {*_TEXTS, "reader", "visible", "hidden"}
_Fields = Sequence[tuple[tuple[str | int, ...], Decision]]


class Case(NamedTuple):
    """A document and the expected result."""

    name: str
    document: Any
    readers: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    refused: str = ""
    """The expected error code of sealing, or empty."""


def load_cases(path: Path) -> list[Case]:
    """Load a cases file.

    Raises:
        ConfigurationError: If it cannot be read or is invalid; names the case.
    """
    table = parse_toml(read_text(path, ConfigurationError), str(path), ConfigurationError)
    cases = table.get("case")
    if table.keys() != {"case"} or not isinstance(cases, list) or not cases:
        raise ConfigurationError(f"{path}: expected at least one [[case]], and nothing else")
    return [_case(path, number, each) for number, each in enumerate(cases, 1)]


def _case(path: Path, number: int, table: Any) -> Case:
    where = f"{path}, case {number}"
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where}: expected a table")
    for key in sorted(table.keys() - _KEYS):
        raise ConfigurationError(
            f"{where}: unknown key {quoted(cut(key))} (allowed: {', '.join(sorted(_KEYS))})"
        )
    if not all(isinstance(table.get(key, ""), str) for key in _TEXTS):
        raise ConfigurationError(f"{where}: {', '.join(_TEXTS)} must be strings")
    lists = {key: _texts(where, key, table.get(key, [])) for key in ("reader", "visible", "hidden")}
    if "refused" in table and any(lists.values()):
        raise ConfigurationError(f"{where}: refused excludes reader, visible and hidden")
    if "refused" not in table and not (lists["reader"] and lists["visible"] + lists["hidden"]):
        raise ConfigurationError(f"{where}: expected refused, or a reader with visible or hidden")
    try:
        for pattern in lists["visible"] + lists["hidden"]:
            parse_pattern(pattern)
        document = _document(path, table)
    except XKeyMsgError as error:
        raise ConfigurationError(f"{where}: {error}") from None
    name = table.get("name", f"case {number}")
    return Case(
        name, document, lists["reader"], lists["visible"], lists["hidden"], table.get("refused", "")
    )


def _document(path: Path, table: dict[str, str]) -> Any:
    if ("document" in table) == ("json" in table):
        raise ConfigurationError("expected exactly one of document (a file name) and json")
    if "json" in table:
        return parse_document(table["json"].encode())
    content, _ = read_file(path.parent / table["document"], ConfigurationError)
    return parse_document(content)


def _texts(where: str, key: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not is_texts(texts):
        raise ConfigurationError(f"{where}: {key} must be a string or a list of strings")
    return tuple(texts)


def failures(policy: Policy, case: Case) -> list[str]:
    """Return the differences between a case and the behaviour of a policy."""
    unknown = sorted(set(case.readers) - policy.permissions)
    if unknown:
        hint = did_you_mean(unknown[0], policy.permissions)
        return [f"no rule names the permission {cut(unknown[0])!r}{hint}"]
    try:
        try_to_seal(case.document, policy)
    except XKeyMsgError as error:
        wrong = f"the document cannot be sealed: {error.code}: {error}"
        return [] if error.code == case.refused else [wrong]
    if case.refused:
        return [f"the document can be sealed; expected {case.refused}"]
    decisions = policy.explain(case.document)
    fields = list(zip(paths_of(case.document), decisions, strict=True))
    return [
        *chain.from_iterable(_wrong(case, each, fields, visible=True) for each in case.visible),
        *chain.from_iterable(_wrong(case, each, fields, visible=False) for each in case.hidden),
    ]


def _wrong(case: Case, pattern: str, fields: _Fields, *, visible: bool) -> Iterator[str]:
    segments = parse_pattern(pattern)
    found = [each for path, each in fields if covers(segments, path, case.document)]
    if not found:
        yield f"{pattern!r} matches no field of the document"
    for field in found:
        if set(case.readers).isdisjoint(field.permissions) == visible:
            can = "cannot" if visible else "can"
            yield (
                f"{', '.join(case.readers)} {can} read {field.pointer}: rule {field.rule}"
                f" ({field.pattern!r}) gives it to {', '.join(field.permissions)}"
            )
