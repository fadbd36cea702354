"""Dataclasses and msgspec Structs: exact types, errors with places, and what the policy refuses."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

from tests.cases import for_each
from tests.models.journey import ALL, for_all, opened, there_and_back
from xkeymsg import MalformedError, Policy, PolicyError, XKeyMsgError, document_of
from xkeymsg.models.conversion import into

SECRET = "Grunewaldstrasse"
DAY = date(2026, 2, 3)
T = TypeVar("T")
U = TypeVar("U")


class Pair(NamedTuple):
    when: date
    size: int = 0


class Table(TypedDict):
    when: date
    size: NotRequired[int]


@dataclass
class Person:
    born: Annotated[date, ALL]
    waits: Annotated[timedelta, ALL] = timedelta(0)
    home: Annotated[Path, ALL] = Path()
    pair: Annotated[Pair | None, ALL] = None
    table: Annotated[Table | None, ALL] = None
    days: Annotated[set[date] | None, ALL] = None
    either: Annotated[list[date] | date | int | None, ALL] = None
    secret: Annotated[pydantic.SecretStr | None, ALL] = None


@for_each(
    ("field_", "form", "expected"),
    [
        ("born", "not a date", "/born (expected date)"),
        ("born", 20_000, "/born (expected date)"),
        ("born", datetime(2026, 1, 1), "/born (expected date)"),  # noqa: DTZ001
        ("born", "1" * 100_000, "/born (expected date)"),
        ("waits", "P1Y", "/waits (expected timedelta)"),
        ("waits", "P", "/waits (expected timedelta)"),
        ("waits", "PT", "/waits (expected timedelta)"),
        ("waits", f"P{'9' * 50}D", "/waits (expected timedelta)"),
        ("waits", 1.0, "/waits (expected timedelta)"),
        ("home", 1, "/home (expected Path)"),
        ("pair", ["2026-02-03"], "/pair (expected Pair)"),
        ("pair", ["2026-02-03", SECRET], "/pair/1 (expected int)"),
        ("table", {"size": 1}, "/table/* (expected date)"),
        ("table", {"when": "2026-02-03", "size": SECRET}, "/table/* (expected int)"),
        ("days", ["2026-02-03", "2026-02-03"], "/days (expected set[date])"),
        ("days", ["2026-02-03", SECRET], "/days/1 (expected date)"),
        ("either", SECRET, "/either (expected date)"),
        ("either", ["2026-02-03", SECRET], "/either/1 (expected date)"),
        ("either", True, "/either (expected list[date] | date | int | None)"),
        ("secret", 12, "/secret (expected SecretStr | None)"),
    ],
)
def test_an_error_says_where_and_what_was_expected(field_: str, form: Any, expected: str) -> None:
    with pytest.raises(MalformedError) as caught:
        into(Person, {"born": "2026-02-03", field_: form}, 0)
    assert str(caught.value) == f"does not fit Person: {expected}"
    assert SECRET not in repr(caught.value.__dict__)


def test_a_value_of_another_type_is_not_written() -> None:
    with pytest.raises(MalformedError, match=r"^/born: expected date, not datetime$"):
        document_of(Person(datetime(2026, 1, 1)))  # noqa: DTZ001
    with pytest.raises(MalformedError, match=r"^/pair/0: expected date, not str$"):
        document_of(Person(DAY, pair=Pair(SECRET)))  # type: ignore[arg-type]
    with pytest.raises(MalformedError, match=r"^/table: expected Table \| None, not dict$"):
        document_of(Person(DAY, table={"when": DAY, "more": 1}))  # type: ignore[arg-type]
    struct: Any = msgspec.defstruct("S", [("x", for_all(set[int]))])
    with pytest.raises(MalformedError, match=r"^/x: expected set\[int\], not str$"):
        document_of(struct(SECRET))


@dataclass(frozen=True, slots=True)
class Left:
    kind: Literal["l"]
    child: Left | Right | None = None


@dataclass
class Right:
    kind: Literal["r"]
    child: Left | Right | None = None


@for_each("kind", ["l", "x", None])
def test_unions_of_recursive_dataclasses_are_read_once(kind: Any) -> None:
    """Trying both at each level would take 2**30 steps."""
    document: Any = {"kind": kind} if kind else {}
    for _ in range(29):
        document = {"kind": kind, "child": document} if kind else {"child": document}
    if kind == "l":
        assert there_and_back(make_dataclass("H", [("x", for_all(Left))])(into(Left, document, 0)))
        return
    with pytest.raises(XKeyMsgError):
        into(Left, document, 0)


@dataclass
class Base(Generic[T]):
    one: Annotated[T, ALL]


@dataclass
class Both(Base[date], Generic[U]):
    two: Annotated[list[U], ALL] = field(default_factory=list)


class Ends(Both[Path]):
    pass


@dataclass
class Clash(Base[date], Generic[T]):
    two: Annotated[list[T], ALL] = field(default_factory=list)


class StructBase(msgspec.Struct, Generic[T]):
    one: Annotated[T, ALL]


class StructEnd(StructBase[date]):
    pass


def test_generic_models_know_their_arguments_by_a_class() -> None:
    for made in (Ends(DAY, [Path("a")]), StructEnd(DAY)):
        assert there_and_back(made) == made
    for model in (Both[Path], StructBase[date]):
        with pytest.raises(PolicyError, match="derive a class from it"):
            Policy.of(model)
    assert into(Both[Path], {"one": "2026-02-03", "two": ["a"]}, 0) == Both(DAY, [Path("a")])
    with pytest.raises(PolicyError, match="two meanings of the type variable"):
        Policy.of(Clash)


def test_a_model_without_fields_needs_readers() -> None:
    empty = make_dataclass("Empty", [])
    with pytest.raises(PolicyError, match="no Readers for /x"):
        Policy.of(make_dataclass("Outer", [("x", empty)]))
    made = make_dataclass("Outer", [("x", for_all(empty))])(empty())
    assert there_and_back(made) == made


class Limited(msgspec.Struct):
    age: Annotated[int, ALL, msgspec.Meta(ge=18)]


def test_the_sender_is_not_trusted_with_constraints_of_msgspec() -> None:
    with pytest.raises(MalformedError, match=r"does not fit Limited: /age$"):
        opened({"age": 3}).into(Limited)


@given(st.text(alphabet="0123456789PDTHMS.-+:WZYe ", max_size=30) | st.text(max_size=10))
def test_any_text_is_a_value_or_a_misfit(text: str) -> None:
    for name in ("born", "waits", "home"):
        document = {"born": "2026-02-03", name: text}
        try:
            made = into(Person, document, 0)
        except MalformedError:
            continue
        assert into(Person, document_of(made), 0) == made


@given(st.timedeltas())
def test_every_duration_is_read_alike_by_all_libraries(waits: timedelta) -> None:
    text = document_of(Person(DAY, waits))["waits"]
    assert pydantic.TypeAdapter(timedelta).validate_python(text) == waits
    assert msgspec.convert(text, timedelta) == waits
    theirs = msgspec.to_builtins(waits)
    assert into(Person, {"born": "2026-02-03", "waits": theirs}, 0).waits == waits
