"""Arbitrary documents under arbitrary policies."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envelope.cast import pair
from tests.examples import examples
from tests.fields.model import MISSING, Rules, exact, leaves, readers, view
from tests.fields.people import (
    GROUPS,
    OPENERS,
    PAIRS,
    READERS,
    SEALER,
    SUBJECT,
    opener,
    plaintexts,
    seen,
)
from tests.fields.strategies import DOCUMENTS, PATIENT, PERMISSIONS, RULES, STRUCTURES, TOTAL_RULES
from xkeymsg import FieldDeniedError, Policy

QUICK = settings(PATIENT, max_examples=examples(30))


def sealed(document: Any, rules: Rules, **readers: Any) -> bytes:
    return SEALER.seal_document(
        document, policy=Policy(rules), readers={**READERS, **readers}, subject=SUBJECT
    )


@settings(PATIENT, max_examples=examples(100))
@given(DOCUMENTS)
def test_a_round_trip_is_exact(document: Any) -> None:
    """F-1, F-59: every kind, every bit, and the order of members."""
    found = seen(OPENERS[frozenset("p")], sealed(document, [("/**", ["p"])]))
    assert found is not None
    assert found.withheld == 0
    assert exact(found.document, ordered=True) == exact(document, ordered=True)


@QUICK
@given(DOCUMENTS, TOTAL_RULES)
def test_a_view_is_exactly_the_fields_that_match(document: Any, rules: Rules) -> None:
    """F-31, F-45, F-56, F-58."""
    envelope = sealed(document, rules)
    for group in GROUPS:
        allowed = {path for path, _ in leaves(document) if readers(rules, path) & group}
        expected = view(document, allowed.__contains__)
        found = seen(OPENERS[group], envelope)
        if expected is MISSING:
            assert found is None
        else:
            assert found is not None
            assert exact(found.document) == exact(expected)


@QUICK
@given(DOCUMENTS, TOTAL_RULES)
def test_the_union_of_all_views_is_the_document(document: Any, rules: Rules) -> None:
    envelope = sealed(document, rules)
    union: dict[tuple[str | int, ...], Any] = {}
    for name in PERMISSIONS:
        found = seen(OPENERS[frozenset(name)], envelope)
        for path, value in leaves(found.document) if found else ():
            assert exact(union.setdefault(path, value)) == exact(value)
    assert {path: exact(value) for path, value in union.items()} == {
        path: exact(value) for path, value in leaves(document)
    }
    everything = seen(OPENERS[frozenset(PERMISSIONS)], envelope)
    assert everything is not None
    assert everything.withheld == 0
    assert exact(everything.document) == exact(document)


def with_tokens(value: Any, count: list[int]) -> Any:
    """Give every field a value that is nowhere else, and every second name of a map one, too."""
    if isinstance(value, dict):
        members = {}
        for number, (name, item) in enumerate(value.items()):
            members[token(count) if number % 2 else name] = with_tokens(item, count)
        return members
    if isinstance(value, list):
        return [with_tokens(item, count) for item in value]
    text = token(count)
    kinds = (text, text.encode(), UUID(bytes=text.encode()[-16:]))
    return kinds[count[0] % len(kinds)]


def token(count: list[int]) -> str:
    count[0] += 1
    return f"token-{count[0]:010d}"


def raw(value: Any) -> bytes:
    match value:
        case UUID():
            return value.bytes
        case str():
            return value.encode()
    assert isinstance(value, bytes)
    return value


@QUICK
@given(STRUCTURES, TOTAL_RULES)
def test_nobody_can_decrypt_a_byte_of_a_forbidden_field(structure: Any, rules: Rules) -> None:
    document = with_tokens(structure, [0])
    envelope = sealed(document, rules)
    fields = list(leaves(document))
    for group in GROUPS:
        content = b"\0".join(plaintexts(OPENERS[group], envelope).values())
        allowed = [path for path, _ in fields if readers(rules, path) & group]
        names = {segment for path in allowed for segment in path}
        for path, value in fields:
            if value not in ([], {}):
                assert (raw(value) in content) == (path in allowed)
            for segment in path:
                if str(segment).startswith("token"):
                    assert (str(segment).encode() in content) == (segment in names)


@QUICK
@given(DOCUMENTS, TOTAL_RULES, st.sampled_from(PERMISSIONS))
def test_one_more_reader_changes_nobody_elses_view(document: Any, rules: Rules, name: str) -> None:
    new = pair(200)
    before = sealed(document, rules)
    after = sealed(document, rules, **{name: [*READERS[name], new.public]})
    for group in PAIRS:
        reader = OPENERS[group]
        assert plaintexts(reader, before) == plaintexts(reader, after)
        one, other = seen(reader, before), seen(reader, after)
        assert (one is None) == (other is None)
        if one and other:
            assert one.withheld == other.withheld
            assert exact(one.document, ordered=True) == exact(other.document, ordered=True)
    assert plaintexts(opener(new), after) == plaintexts(OPENERS[frozenset(name)], after)


@QUICK
@given(DOCUMENTS, RULES)
def test_what_no_rule_matches_stops_the_sealing_and_is_named(document: Any, rules: Rules) -> None:
    """F-32, F-33: all of them, in document order; as a rule, each means this field alone."""
    denied = [path for path, _ in leaves(document) if not readers(rules, path)]
    if not denied:
        sealed(document, rules)
        return
    with pytest.raises(FieldDeniedError) as caught:
        sealed(document, rules)
    pointers = caught.value.pointers
    told = [one.pointer for one in Policy(rules).explain(document) if not one.permissions]
    assert list(pointers) == told
    added: Rules = [*rules, *((pointer, ["p"]) for pointer in pointers)]
    assert [path for path, _ in leaves(document) if not readers(added, path)] == []
    for pointer, path in zip(pointers, denied, strict=True):
        only = [at for at, _ in leaves(document) if readers([(pointer, ["p"])], at)]
        assert only == [path]
