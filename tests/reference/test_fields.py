"""The reference for fields: the examples of its specification, and splitting against joining."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import for_each
from tests.examples import examples
from tests.reference.fields_join import join
from tests.reference.fields_model import (
    WITHHELD,
    Document,
    FieldLimits,
    FieldsRefusalError,
)
from tests.reference.fields_policy import Policy, Rule
from tests.reference.fields_read import Counters, PlaintextReader, read_parts
from tests.reference.fields_scalars import MAX_INTEGER_BYTES, integer_data
from tests.reference.fields_split import fields_of, split
from tests.reference.fields_text import dumps, loads
from tests.reference.fields_write import encode, plaintext

SPEC: Final = (Path(__file__).parent.parent.parent / "docs/spec/fields.md").read_text()
LIMITS: Final = FieldLimits()
EXAMPLES: Final = {
    "null": "c0",
    "true": "c3",
    "false": "c2",
    "0": "00",
    "-1": "ff",
    "-33": "d0 df",
    str(2**64 - 1): "cf ff ff ff ff ff ff ff ff",
    str(-(2**63)): "d3 80 00 00 00 00 00 00 00",
    "1.5": "cb 3f f8 00 00 00 00 00 00",
    'h"00ff"': "c4 02 00 ff",
    '{"a": [1, true, null]}': "81 a1 61 93 01 c3 c0",
    str(2**64): "c7 09 01  01 00 00 00 00 00 00 00 00",
    str(-(2**63) - 1): "c7 09 01  ff 7f ff ff ff ff ff ff ff",
    str(-(2**64)): "c7 09 01  ff 00 00 00 00 00 00 00 00",
    str(2**71 - 1): "c7 09 01  7f ff ff ff ff ff ff ff ff",
    str(2**71): "c7 0a 01  00 80 00 00 00 00 00 00 00 00",
    'd"150E-2"': "c7 06 02  31 35 30 45 2d 32",
    'd"1E-1"': "d6 02  31 45 2d 31",
    'd"1E3"': "c7 03 02  31 45 33",
    'd"0E-2"': "d6 02  30 45 2d 32",
    'd"-0E0"': "d6 02  2d 30 45 30",
    't"2026-01-01T01:00:00+01:00"': "c7 0c 03  00 06 47 48 46 20 40 00  00 00 0e 10",
    't"1969-12-31T18:59:59.999999-05:00"': "c7 0c 03  ff ff ff ff ff ff ff ff  ff ff b9 b0",
    't"2026-03-01T09:30:00.250000-03:30"': "c7 0c 03  00 06 4b f6 0c 46 84 90  ff ff ce c8",
    'u"018f428e-34f6-4707-8009-5ad742f901e7"': (
        "d8 04  01 8f 42 8e 34 f6 47 07 80 09 5a d7 42 f9 01 e7"
    ),
}


@for_each("text", EXAMPLES)
def test_examples_of_values(text: str) -> None:
    assert EXAMPLES[text] in SPEC
    encoded = bytes.fromhex(EXAMPLES[text])
    value = loads(text)
    assert dumps(value) == text
    assert encode(value) == encoded
    [[(path, read)]] = read_parts([b"\x91\x92\x90" + encoded], LIMITS)
    assert path == ()
    assert dumps(read) == text


def overview(heading: str) -> list[str]:
    """Return the lines of the indented block after a text of the specification."""
    block = re.search(re.escape(heading) + r"\n\n((?:    .*\n)+)", SPEC)
    assert block is not None
    return [line[4:] for line in block[1].splitlines()]


def test_the_overview() -> None:
    document = loads("\n".join(overview("The document")))
    rows = overview("who reads it:")
    rules = []
    for row in rows:
        pattern, _, permissions = row.partition(" ")
        rules.append(Rule(frozenset(permissions.strip().split(", ")), pattern))
    holders = {name: frozenset({name}) for name in ("billing", "clinic")}
    made = split(document, Policy(tuple(rules)), holders, LIMITS)
    shown = re.split(r"\n?\d   ", "\n".join(overview("and their plaintexts are")))[1:]
    assert [part.plaintext for part in made.parts] == [bytes.fromhex(one) for one in shown]
    assert made.grants == {"billing": {0, 2}, "clinic": {0, 1}}
    reader = PlaintextReader(made.parts[0].plaintext, counters := Counters(LIMITS))
    reader.plaintext()
    assert counters.nodes == 11


def test_how_long_the_longest_integer_is() -> None:
    assert len(integer_data(10**4300 - 1)) == MAX_INTEGER_BYTES == len(integer_data(1 - 10**4300))


@for_each(
    ("value", "code"),
    [
        (datetime(2026, 1, 1), "malformed"),  # noqa: DTZ001 - that is what is wrong
        (datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=1))), "malformed"),
        (Decimal("NaN"), "malformed"),
        (Decimal("-Infinity"), "malformed"),
        ((1, 2), "malformed"),
        ({1: 2}, "malformed"),
        ({"a": {1}}, "malformed"),
        (WITHHELD, "malformed"),
    ],
)
def test_a_value_that_is_not_a_document_is_refused(value: object, code: str) -> None:
    with pytest.raises(FieldsRefusalError, match=code):
        list(fields_of([value], LIMITS))


def test_a_cycle_is_too_deep() -> None:
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(FieldsRefusalError, match="limit_exceeded"):
        list(fields_of(circle, LIMITS))


NAMES: Final = st.sampled_from(["", "a", "b", "0", "1", "~", "/", "*"])
SCALARS: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    st.binary(max_size=3),
    st.uuids(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
    st.datetimes(
        datetime(2, 1, 1),  # noqa: DTZ001
        datetime(9998, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
)
DOCUMENTS: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
SEGMENTS: Final = st.sampled_from(["", "/a", "/b", "/0", "/1", "/*", "/~0", "/~1", "/~2", '/""'])
PATTERNS: Final = st.tuples(SEGMENTS, SEGMENTS, st.sampled_from(["", "/*", "/**/a"])).map("".join)
PERMISSIONS: Final = st.frozensets(st.sampled_from("xyz"), min_size=1)
RULES: Final = st.lists(st.builds(Rule, PERMISSIONS, PATTERNS), max_size=4)


def placed(document: Document, path: tuple[str | int, ...] = ()) -> dict[Any, str]:
    """Return the fields by path, without markers."""
    if document is WITHHELD:
        return {}
    if not isinstance(document, list | dict) or not document:
        return {path: dumps(document)}
    pairs = enumerate(document) if isinstance(document, list) else document.items()
    return {k: v for key, item in pairs for k, v in placed(item, (*path, key)).items()}


@given(DOCUMENTS)
def test_text_and_encoding_keep_a_document(document: Document) -> None:
    assert dumps(loads(dumps(document))) == dumps(document)
    assert dumps(join([plaintext([((), document)])], 1, LIMITS).document) == dumps(document)


@settings(max_examples=examples(75))
@given(DOCUMENTS, RULES, PERMISSIONS)
def test_a_reader_gets_exactly_what_it_may(
    document: Document, rules: list[Rule], held: frozenset[str]
) -> None:
    policy = live((*rules, Rule(frozenset("x"), "")))
    readers = {"all": frozenset("xyz"), "one": held}
    made = split(document, policy, readers, LIMITS)
    for name, holds in readers.items():
        parts = [made.parts[j].plaintext for j in sorted(made.grants.get(name, ()))]
        wanted = {
            path: text
            for path, text in placed(document).items()
            if holds & next(r.permissions for r in policy.rules if covers(r, path))
        }
        assert bool(parts) == bool(wanted)
        if parts:
            got = join(parts, len(made.parts), LIMITS)
            assert placed(got.document) == wanted
            assert got.withheld == len(made.parts) - len(parts)


def live(rules: Iterable[Rule]) -> Policy:
    """Return a policy without rules that can never match."""
    policy = Policy(())
    for rule in rules:
        longer = Policy((*policy.rules, rule))
        if longer.is_reachable(len(longer.rules) - 1):
            policy = longer
    return policy


def covers(rule: Rule, path: tuple[str | int, ...]) -> bool:
    """Return whether a rule covers a path, by a regular expression; no filters."""
    [pattern] = rule.patterns
    forms = {"*": "/[^/]*", "**": "(?:/[^/]*)*", '""': "/"}
    parts = pattern.split("/")[1:]
    form = "".join(forms.get(part, "/" + re.escape(part)) for part in parts)
    text = "".join(
        f"/{str(one).replace('~', '~0').replace('/', '~1').replace('*', '~2')}" for one in path
    )
    return re.fullmatch(f"{form}(?:/.*)?", text) is not None
