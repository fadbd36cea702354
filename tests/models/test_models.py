"""Annotated dataclasses, pydantic models and msgspec Structs, as policies and documents."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypeAliasType

from tests.cases import for_each
from xkeymsg import (
    WITHHELD,
    FieldDeniedError,
    LimitExceededError,
    Limits,
    MalformedError,
    NotARecipientError,
    Opener,
    Policy,
    PolicyError,
    Readers,
    Sealer,
    View,
    XKeyMsgError,
    XKeyPair,
    document_of,
)
from xkeymsg.fields.split import split
from xkeymsg.models.conversion import into


class Grade(Enum):
    JUNIOR = "junior"
    SENIOR = "senior"


class Level(IntEnum):
    ONE = 1


T = TypeVar("T")
Salary = NewType("Salary", int)
Team = Readers("team")
HR = Readers("hr")


@dataclass
class PlainAddress:
    city: Annotated[str, Team]
    street: Annotated[str | None, HR] = None


@dataclass
class PlainEmployee:
    id: Annotated[UUID, Team]
    name: Annotated[str, Readers("team", "hr")]
    salary: Annotated[Decimal | None, HR] = None
    since: Annotated[datetime | None, HR] = None
    photo: Annotated[bytes, HR] = b""
    grade: Annotated[Grade, HR] = Grade.JUNIOR
    home: PlainAddress | None = None
    places: list[PlainAddress] = field(default_factory=list)
    by_name: dict[str, PlainAddress] = field(default_factory=dict)
    first_name: Annotated[str, Team] = ""


class ModelAddress(pydantic.BaseModel):
    city: Annotated[str, Team]
    street: Annotated[str | None, HR] = None


class ModelEmployee(pydantic.BaseModel):
    id: Annotated[UUID, Team]
    name: Annotated[str, Readers("team", "hr")]
    salary: Annotated[Decimal | None, HR, pydantic.Field(gt=0)] = None
    since: Annotated[datetime | None, HR] = None
    photo: Annotated[bytes, HR] = b""
    grade: Annotated[Grade, HR] = Grade.JUNIOR
    home: ModelAddress | None = None
    places: list[ModelAddress] = []
    by_name: dict[str, ModelAddress] = {}
    first_name: Annotated[str, Team] = pydantic.Field(default="", alias="firstName")


class StructAddress(msgspec.Struct):
    city: Annotated[str, Team]
    street: Annotated[str | None, HR] = None


class StructEmployee(msgspec.Struct, rename={"first_name": "firstName"}):
    id: Annotated[UUID, Team]
    name: Annotated[str, Readers("team", "hr")]
    salary: Annotated[Decimal | None, HR] = None
    since: Annotated[datetime | None, HR] = None
    photo: Annotated[bytes, HR] = b""
    grade: Annotated[Grade, HR] = Grade.JUNIOR
    home: StructAddress | None = None
    places: list[StructAddress] = []
    by_name: dict[str, StructAddress] = {}
    first_name: Annotated[str, Team] = ""


KINDS: list[tuple[Any, Any]] = [
    (PlainEmployee, PlainAddress),
    (ModelEmployee, ModelAddress),
    (StructEmployee, StructAddress),
]
every_kind = pytest.mark.parametrize(("employee", "address"), KINDS)

ID = UUID("018f428e-34f6-4707-8009-5ad742f901e7")
SINCE = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
SECRET = "Grunewaldstrasse"


def ada(employee: Any, address: Any) -> Any:
    made = employee(
        id=ID,
        name="Ada",
        salary=Decimal("12.50"),
        since=SINCE,
        photo=b"\x00\xff",
        grade=Grade.SENIOR,
        home=address(city="Berlin", street=SECRET),
        places=[address(city="Rome"), address(city="Oslo", street="Gate 1")],
        by_name={"a/b": address(city="Bern")},
    )
    made.first_name = "A"
    return made


ALICE, TEAM, BOSS = (XKeyPair.generate() for _ in range(3))


def view(document: Any, policy: Policy, reader: XKeyPair = TEAM) -> View:
    sealed = Sealer(ALICE).seal_document(
        document,
        policy=policy,
        readers={"team": [TEAM.public, BOSS.public], "hr": [BOSS.public]},
        subject="staff",
    )
    return Opener(reader, senders={ALICE.public}).open_document(sealed, subject="staff")


@every_kind
def test_annotations_are_a_policy(employee: Any, address: Any) -> None:
    first = "/first_name" if employee is PlainEmployee else "/firstName"
    assert [(rule.patterns[0], rule.permissions) for rule in Policy.of(employee).rules] == [
        ("/id/**", ("team",)),
        ("/name/**", ("team", "hr")),
        ("/salary/**", ("hr",)),
        ("/since/**", ("hr",)),
        ("/photo/**", ("hr",)),
        ("/grade/**", ("hr",)),
        ("/home/city/**", ("team",)),
        ("/home/street/**", ("hr",)),
        ("/home/*", ()),
        ("/home[]", ("team", "hr")),
        ("/places/*/city/**", ("team",)),
        ("/places/*/street/**", ("hr",)),
        ("/places/*/*", ()),
        ("/places/*[]", ("team", "hr")),
        ("/places[]", ("team", "hr")),
        ("/by_name/*/city/**", ("team",)),
        ("/by_name/*/street/**", ("hr",)),
        ("/by_name/*/*", ()),
        ("/by_name/*[]", ("team", "hr")),
        ("/by_name[]", ("team", "hr")),
        (f"{first}/**", ("team",)),
    ]
    assert Policy.of(employee).readers_of("/home/unknown") == ()


@dataclass
class Moved:
    city: Annotated[str, Team]
    street: Annotated[str, HR]


@dataclass
class Mover:
    id: Annotated[int, Team]
    home: Moved | None = None
    old: list[Moved] = field(default_factory=list)
    by_name: dict[str, Moved] = field(default_factory=dict)
    deep: list[list[Moved]] = field(default_factory=list)


MOVED: Final = {"city": "Rome", "street": "12 Main St"}
NOT_MODELS: Final = [
    {"home": "12 Main St"},
    {"home": 12},
    {"home": False},
    {"home": b""},
    {"home": ""},
    {"home": ["12 Main St"]},
    {"home": [MOVED]},
    {"home": {**MOVED, "note": "12 Main St"}},
    {"home": {**MOVED, "note": None}},
    {"old": "12 Main St"},
    {"old": ["12 Main St"]},
    {"old": [MOVED, 12]},
    {"old": [[MOVED]]},
    {"old": {"street": "12 Main St"}},
    {"old": {**MOVED}},
    {"by_name": "12 Main St"},
    {"by_name": ["12 Main St"]},
    {"by_name": {"x": "12 Main St"}},
    {"by_name": {"x": [MOVED]}},
    {"by_name": {"x": {"y": MOVED}}},
    {"deep": "12 Main St"},
    {"deep": ["12 Main St"]},
    {"deep": [["12 Main St"]]},
    {"deep": [[[MOVED]]]},
    {"deep": [MOVED]},
    {"deep": [["12 Main St", MOVED]]},
]


@for_each("document", NOT_MODELS)
def test_nobody_may_read_another_value_where_a_model_is_expected(
    document: dict[str, Any],
) -> None:
    """It has no readers of its own, and all readers of the model together are too many."""
    policy = Policy.of(Mover)
    with pytest.raises(FieldDeniedError):
        split({"id": 1, **document}, policy, Limits())
    assert any(not told.permissions for told in policy.explain({"id": 1, **document}))


@for_each(
    "document",
    [
        {"home": "12 Main St"},
        {"home": ""},
        {"home": ["12 Main St"]},
        {"old": "12 Main St"},
        {"old": ["12 Main St"]},
        {"old": {"x": MOVED}},
        {"by_name": [MOVED]},
        {"by_name": {"x": "12 Main St"}},
        {"deep": [["12 Main St"]]},
        {"deep": [MOVED]},
    ],
)
def test_an_instance_with_another_value_where_a_model_is_expected_is_refused(
    document: dict[str, Any],
) -> None:
    with pytest.raises(MalformedError, match=r": expected .+, not ") as caught:
        document_of(Mover(1, **document))
    assert "Main" not in str(caught.value)


@for_each(
    "document",
    [
        {},
        {"home": None},
        {"home": {}},
        {"home": []},
        {"old": None},
        {"old": [None, {}, [], MOVED]},
        {"by_name": {"x": None, "y": {}, "z": MOVED}},
        {"deep": [None, [], [None], [MOVED, {}]]},
    ],
)
def test_empty_values_where_models_are_expected_are_for_all_readers_of_these(
    document: dict[str, Any],
) -> None:
    policy = Policy.of(Mover)
    parts = {
        part.permissions: part for part in split({"id": 1, **document}, policy, Limits()).parts
    }
    assert {*parts} <= {frozenset({"team"}), frozenset({"hr"}), frozenset({"team", "hr"})}
    told = {each.pointer: each.permissions for each in policy.explain({"id": 1, **document})}
    for pointer, permissions in told.items():
        own = {"city": ("team",), "street": ("hr",), "id": ("team",)}
        assert permissions == own.get(pointer.split("/")[-1], ("team", "hr"))
    assert b"12 Main St" not in b"".join(
        part.plaintext for held, part in parts.items() if held != {"hr"}
    )


@every_kind
def test_an_instance_is_a_document_with_the_exact_types(employee: Any, address: Any) -> None:
    document = document_of(ada(employee, address))
    first = "first_name" if employee is PlainEmployee else "firstName"
    assert document == {
        "id": ID,
        "name": "Ada",
        "salary": Decimal("12.50"),
        "since": SINCE,
        "photo": b"\x00\xff",
        "grade": "senior",
        "home": {"city": "Berlin", "street": SECRET},
        "places": [{"city": "Rome", "street": None}, {"city": "Oslo", "street": "Gate 1"}],
        "by_name": {"a/b": {"city": "Bern", "street": None}},
        first: "A",
    }
    assert [type(each) for each in document.values()] == [
        UUID, str, Decimal, datetime, bytes, str, dict, list, dict, str,
    ]  # fmt: skip
    assert str(document["salary"]) == "12.50"


@every_kind
def test_who_may_see_everything_gets_the_instance_back(employee: Any, address: Any) -> None:
    made = ada(employee, address)
    opened = view(document_of(made), Policy.of(employee), BOSS).into(employee)
    assert opened == made
    assert type(opened) is employee
    assert opened.since.utcoffset() == SINCE.utcoffset()
    assert opened.grade is Grade.SENIOR


@every_kind
def test_defaults_stand_for_what_is_withheld(employee: Any, address: Any) -> None:
    seen = view(document_of(ada(employee, address)), Policy.of(employee))
    assert seen.withheld == 1
    opened = seen.into(employee)
    assert (opened.id, opened.name, opened.first_name) == (ID, "Ada", "A")
    assert (opened.salary, opened.since, opened.photo, opened.grade) == (
        None, None, b"", Grade.JUNIOR,
    )  # fmt: skip
    assert opened.home == address(city="Berlin")
    assert opened.places == [address(city="Rome"), address(city="Oslo")]
    assert opened.by_name == {"a/b": address(city="Bern")}


@every_kind
@pytest.mark.parametrize("reader", [TEAM, BOSS])
def test_none_and_empty_lists_of_models_have_readers(
    employee: Any, address: Any, reader: XKeyPair
) -> None:
    made = employee(id=ID, name="Ada")
    seen = view(document_of(made), Policy.of(employee), reader)
    assert (seen.document["home"], seen.document["places"], seen.document["by_name"]) == (
        None, [], {},
    )  # fmt: skip
    assert seen.into(employee) == made


@dataclass
class StrictAddress:
    city: str
    street: str
    zip: int


@dataclass
class Strict:
    id: UUID
    salary: Decimal
    home: StrictAddress
    places: list[StrictAddress]
    nick: str


class StrictModelAddress(pydantic.BaseModel):
    city: str
    street: str
    zip: int


class StrictModel(pydantic.BaseModel):
    id: UUID
    salary: Decimal
    home: StrictModelAddress
    places: list[StrictModelAddress]
    nick: str = pydantic.Field(alias="nick~")


class StrictStructAddress(msgspec.Struct):
    city: str
    street: str
    zip: int


class StrictStruct(msgspec.Struct, rename={"nick": "nick~"}):
    id: UUID
    salary: Decimal
    home: StrictStructAddress
    places: list[StrictStructAddress]
    nick: str


@for_each("model", [Strict, StrictModel, StrictStruct])
def test_one_error_names_all_that_is_missing(model: Any) -> None:
    seen = view(document_of(ada(PlainEmployee, PlainAddress)), Policy.of(PlainEmployee))
    with pytest.raises(PolicyError) as caught:
        seen.into(model)
    named = set(str(caught.value).split(" requires ")[1].split(": ")[0].split(", "))
    assert named == {
        "/salary", "/home/street", "/home/zip", "/places/0/street", "/places/0/zip",
        "/places/1/street", "/places/1/zip", "/nick" if model is Strict else "/nick~0",
    }  # fmt: skip


@for_each("model", [Strict, StrictModel, StrictStruct])
def test_what_is_missing_with_nothing_withheld_is_the_documents_fault(model: Any) -> None:
    document = document_of(ada(PlainEmployee, PlainAddress))
    seen = view(document, Policy([("/**", ["team"])]))
    assert seen.withheld == 0
    with pytest.raises(MalformedError, match=r"requires .*/home/zip.*: not in the document"):
        seen.into(model)


def test_the_readers_model_needs_no_annotations_and_ignores_what_it_does_not_name() -> None:
    @dataclass
    class Badge:
        name: str
        first_name: str = "?"

    seen = view(document_of(ada(PlainEmployee, PlainAddress)), Policy.of(PlainEmployee))
    assert seen.into(Badge) == Badge("Ada", "A")


# What is withheld in lists.


@dataclass
class Texts:
    texts: list[str]


@dataclass
class Anything:
    texts: list[Any]
    more: list[Any] | None = None
    bare: Any = None


class TextsModel(pydantic.BaseModel):
    texts: list[str | None]


class AnythingModel(pydantic.BaseModel):
    texts: list[Any]


class TextsStruct(msgspec.Struct):
    texts: list[str]


class AnythingStruct(msgspec.Struct):
    texts: list[Any]


LAST_ONLY = Policy([("/texts/1", ["team"]), ("/**", ["hr"])])


@for_each("model", [Texts, TextsModel, TextsStruct])
def test_a_withheld_item_is_named(model: Any) -> None:
    seen = view({"texts": ["a", "b", "c"]}, LAST_ONLY)
    with pytest.raises(PolicyError, match=r"requires /texts/0: withheld"):
        seen.into(model)


@for_each("model", [Anything, AnythingModel, AnythingStruct])
def test_items_that_can_be_anything_can_be_withheld(model: Any) -> None:
    seen = view({"texts": ["a", "b", "c"]}, LAST_ONLY)
    assert seen.into(model).texts == [WITHHELD, "b"]


@every_kind
def test_a_withheld_model_in_a_list_is_named(employee: Any, address: Any) -> None:
    document = document_of(ada(employee, address))
    seen = view(document, Policy([("/places/0/**", ["hr"]), ("/**", ["team"])]))
    with pytest.raises(PolicyError, match=r"requires /places/0: "):
        seen.into(employee)


def test_withheld_in_what_is_not_looked_into_is_named() -> None:
    @dataclass
    class Either:
        x: list[str] | str

    with pytest.raises(PolicyError, match=r"requires /x/0: "):
        into(Either, {"x": [WITHHELD, "b"]}, 1)


# What does not fit.


class Validated(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    n: int = 0
    either: int | list[int] = 0
    grade: Grade = Grade.JUNIOR
    addresses: list[ModelAddress] = []

    @pydantic.field_validator("n")
    @classmethod
    def _small(cls, n: int) -> int:
        if n > 9:
            raise ValueError(f"{n} {SECRET}")
        return n


class Checked(msgspec.Struct, forbid_unknown_fields=True):
    n: Annotated[int, msgspec.Meta(le=9)] = 0
    either: int | list[int] = 0
    grade: Grade = Grade.JUNIOR
    addresses: list[StructAddress] = []

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError(f"{self.n} {SECRET}")


@dataclass
class Plain:
    n: int = 0
    either: int | list[int] = 0
    grade: Grade = Grade.JUNIOR
    addresses: list[PlainAddress] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.n > 9:
            raise ValueError(f"{self.n} {SECRET}")


@for_each(
    ("model", "document", "places"),
    [
        (Validated, {"n": SECRET}, "/n"),
        (Validated, {"n": 10}, "/n"),
        (Validated, {"either": SECRET}, "/either"),
        (Validated, {"either": [1, SECRET]}, "/either"),
        (Validated, {"grade": SECRET}, "/grade"),
        (Validated, {"unknown": SECRET}, "/*"),
        (Validated, {"addresses": SECRET}, "/addresses"),
        (Validated, {"addresses": [SECRET]}, "/addresses/0"),
        (Validated, {"addresses": [{"city": "x", "street": [SECRET]}]}, "/addresses/0/street"),
        (Validated, {"n": "x", "grade": SECRET}, "/n, /grade"),
        (Validated, [SECRET], "the document"),
        (Checked, {"n": SECRET}, "/n"),
        (Checked, {"n": 10}, "/n"),
        (Checked, {"n": -1}, "the document"),
        (Checked, {"either": [1, SECRET]}, "/either"),
        (Checked, {"grade": SECRET}, "/grade"),
        (Checked, {"unknown": SECRET}, "the document"),
        (Checked, {"addresses": SECRET}, "/addresses"),
        (Checked, {"addresses": [SECRET]}, "/addresses/0"),
        (Checked, {"addresses": [{"city": "x", "street": [SECRET]}]}, "/addresses/0/street"),
        (Checked, {"n": "x", "grade": SECRET}, "/n, /grade"),
        (Checked, SECRET, "the document"),
        (Plain, {"n": SECRET}, "/n (expected int)"),
        (Plain, {"n": True}, "/n (expected int)"),
        (Plain, {"n": 1.0}, "/n (expected int)"),
        (Plain, {"n": 10}, "the document"),
        (Plain, {"either": SECRET}, "/either (expected int | list[int])"),
        (Plain, {"grade": SECRET}, "/grade (expected Grade)"),
        (Plain, {"grade": None}, "/grade (expected Grade)"),
        (Plain, {"addresses": SECRET}, "/addresses (expected list[PlainAddress])"),
        (Plain, {"addresses": [SECRET]}, "/addresses/0 (expected PlainAddress)"),
        (
            Plain,
            {"addresses": [{"city": "x", "street": [SECRET]}]},
            "/addresses/0/street (expected str | None)",
        ),
        (Plain, {"n": "x", "grade": SECRET}, "/n (expected int), /grade (expected Grade)"),
        (Plain, SECRET, "the document (expected Plain)"),
    ],
)
def test_what_does_not_fit_is_named_and_not_shown(model: Any, document: Any, places: str) -> None:
    with pytest.raises(MalformedError) as caught:
        into(model, document, 0)
    error = caught.value
    assert str(error) == f"does not fit {model.__qualname__}: {places}"
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in "".join(traceback.format_exception_only(error)) + repr(error.__dict__)


@dataclass
class Kinds:
    i: int
    f: float
    s: str
    b: bytes
    t: bool
    d: Decimal
    w: datetime
    u: UUID
    n: None
    e: Grade
    l: list[int]  # noqa: E741
    m: dict[str, float | None]
    a: Any
    c: Literal["x", 1]
    y: Salary
    o: Annotated[Level, "a note"] | None
    q: Sequence[str]
    v: Final[int] = 3


KINDS_DOCUMENT: dict[str, Any] = {
    "i": 2**80, "f": 1, "s": "", "b": b"", "t": True, "d": Decimal(1), "w": SINCE, "u": ID,
    "n": None, "e": "senior", "l": [1], "m": {"k": None, "j": 1.5}, "a": {"x": [1]}, "c": 1,
    "y": 3, "o": 1, "q": ["x"], "v": 4,
}  # fmt: skip


def test_a_dataclass_gets_the_types_it_is_annotated_with() -> None:
    made = into(Kinds, KINDS_DOCUMENT, 0)
    assert (made.e, made.o) == (Grade.SENIOR, Level.ONE)
    assert type(made.o) is Level
    assert document_of(made) == KINDS_DOCUMENT
    wrong: dict[str, Any] = {
        "i": 1.0, "f": "1", "s": b"", "b": "", "t": 1, "d": 1.0, "w": "2026", "u": str(ID),
        "n": 0, "e": 1, "l": ["1"], "m": {"k": "x"}, "c": True, "y": "3", "o": True, "q": "x",
        "v": None,
    }  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(MalformedError, match=rf": /{name}(/0|/\*)? \(expected "):
            into(Kinds, KINDS_DOCUMENT | {name: value}, 0)


# What a model cannot be.


@dataclass
class Bare:
    a: int
    b: Annotated[int, Team]
    c: list[PlainAddress]
    d: list[int]
    e: Annotated[StrictAddress, HR]
    f: StrictAddress


def test_fields_without_annotation_are_all_named() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.of(Bare)
    names = "/a, /d/*, /f/city, /f/street, /f/zip"
    assert str(caught.value) == f"Bare: no Readers for {names}; annotate Annotated[…, Readers(…)]"


@dataclass
class Recursive:
    name: Annotated[str, Team]
    below: Annotated[list[Recursive], Team]


class RecursiveModel(pydantic.BaseModel):
    name: Annotated[str, Team]
    below: list[RecursiveModel] = []


class RecursiveStruct(msgspec.Struct):
    name: Annotated[str, Team]
    below: dict[str, RecursiveStruct] = {}


@for_each("model", [Recursive, RecursiveModel, RecursiveStruct])
def test_recursive_models_with_readers_of_fields_are_refused(model: Any) -> None:
    with pytest.raises(
        PolicyError, match=r"/below(/\*: Recursive\w* contains itself| and a place below)"
    ):
        Policy.of(model)


class Pair(NamedTuple):
    x: Annotated[int, HR]


class Typed(TypedDict):
    x: Annotated[int, HR]


class Box(pydantic.RootModel[list[int]]):
    pass


class Positional(msgspec.Struct, array_like=True):
    x: Annotated[int, HR]


class OtherAlias(pydantic.BaseModel):
    x: Annotated[int, HR] = pydantic.Field(validation_alias="y")


Both = Annotated[int, HR]


@for_each(
    ("hint", "why"),
    [
        (tuple[int, ...], "no Readers for /x"),
        (Annotated[set, HR], "/x: unsupported type set"),
        (Annotated[Pair, HR], "both /x and a place below it .*: /x/x"),
        (Annotated[list[Typed], HR], r"both /x and a place below it .*: /x/\*/x"),
        (dict[int, PlainAddress], r"/x: Readers inside dict\[int, PlainAddress\]: cover it"),
        (PlainAddress | StrictAddress, r"/x: Readers inside PlainAddress \| StrictAddress: "),
        (Annotated[int, HR] | str, r"/x: Readers inside int \| str: "),
        (Annotated[PlainAddress, HR], "Model: both /x and a place below it have Readers: /x/city"),
        (
            Annotated[list[Annotated[int, HR]], Team],
            r"both /x and a place below it have Readers: /x/\*$",
        ),
        (Annotated[Both, Team], "/x has Readers twice"),
        (Annotated[Both | None, Team], "/x has Readers twice"),
        (Annotated[type[int], Team], r"/x: unsupported type type\[int\]"),
        (Box, "/x: Box is a RootModel, which has no fields"),
        (Positional, "/x: Positional is array_like, which has no field names"),
        (OtherAlias, "/x: x has different aliases"),
        (Annotated[int, Readers("HR")], "invalid permission name 'HR'"),
    ],
)
def test_what_a_model_cannot_have_is_named(hint: Any, why: str) -> None:
    class Model:
        __annotations__ = {"x": hint}

    with pytest.raises(PolicyError, match=why):
        Policy.of(dataclass(Model))


Aliased = TypeAliasType("Aliased", Annotated[list[PlainAddress], "a note"])
Generic_ = TypeAliasType("Generic_", list[T] | None, type_params=(T,))


def test_type_aliases_are_looked_into() -> None:
    @dataclass
    class Model:
        __annotations__ = {"x": Aliased}

    assert Policy.of(Model).readers_of("/x/0/street") == ("hr",)

    @dataclass
    class Parameters:
        __annotations__ = {"x": Annotated[Generic_[PlainAddress], Team]}

    with pytest.raises(PolicyError, match=r"both /x and .*: /x/\*/city"):
        Policy.of(Parameters)


class TwoOfOneName(pydantic.BaseModel):
    a: Annotated[int, Team] = pydantic.Field(alias="x")
    b: Annotated[int, HR] = pydantic.Field(alias="x")


def test_two_fields_have_two_names() -> None:
    with pytest.raises(PolicyError, match="TwoOfOneName: two fields with the same alias"):
        Policy.of(TwoOfOneName)


class Inner(msgspec.Struct):
    x: Annotated[int, HR]


class Mixed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    inner: Inner


def test_a_library_has_no_models_of_another() -> None:
    with pytest.raises(
        PolicyError, match=r"Mixed: /inner: a msgspec model inside a model of another"
    ):
        Policy.of(Mixed)


def test_a_dataclass_may_hold_any_model_and_be_in_any() -> None:
    seen = document_of(Holder(ModelAddress(city="x"), [StructAddress(city="y")]))
    assert into(Holder, seen, 0) == Holder(ModelAddress(city="x"), [StructAddress(city="y")])
    assert into(Around, {"home": {"city": "x"}}, 0).home == PlainAddress("x")
    assert into(AroundStruct, {"home": {"city": "x"}}, 0).home == PlainAddress("x")
    with pytest.raises(PolicyError, match="requires /home/city: "):
        into(Around, {"home": {}}, 1)
    with pytest.raises(MalformedError, match=r": /home/city, /places/0/street$"):
        into(Holder, {"home": {"city": 1}, "places": [{"city": "", "street": 1}]}, 0)


@dataclass
class Holder:
    home: ModelAddress
    places: list[StructAddress]


class Around(pydantic.BaseModel):
    home: PlainAddress


class AroundStruct(msgspec.Struct):
    home: PlainAddress


@pydantic.dataclasses.dataclass
class Bold:
    first_name: Annotated[str, Team] = pydantic.Field(alias="firstName")
    salary: Annotated[int | None, HR] = None


def test_a_pydantic_dataclass_is_a_model_of_pydantic() -> None:
    made = Bold(firstName="x", salary=3)
    assert document_of(made) == {"firstName": "x", "salary": 3}
    assert view(document_of(made), Policy.of(Bold)).into(Bold).first_name == "x"
    with pytest.raises(MalformedError, match=r": /salary$"):
        into(Bold, {"firstName": "x", "salary": SECRET}, 0)


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    n: Annotated[int, Team]
    hidden: int = pydantic.Field(default=0, exclude=True)

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.n


def test_extras_are_in_the_document_and_need_a_rule() -> None:
    made = Open.model_validate({"n": 1, "x": [Decimal(1)]})
    assert document_of(made) == {"n": 1, "x": [Decimal(1)]}
    with pytest.raises(FieldDeniedError, match="no rule for /x/0"):
        view(document_of(made), Policy.of(Open))
    assert into(Open, document_of(made), 0) == made


class Sparse(msgspec.Struct):
    a: Annotated[int | msgspec.UnsetType, HR] = msgspec.UNSET
    b: StructAddress | msgspec.UnsetType = msgspec.UNSET


class Tagged(msgspec.Struct, tag="t"):
    a: Annotated[int, HR]


def test_what_is_unset_is_not_in_the_document() -> None:
    assert document_of(Sparse(b=StructAddress("x"))) == {"b": {"city": "x", "street": None}}
    assert into(Sparse, {}, 0) == Sparse()
    assert into(Tagged, document_of(Tagged(1)), 0) == Tagged(1)


@dataclass
class Derived:
    table: ClassVar[dict[str, int]] = {}
    a: Annotated[int, HR]
    b: int = field(init=False, default=0)
    c: InitVar[int] = 3

    def __post_init__(self, c: int) -> None:
        self.b = self.a * c


def test_what_a_dataclass_derives_is_not_in_the_document() -> None:
    assert document_of(Derived(2)) == {"a": 2}
    assert into(Derived, {"a": 2}, 0).b == 6


@dataclass
class Loose:
    x: Any


class SubAddress(StrictAddress):
    secret: int = 1


@dataclass
class Nested:
    home: StrictAddress


@for_each(
    ("instance", "why"),
    [
        (Loose((1, 2)), "/x: a document cannot hold a tuple"),
        (Loose({"a": [{1}]}), "/x/a/0: a document cannot hold a set"),
        (Loose(date(2026, 1, 1)), "/x: a document cannot hold a date"),
        (Loose({1: 2}), "/x: a dict key must be a str, not int"),
        (Loose(PlainAddress("x")), "/x: a document cannot hold a PlainAddress"),
        (Loose(WITHHELD), "/x: a document cannot hold a _Withheld"),
        (Nested(SubAddress("x", "y", 1)), "/home: expected StrictAddress, not SubAddress"),
        (Texts(("a",)), "/texts: expected list[str], not tuple"),  # type: ignore[arg-type]
    ],
)
def test_what_a_document_cannot_hold_is_named(instance: Any, why: str) -> None:
    with pytest.raises(MalformedError) as caught:
        document_of(instance)
    assert str(caught.value) == why


def test_a_cycle_is_too_deep() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(LimitExceededError, match="depth"):
        document_of(Loose(cycle))


@for_each("model", [int, list[PlainAddress], "x", None, PlainAddress("x")])
def test_what_is_no_model_is_a_type_error(model: Any) -> None:
    with pytest.raises(TypeError):
        Policy.of(model)
    with pytest.raises(TypeError):
        into(model, {}, 0)
    if not isinstance(model, PlainAddress):
        with pytest.raises(TypeError):
            document_of(model)


def test_an_annotation_that_names_nothing_is_named() -> None:
    class Local(msgspec.Struct):
        x: Annotated[int, HR] = 1

    @dataclass
    class Unresolved:
        x: Annotated[Local, HR]

    with pytest.raises(
        PolicyError, match=r"'Local' in an annotation of .*Unresolved is not defined"
    ):
        Policy.of(Unresolved)


def test_readers_are_values() -> None:
    assert Readers("a", "b") == Readers("a", "b") != Readers("b")
    assert len({Readers("a"), Readers("a")}) == 1
    assert repr(Readers("a", "b")) == "Readers('a', 'b')"
    with pytest.raises(PolicyError):
        Readers()


def test_a_policy_of_a_model_can_allow_permissions_to_be_unread() -> None:
    policy = Policy.of(PlainAddress, allow_unread=["hr"])
    assert policy.allow_unread == {"hr"}
    assert type(policy) is Policy


def test_a_reader_of_nothing_gets_nothing() -> None:
    with pytest.raises(NotARecipientError):
        view({"a": 1}, Policy([("/**", ["hr"])]))


def test_neither_library_is_imported() -> None:
    code = (
        "import sys, dataclasses, typing, xkeymsg as x\n"
        "M = dataclasses.make_dataclass('M', [('a', typing.Annotated[int, x.Readers('hr')])])\n"
        "x.Policy.of(M)\n"
        "assert x.document_of(M(1)) == {'a': 1}\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "pydantic_core", "msgspec"} & set(done.stdout.split())


addresses = st.tuples(st.text(), st.none() | st.text())
scalars = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.uuids()
documents = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@given(st.lists(addresses), st.dictionaries(st.text(), addresses), st.none() | addresses)
def test_every_instance_comes_back(places: list[Any], by_name: dict[str, Any], home: Any) -> None:
    for employee, address in KINDS:
        made = employee(
            id=ID,
            name="",
            home=home and address(city=home[0], street=home[1]),
            places=[address(city=city, street=street) for city, street in places],
            by_name={
                name: address(city=city, street=street) for name, (city, street) in by_name.items()
            },
        )
        assert into(employee, document_of(made), 0) == made


@given(documents, st.integers(0, 1))
def test_any_document_fits_or_is_refused(document: Any, withheld: int) -> None:
    for employee, _ in KINDS:
        for given_ in (document, {"id": ID, "name": "", "home": document, "places": [document]}):
            try:
                into(employee, given_, withheld)
            except XKeyMsgError as error:
                assert error.__context__ is None  # noqa: PT017
