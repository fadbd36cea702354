"""The package against the reference of the specification, which has no short ways."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgpack
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import pair
from tests.examples import examples
from tests.fields.strategies import (
    ALIKE,
    ALMOST,
    ANY_RULES,
    DOCUMENTS,
    FILTERED_RULES,
    PATIENT,
    PERMISSIONS,
    RULES,
    TOTAL_RULES,
    damaged,
)
from tests.reference import fields_join, fields_model, fields_policy, fields_split
from tests.reference.fields_model import FieldLimits
from tests.reference.fields_text import dumps
from xkeymsg import WITHHELD, FieldDeniedError, Limits, Policy, Sealer, XKeyMsgError
from xkeymsg.fields.join import join
from xkeymsg.fields.readers import KnownHolders
from xkeymsg.fields.split import split

WIDE: Final = FieldLimits()
TIGHT: Final = FieldLimits(depth=3, fields=4, holes=2)
BOUNDS: Final = st.sampled_from([WIDE, TIGHT])
SEALER: Final = Sealer(pair(30))
KEYS: Final = {name: pair(40 + number).public for number, name in enumerate(PERMISSIONS)}


class Text(str):
    __slots__ = ()


FAULTS: Final[dict[str, Callable[[], Any]]] = {
    "nan": lambda: float("nan"),
    "infinity": lambda: [float("-inf")],
    "surrogate": lambda: "\ud800",
    "name with a surrogate": lambda: {"\udfff": 1},
    "name that is a number": lambda: {"a": 0, 1: 2},
    "name of bytes": lambda: {b"a": 1},
    "tuple": lambda: (1, 2),
    "bytearray": lambda: bytearray(b"a"),
    "memoryview": lambda: [memoryview(b"a")],
    "ExtType": lambda: msgpack.ExtType(4, bytes(16)),
    "Timestamp": lambda: {"a": msgpack.Timestamp(1)},
    "text that is more": lambda: Text("a"),
    "name that is more": lambda: {Text("a"): {"b": 1}},
    "marker": lambda: [WITHHELD],
    "set": lambda: {1},
    "integer": lambda: 10**4300,
    "Decimal": lambda: [Decimal("1E6177")],
    "no Decimal": lambda: Decimal("NaN"),
}


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every container with each name or index in it."""
    found, open_ = [], [document]
    while open_:
        value = open_.pop()
        if isinstance(value, dict | list):
            for key in value if isinstance(value, dict) else range(len(value)):
                found.append((value, key))
                open_.append(value[key])
    return found


@st.composite
def faulty(draw: st.DrawFn) -> Any:
    """A document with one fault, somewhere."""
    document = [draw(DOCUMENTS)]
    container, key = draw(st.sampled_from(places(document)))
    container[key] = FAULTS[draw(st.sampled_from(sorted(FAULTS)))]()
    return document[0]


def limits_of(bounds: FieldLimits) -> Limits:
    return Limits(depth=bounds.depth, nodes=bounds.nodes, fields=bounds.fields, holes=bounds.holes)


def by_reference(document: Any, rules: Any, bounds: FieldLimits) -> Any:
    policy = fields_policy.Policy(
        tuple(fields_policy.Rule(frozenset(held), pattern) for pattern, held in rules)
    )
    readers = {name: frozenset({name}) for name in PERMISSIONS}
    held = frozenset[str]().union(*(rule.permissions for rule in policy.rules))
    readers = {name: one & held for name, one in readers.items()}
    try:
        made = fields_split.split(document, policy, readers, bounds)
    except fields_model.FieldsRefusalError as error:
        return error.code, error.pointers
    granted = {name: set(parts) for name, parts in made.grants.items()}
    return [(part.permissions, part.plaintext) for part in made.parts], granted


def by_package(document: Any, rules: Any, bounds: FieldLimits) -> Any:
    limits = limits_of(bounds)
    sealer = Sealer(pair(30), limits=limits) if bounds is TIGHT else SEALER
    try:
        policy = Policy(rules)
        readers = {name: [KEYS[name]] for name in policy.permissions}
        sealer.seal_document(document, policy=policy, readers=readers, subject="a")
    except XKeyMsgError as error:
        return error.code, error.pointers if isinstance(error, FieldDeniedError) else ()
    parts, sets, _ = split(document, policy, limits)
    names = {key: name for name, key in KEYS.items()}
    granted = KnownHolders().of(policy, readers).grants(sets)
    return (
        [(part.permissions, part.plaintext) for part in parts],
        {names[one.key]: numbers for one, numbers in granted.items()},
    )


@settings(PATIENT, max_examples=examples(100))
@given(DOCUMENTS | faulty(), RULES, BOUNDS)
@example("text", [("/a", ["p"])], WIDE)
@example({"a": {}, "b": []}, [("/a/**", ["p"])], WIDE)
@example({"a": [1, {"b": 1}]}, [("/a/0", ["p"]), ("/**", ["q"])], WIDE)
def test_documents_are_split_and_refused_alike(
    document: Any, rules: Any, bounds: FieldLimits
) -> None:
    """F-2 to F-6, F-31 to F-50: the very bytes of each part, and the code and pointers."""
    assert by_package(document, rules, bounds) == by_reference(document, rules, bounds)


@settings(PATIENT, max_examples=examples(133))
@given(ALIKE, FILTERED_RULES | ANY_RULES)
@example({"a": {"t": "X"}}, [('/a[t="x"]', ["p"]), ("", ["q"])])
@example({"a": [{"t": "x"}]}, [('/a[t="x"]', ["p"]), ("", ["q"])])
@example({"a": {"t": "x"}}, [('/*[t="x"]', ["p"]), ('/a[T="x"]/t', ["q"]), ("", ["q"])])
@example({"A": {"b": 1}}, [("/a", ["p"]), ("", ["q"])])
@example({"A": {"b": 1}}, [("/a", ["p"]), ("/*/b", ["p"]), ("", ["q"])])
@example(["x", {"t": 1}], [("/\uff10", ["p"]), ("", ["q"])])
@example({"c": [{"A": {"a": 1}}]}, [("/**/a", ["p"]), ("", ["q"])])
def test_filters_and_look_alikes_are_decided_alike(document: Any, rules: Any) -> None:
    """F-62 to F-64: the parts, or the code and the place."""
    assert by_package(document, rules, WIDE) == by_reference(document, rules, WIDE)


@for_each("fault", FAULTS)
@for_each("place", ["root", "undecided", "decided"])
def test_each_fault_is_refused_in_each_place(fault: str, place: str) -> None:
    rules = [("/a/b/c", ["p"]), ("/d/**", ["q"]), ("/**", ["r"])]
    value = FAULTS[fault]()
    document = {"root": value, "undecided": {"a": {"b": value}}, "decided": {"d": [value]}}[place]
    expected = by_reference(document, rules, WIDE)
    assert expected[0] in ("malformed", "limit_exceeded")
    assert by_package(document, rules, WIDE) == expected


def told(value: Any) -> Any:
    """A document with the marker of the reference."""
    if isinstance(value, dict):
        return {name: told(item) for name, item in value.items()}
    if isinstance(value, list):
        return [told(item) for item in value]
    return fields_model.WITHHELD if value is WITHHELD else value


@st.composite
def plaintexts(draw: st.DrawFn) -> list[bytes]:
    """Parts of a document, one of them with a piece replaced, left out or doubled."""
    rules = draw(TOTAL_RULES)
    parts = [part.plaintext for part in split(draw(DOCUMENTS), Policy(rules), Limits()).parts]
    number = draw(st.integers(0, len(parts) - 1))
    data = parts[number]
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 8)))
    piece = draw(st.sampled_from([b"", data[start:end] * 2]) | st.binary(max_size=2))
    parts[number] = data[:start] + piece + data[end:]
    return parts


@settings(PATIENT, max_examples=examples(100))
@given(plaintexts() | st.lists(ALMOST | damaged(), min_size=1, max_size=3), BOUNDS)
@example([b"\x91\x92\x91\xff\xc0"], WIDE)
@example([b"\x91\x92\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xc0"], WIDE)
@example([b"\x92\x92\x91\xa1a\x81\xa1b\x01\x92\x92\xa1a\xa1b\x02"], WIDE)
@example([b"\x91\x92\x91\xa1a\xc0", b"\x91\x92\x92\xa1a\xa1b\x02"], WIDE)
@example([b"\x91\x92\x92\xa1a\x00\xc0", b"\x91\x92\x92\xa1a\xa10\x02"], WIDE)
def test_parts_are_joined_and_refused_alike(parts: list[bytes], bounds: FieldLimits) -> None:
    """F-20 to F-29, F-51 to F-59: with the code of the first check that fails."""
    try:
        wanted = fields_join.join(parts, len(parts), bounds)
        expected = dumps(wanted.document)
    except fields_model.FieldsRefusalError as error:
        expected = error.code
    try:
        found = dumps(told(join(parts, limits_of(bounds))))
    except XKeyMsgError as error:
        found = error.code
    assert found == expected
