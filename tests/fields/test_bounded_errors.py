"""Errors are bounded: their text, their attributes, and the memory that it takes to find them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import make_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB
from tests.fields.people import SUBJECT
from xkeymsg import (
    FieldDeniedError,
    LimitExceededError,
    Limits,
    MalformedError,
    Opener,
    Peers,
    Policy,
    PolicyError,
    Sealer,
    View,
    XKeyMsgError,
    document_of,
)
from xkeymsg.display import MOST_NAME, MOST_PLACES
from xkeymsg.fields.files import parse_readers

ALL = Policy([("/**", ["p"])])
KNOWN = Policy([("/known/**", ["p"])])
LONG = "x" * 20_000
NAMES = [f"field_{i:02}" for i in range(20)]
Wide: Any = make_dataclass("Wide", [(name, int) for name in NAMES])
Box = make_dataclass("Box", [("items", list[Wide])])
PWide = pydantic.create_model("PWide", **dict.fromkeys(NAMES, (int, ...)))  # type: ignore[call-overload]
PBox = pydantic.create_model("PBox", items=(list[PWide], ...))  # type: ignore[valid-type]
MWide = msgspec.defstruct("MWide", [(name, int) for name in NAMES])
MBox = msgspec.defstruct("MBox", [("items", list[MWide])])  # type: ignore[valid-type]


def seal(document: Any, policy: Policy = ALL) -> bytes:
    return Sealer(ALICE).seal_document(
        document, policy=policy, readers={"p": [BOB.public]}, subject=SUBJECT
    )


def view_of(document: Any) -> View:
    return Opener(BOB, {ALICE.public}).open_document(seal(document), subject=SUBJECT)


def held(value: object) -> int:
    """How many characters an error holds, in its text and in all its attributes."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(held, value))
    if isinstance(value, BaseException):
        return len(str(value)) + held(value.args) + sum(map(held, vars(value).values()))
    return 0


HOSTILE: dict[str, Callable[[], object]] = {
    "a long name above many fields": lambda: seal({LONG: [0] * 9000}, KNOWN),
    "many long names": lambda: seal({f"{LONG}{i}": 0 for i in range(200)}, KNOWN),
    "a deep path of long names": lambda: seal(nested(31, 0), KNOWN),
    "a value far down that cannot be sealed": lambda: seal(nested(30, date(2026, 1, 1))),
    "a document that is too deep": lambda: seal(nested(200, 0)),
    "a model that holds a date": lambda: document_of(Box([nested(30, date(2026, 1, 1))])),
    "many permissions that nobody holds": lambda: Sealer(ALICE).seal_document(
        {"a": 1},
        policy=Policy([("/a", ["q"]), ("/**", [f"{'p' * 300}{i}" for i in range(3000)])]),
        readers={"q": [BOB.public]},
        subject=SUBJECT,
    ),
    "a policy with a long setting": lambda: Policy.parse(f"{LONG} = 1"),
    "a policy with a long duplicate": lambda: Policy.parse(f"{LONG} = 1\n{LONG} = 1"),
    "a long pattern": lambda: Policy([(LONG, ["p"])]),
    "a long permission": lambda: Policy([("/**", [LONG + "!"])]),
    "a long permission of readers": lambda: parse_readers(f'[readers]\n"{LONG}!" = []'),
    "a long key of readers": lambda: parse_readers(f'[readers]\n{LONG} = ["{LONG}"]'),
    "a long name of a peer": lambda: Peers.parse(f"[peers.{LONG}]"),
    "a long setting of a peer": lambda: Peers.parse(f"[peers.a]\n{LONG} = 1"),
    "peers with a long duplicate": lambda: Peers.parse(f"[peers.{LONG}]\n[peers.{LONG}]"),
    "a long subject of a peer": lambda: Peers.parse(
        f'[peers.a]\nxkey = "{BOB.public}"\nsubjects = [".{LONG}"]'
    ),
}


def nested(depth: int, value: Any) -> Any:
    for number in range(depth):
        value = {f"{number}{LONG}": value}
    return value


@for_each("call", HOSTILE.values(), ids=HOSTILE)
def test_an_error_about_hostile_input_is_bounded_in_text_and_attributes(
    call: Callable[[], object],
) -> None:
    with pytest.raises(XKeyMsgError) as caught:
        call()
    assert held(caught.value) < 64_000
    assert str(caught.value)


@for_each("model", [Box, PBox, MBox])
@for_each("item", [{}, dict.fromkeys(NAMES, "text")], ids=["missing", "misfits"])
def test_an_error_of_a_model_names_the_first_places(model: type, item: dict[str, str]) -> None:
    view = view_of({"items": [item] * 1000})
    with pytest.raises(XKeyMsgError) as caught:
        view.into(model)
    said = str(caught.value)
    assert held(caught.value) < 8_000
    assert said.count("/items/") == MOST_PLACES
    assert ", and " in said
    assert "more" in said


def test_a_model_of_pydantic_with_one_misfit_among_many_good_values_names_it() -> None:
    items: list[Any] = [dict.fromkeys(NAMES, 1) for _ in range(100)]
    items[70]["field_03"] = "text"
    with pytest.raises(MalformedError, match=r"/items/70/field_03$"):
        view_of({"items": items}).into(PBox)


def test_misfits_of_pydantic_beyond_a_thousand_are_found_one_by_one() -> None:
    numbers = pydantic.create_model("Numbers", items=(list[int], ...))
    with pytest.raises(MalformedError, match=r"/items/3, /items/4, .*, and more") as caught:
        view_of({"items": [1, 2, 3] + ["x"] * 3000}).into(numbers)
    assert str(caught.value).count("/items/") == MOST_PLACES


def test_denied_fields_are_named_up_to_twenty_and_counted() -> None:
    with pytest.raises(FieldDeniedError) as caught:
        seal({f"f{i}": i for i in range(33)}, KNOWN)
    error = caught.value
    assert error.pointers == tuple(f"/f{i}" for i in range(MOST_PLACES))
    assert error.count == 33
    assert str(error).endswith("/f19, and 13 more")


def test_a_name_of_eighty_characters_is_whole_and_a_longer_one_cut() -> None:
    for size, shown in ((MOST_NAME, "n" * MOST_NAME), (MOST_NAME + 1, "n" * (MOST_NAME - 1) + "…")):
        with pytest.raises(FieldDeniedError) as caught:
            seal({"n" * size: 1}, KNOWN)
        assert caught.value.pointers == (f"/{shown}",)


def test_a_denied_document_that_is_one_value_is_named() -> None:
    with pytest.raises(FieldDeniedError, match="no rule for the document") as caught:
        seal(1, KNOWN)
    assert caught.value.pointers == ("",)


def test_finding_denied_fields_takes_no_memory_for_their_pointers() -> None:
    document = {LONG: [0] * 9000}
    with pytest.raises(FieldDeniedError):
        seal(document, KNOWN)
    tracemalloc.start()
    try:
        with pytest.raises(FieldDeniedError):
            seal(document, KNOWN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20  # the pointers of all would be 180 MB


def test_a_text_that_nothing_cut_is_cut_by_the_error() -> None:
    assert held(PolicyError("x" * 1_000_000)) < 64_000
    assert held(LimitExceededError("x" * 1_000_000, 2, 1)) < 64_000


# --- places ---------------------------------------------------------------------------------------

VALUES = (
    date(1956, 8, 3),
    datetime(2026, 1, 1),  # noqa: DTZ001 - without an offset
    float("nan"),
    float("-inf"),
    Decimal("NaN"),
    Decimal("1E7000"),
    "\ud800",
    (1, 2),
    {1, 2},
    {1: "x"},
    {"\ud800": "x"},
    10**4300,
    object(),
)


@for_each("value", VALUES, ids=lambda value: type(value).__name__)
def test_an_error_about_a_value_names_its_place(value: Any) -> None:
    document: Any = {"patients": [{"n": i} for i in range(600)]}
    document["patients"][517]["a/b"] = value
    with pytest.raises(XKeyMsgError) as caught:
        seal(document)
    said = str(caught.value)
    assert said.startswith("/patients/517/a~1b: ")
    said.encode()


def test_the_place_of_the_first_fault_is_told() -> None:
    with pytest.raises(MalformedError, match=r"^/b/1: "):
        seal({"a": [1], "b": [2, {3}], "c": {4}})


def test_a_place_below_a_name_that_is_no_unicode_text_can_be_printed() -> None:
    with pytest.raises(MalformedError) as caught:
        document_of(Box([{"\ud800": date(2026, 1, 1)}]))  # the name is checked when it is sealed
    str(caught.value).encode()


def test_the_whole_document_as_a_place_is_named_so() -> None:
    with pytest.raises(MalformedError, match=r"^the document: a document cannot hold a date"):
        seal(date(2026, 1, 1))


def test_a_document_that_is_too_deep_is_refused_with_a_place() -> None:
    told = r"^/a/a: depth of a document: 3 exceeds the limit of 2$"
    with pytest.raises(LimitExceededError, match=told):
        Sealer(ALICE, limits=Limits(depth=2)).seal_document(
            {"a": {"a": {"a": 1}}}, policy=ALL, readers={"p": [BOB.public]}, subject=SUBJECT
        )
