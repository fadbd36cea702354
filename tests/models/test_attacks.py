"""Models that would open a field to others, lose a value, or let a reader hang or show it."""

# Types are made at run time.
# mypy: disable-error-code="arg-type,misc,valid-type,type-arg,attr-defined,name-defined"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath, PureWindowsPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, RootModel, SerializeAsAny
from typing_extensions import TypedDict

from tests.cases import for_each
from tests.models.journey import ALL, for_all, there_and_back
from xkeymsg import WITHHELD, MalformedError, Policy, PolicyError, Readers, document_of
from xkeymsg.models.conversion import into

SECRET = "Grunewaldstrasse"
HR = Readers("hr")


def pydantic_model(hint: Any) -> Any:
    return pydantic.create_model("P", x=(for_all(hint), ...))


def struct(hint: Any) -> Any:
    return msgspec.defstruct("M", [("x", for_all(hint))])


def plain(hint: Any) -> Any:
    return make_dataclass("D", [("x", for_all(hint))])


every_kind = pytest.mark.parametrize("model_of", [pydantic_model, struct, plain])


class Address(BaseModel):
    street: Annotated[str, HR] = SECRET


class StructAddress(msgspec.Struct):
    street: Annotated[str, HR] = SECRET


@dataclass
class PlainAddress:
    street: Annotated[str, HR] = SECRET


class Base(BaseModel):
    a: int = 1


class Derived(Base):
    street: Annotated[str, HR] = SECRET


class StructBase(msgspec.Struct):
    a: int = 1


class StructDerived(StructBase):
    street: Annotated[str, HR] = SECRET


@dataclass
class PlainBase:
    a: int = 1


@dataclass
class PlainDerived(PlainBase):
    street: Annotated[str, HR] = SECRET


class Rows(TypedDict):
    a: int


# Readers that no annotation of the field shows.

A = TypeVar("A", bound=Address)
C = TypeVar("C", Address, int)
S = TypeVar("S", bound=StructAddress)
P = TypeVar("P", bound=PlainAddress)


class Bound(BaseModel, Generic[A]):
    x: Annotated[A, ALL]


class Constrained(BaseModel, Generic[C]):
    x: Annotated[C, ALL]


class StructBound(msgspec.Struct, Generic[S]):
    x: Annotated[S, ALL]


@dataclass
class PlainBound(Generic[P]):
    x: Annotated[P, ALL]


class Root(RootModel[Address]):
    pass


class Roots(RootModel[list[Address]]):
    pass


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Address]


class Custom:
    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: Any) -> Any:
        return handler(Address)


@for_each(
    "model",
    [
        Bound, Constrained, StructBound, PlainBound,
        *map(pydantic_model, [Root, Roots, Extra, Custom, list[Root], SerializeAsAny[Address]]),
    ],
)  # fmt: skip
def test_one_readers_does_not_cover_other_readers_of_models_that_a_type_hides(model: Any) -> None:
    with pytest.raises(PolicyError, match=r"both /x and a place below it have Readers: /x/"):
        Policy.of(model)


def test_a_dataclass_in_pydantic_has_no_aliases_that_exchange_readers() -> None:
    @dataclass
    class Swapped:
        city: Annotated[str, ALL, Field(alias="street")]
        street: Annotated[str, HR, Field(alias="city")]

    config = ConfigDict(alias_generator=lambda name: {"a": "street", "street": "a"}.get(name, name))
    for model, options in ((Swapped, None), (PlainBase, config)):
        for hint in (model, list[model]):
            outer: Any = pydantic.create_model("Outer", __config__=options, x=(hint, ...))
            with pytest.raises(PolicyError, match=f"{model.__name__} has aliases: decorate it"):
                Policy.of(outer)


def test_a_class_that_is_called_as_an_absent_value_is_a_member_of_a_union() -> None:
    class UnsetType(Address):
        pass

    for hint in (Address | UnsetType, UnsetType | Address):
        with pytest.raises(PolicyError, match=r"/x: Readers inside .*: cover it"):
            Policy.of(pydantic.create_model("Outer", x=(hint, ...)))


def test_the_policy_of_a_model_that_was_rebuilt_is_that_of_its_new_fields() -> None:
    class Inner(BaseModel):
        x: for_all(int) = 1

    outer: Any = make_dataclass("Outer", [("inner", Inner)])
    assert Policy.of(Inner).readers_of("/x") == Policy.of(outer).readers_of("/inner/x") == ("all",)
    document_of(Inner())
    Inner.__pydantic_fields__["x"].metadata[:] = [HR]
    Inner.__pydantic_fields__["y"] = pydantic.fields.FieldInfo.from_annotation(Annotated[int, HR])
    Inner.model_rebuild(force=True)
    policy = Policy.of(Inner)
    assert policy.readers_of("/x") == policy.readers_of("/y") == ("hr",)
    assert Policy.of(outer).readers_of("/inner/x") == ("hr",)
    made = Inner.model_validate({"x": 1, "y": 2})
    assert document_of(made) == {"x": 1, "y": 2}


# Values that pydantic and msgspec write although no annotation allows them.


@for_each(
    ("hint", "value"),
    [
        (Any, Address()), (Any, PlainAddress()), (object, [Address()]), (list[Any], [Address()]),
        (dict, {"a": PlainAddress()}), (tuple[Base, ...], (Derived(),)), (Base | int, Derived()),
        (tuple[SerializeAsAny[Base], ...], (Derived(),)), (dict[int, Base], {1: Derived()}),
        (tuple[PlainBase, ...], (PlainDerived(),)), (PlainBase | int, PlainDerived()),
        (RootModel[list[Base]], RootModel[list[Base]]([Derived()])),
        (Sequence[Base], (Derived(),)), (Sequence[int], (1, 2)),
    ],
)  # fmt: skip
def test_pydantic_writes_no_other_model_than_the_annotated(hint: Any, value: Any) -> None:
    made = pydantic_model(hint)(x=value)
    with pytest.raises(MalformedError, match=r"^/x(/0)?: (unexpected model|expected list)"):
        document_of(made)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: for_all(int) = 1


def test_a_model_among_extras_is_refused() -> None:
    made = pydantic.create_model("Outer", x=(Open, ...))(x=Open.model_validate({"q": [Address()]}))
    with pytest.raises(MalformedError, match=r"^/x/q: unexpected model Address$"):
        document_of(made)


@for_each(
    ("hint", "value"),
    [
        (tuple[StructBase, ...], (StructDerived(),)), (StructBase | int, StructDerived()),
        (dict[int, StructBase], {1: StructDerived()}), (tuple[PlainBase, ...], (PlainDerived(),)),
        (PlainBase | int, PlainDerived()), (Rows, {"a": 1, "street": SECRET}),
        (tuple[Rows, ...], ({"a": 1, "street": SECRET},)),
    ],
)  # fmt: skip
def test_msgspec_writes_no_members_that_are_not_annotated(hint: Any, value: Any) -> None:
    with pytest.raises(MalformedError, match=r"^/x: expected .*, not ") as caught:
        document_of(struct(hint)(value))
    assert SECRET not in str(caught.value)


@for_each(
    ("hint", "value"),
    [(set[bool | int | str], {True, 2, "a"}), (tuple[float, ...], (1, 2.5)), (float | str, 1)],
)
def test_msgspec_writes_sets_of_several_types_and_whole_floats(hint: Any, value: Any) -> None:
    made = struct(hint)(value)
    assert there_and_back(made) == made


class Aliased(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: for_all(int) = Field(validation_alias=AliasChoices("b", "s"), serialization_alias="s")


def test_an_extra_does_not_take_the_place_of_a_field() -> None:
    made = Aliased.model_validate({"b": 1})
    made.s = SECRET
    other = Aliased.model_validate({"s": 1})
    other.b = SECRET
    for each in (made, Aliased.model_validate({"b": 1, "s": SECRET}), other):
        with pytest.raises(MalformedError, match=r"^/x/[bs]: an extra has the name of a field$"):
            document_of(pydantic_model(tuple[Aliased, ...])(x=[each]))
        with pytest.raises(MalformedError, match=r"^/[bs]: an extra has the name of a field$"):
            document_of(each)


# Values that would come back as others, or not at all.


@for_each(
    "value", [Decimal("1.5"), UUID(int=3), datetime(2026, 1, 1, tzinfo=UTC), b"\xff", 1.5, None]
)
def test_an_enum_of_any_value_of_documents_comes_back(value: Any) -> None:
    kind = Enum("Kind", {"A": value})
    for model in (pydantic_model(kind), plain(kind), plain(Literal[kind.A])):
        assert there_and_back(model(x=kind.A)).x is kind.A
    if value is not None:
        with pytest.raises(PolicyError, match="a Literal of Enum members that are"):
            Policy.of(pydantic_model(Literal[kind.A]))


@every_kind
def test_an_enum_with_a_value_that_is_not_finite_is_refused(model_of: Any) -> None:
    with pytest.raises(PolicyError, match="/x: "):
        Policy.of(model_of(Enum("Kind", {"A": float("nan")})))


def test_an_enum_whose_values_msgspec_cannot_hold_is_refused() -> None:
    with pytest.raises(PolicyError, match="/x: Kind: msgspec does not support"):
        Policy.of(struct(Enum("Kind", {"A": 2**70})))


def test_a_dataclass_whose_constructor_takes_other_values_is_refused() -> None:
    @dataclass
    class WithInitVar:
        x: for_all(int)
        c: InitVar[int]

    @dataclass(init=False)
    class WithInit:
        x: for_all(int)

        def __init__(self, other: int) -> None:
            self.x = other

    for model in (WithInitVar, WithInit):
        for each in (model, plain(tuple[model, ...]), make_dataclass("Outer", [("y", model)])):
            with pytest.raises(PolicyError, match="its constructor does not take exactly its fi"):
                Policy.of(each)


class Listed(msgspec.Struct, array_like=True):
    a: int = 1


class Numbers(RootModel[list[int]]):
    pass


@pytest.mark.parametrize("model", [Listed, Numbers])
def test_a_union_of_a_dataclass_has_no_model_whose_form_is_not_a_dict(model: Any) -> None:
    with pytest.raises(PolicyError, match="/x: types that are alike in documents"):
        Policy.of(plain(model | str))


class OtherSecret(pydantic.SecretStr):
    pass


@for_each(
    ("hint", "value"),
    [
        (PurePath, PureWindowsPath("a\\b")), (pydantic.SecretStr, OtherSecret("a")),
        (float, 2**1023), (float, 2**53 + 1),
    ],
)  # fmt: skip
def test_a_dataclass_writes_no_value_that_would_come_back_as_another(hint: Any, value: Any) -> None:
    with pytest.raises(MalformedError, match=r"^/x: expected .*, not "):
        document_of(plain(hint)(value))


def test_an_instance_without_an_attribute_is_refused() -> None:
    model = plain(int)
    with pytest.raises(MalformedError, match=r"^/x: expected int, not "):
        document_of(object.__new__(model))


# What a hostile sender can do to a reader.


class Missing(Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise KeyError(value)


class Row(NamedTuple):
    a: str


class OtherRow(Row):
    def __new__(cls, a: str) -> Any:
        raise RuntimeError(a)


@dataclass(frozen=True)
class Unhashable:
    a: str

    def __hash__(self) -> int:
        raise RuntimeError(self.a)


class FailingSecret(pydantic.SecretStr):
    def __init__(self, value: str) -> None:
        raise RuntimeError(value)


class FailingPath(type(Path())):
    def __new__(cls, *parts: str) -> Any:
        raise RuntimeError(parts)


class Key(Enum):
    A = SECRET

    __hash__ = None  # type: ignore[assignment]


@for_each(
    ("hint", "form"),
    [
        (Missing, 2), (OtherRow, [SECRET]), (set[Unhashable], [{"a": SECRET}]),
        (FailingSecret, SECRET), (FailingPath, SECRET), (dict[Key, int], {SECRET: 1}),
    ],
)  # fmt: skip
def test_an_error_of_any_code_of_a_dataclass_becomes_ours(hint: Any, form: Any) -> None:
    with pytest.raises(MalformedError, match=r"^does not fit D: /x \(expected ") as caught:
        into(plain(hint), {"x": form}, 0)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_validator_sees_no_withheld_item_under_any_name_of_a_field() -> None:
    seen: list[Any] = []

    class Reader(BaseModel):
        model_config = ConfigDict(populate_by_name=True)
        x: list[
            Annotated[str, pydantic.BeforeValidator(lambda value: seen.append(value) or "")]
        ] = Field(validation_alias=AliasChoices("b", "x"))

    with pytest.raises(PolicyError, match="requires /b/0: withheld"):
        into(Reader, {"x": ["a"], "b": [WITHHELD, "z"]}, 1)
    assert seen == []


@dataclass
class Tree:
    n: int
    below: list[Tree] = field(default_factory=list)


def test_a_strict_model_compares_each_level_of_a_document_once() -> None:
    """Comparing both the items and the sorted items of each list would take 2**100 steps."""
    strict: Any = pydantic.create_model("S", __config__=ConfigDict(strict=True), x=(Tree, ...))
    document: Any = {"n": "1"}
    for _ in range(100):
        document = {"n": 1, "below": [document]}
    with pytest.raises(MalformedError, match="does not fit S: /x"):
        into(strict, {"x": document}, 0)


@for_each("instance", [Address(), StructAddress(), PlainAddress()])
def test_an_instance_in_place_of_a_model_is_not_shown(instance: Any) -> None:
    for call in (Policy.of, lambda model: into(model, {}, 0)):
        with pytest.raises(TypeError, match=r"^an object of .*Address is not a") as caught:
            call(instance)
        assert SECRET not in str(caught.value)


def test_readers_takes_names() -> None:
    for wrong in (["hr"], ("hr",), 1):
        with pytest.raises(PolicyError, match="Readers requires names of permissions"):
            Readers(wrong)
