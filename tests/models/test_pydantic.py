"""pydantic models: serializers, aliases, strictness, validators, and what the policy refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, create_model

from tests.cases import for_each
from tests.models.journey import ALL, for_all, opened, there_and_back
from xkeymsg import MalformedError, Policy, PolicyError, Readers, document_of
from xkeymsg.fields.values import WITHHELD
from xkeymsg.models.conversion import into

SECRET = "Grunewaldstrasse"
DAY = date(2026, 2, 3)


class Colour(Enum):
    RED = "red"


# Serializers.


class Card(BaseModel):
    number: Annotated[str, ALL]
    until: Annotated[date, ALL] = DAY

    @pydantic.field_serializer("number")
    def _masked(self, number: str) -> str:
        return "****" + number[-4:]

    @pydantic.field_serializer("until", mode="wrap")
    def _year(self, until: date, handler: Any) -> Any:
        return handler(until).replace(day=1)


def test_serializers_of_fields_are_applied() -> None:
    assert document_of(Card(number="4111111111111111")) == {
        "number": "****1111", "until": "2026-02-01",
    }  # fmt: skip
    assert there_and_back(Card(number="41111")) == Card(number="****1111", until=date(2026, 2, 1))


class Whole(BaseModel):
    x: int

    @pydantic.model_serializer
    def _dump(self) -> dict[str, Any]:
        return {"y": self.x}

    @pydantic.model_validator(mode="before")
    @classmethod
    def _load(cls, value: Any) -> Any:
        return {"x": value["y"]} if isinstance(value, dict) and "y" in value else value


class AroundWhole(BaseModel):
    whole: Annotated[Whole, ALL]


def test_a_model_serializer_needs_one_readers_for_the_model() -> None:
    made = AroundWhole(whole=Whole(x=3))
    assert document_of(made) == {"whole": {"y": 3}}
    for model in (create_model("Outer", whole=(Whole, ...)), Whole):
        with pytest.raises(PolicyError, match="a serializer or Json replaces the fields"):
            Policy.of(model)


def test_an_error_of_a_serializer_names_the_place_and_no_value() -> None:
    class Failing(BaseModel):
        a: Annotated[int, ALL] = 1
        b: Annotated[str, ALL]

        @pydantic.field_serializer("b")
        def _dump(self, value: str) -> str:
            raise KeyError(value)

    with pytest.raises(MalformedError, match=r"^/b: pydantic cannot dump") as caught:
        document_of(Failing(b=SECRET))
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_value_of_another_type_is_refused() -> None:
    made = Card.model_construct(number="1", until=SECRET)
    with pytest.raises(MalformedError, match=r"^/until: ") as caught:
        document_of(made)
    assert SECRET not in str(caught.value)


class Inner(BaseModel):
    x: Annotated[int, ALL]


class Sub(Inner):
    secret: int = 1


class Holder(BaseModel):
    one: Inner
    many: list[Inner] = []


def test_an_instance_of_a_subclass_is_refused_because_its_fields_would_be_dropped() -> None:
    for made in (Holder(one=Sub(x=1)), Holder(one=Inner(x=1), many=[Sub(x=1)])):
        with pytest.raises(MalformedError, match="expected Inner, not Sub"):
            document_of(made)


# Aliases.

BY_NAME = ConfigDict(validate_by_alias=False, validate_by_name=True)
EITHER = ConfigDict(populate_by_name=True)
A = "a"


@for_each(
    ("config", "alias", "key"),
    [
        ({}, {}, "x"),
        ({}, {"alias": A}, A),
        ({}, {"validation_alias": A, "serialization_alias": A}, A),
        ({}, {"validation_alias": A}, None),
        ({}, {"serialization_alias": A}, "x"),
        ({}, {"validation_alias": A, "serialization_alias": "b"}, None),
        ({}, {"validation_alias": AliasChoices("b", A), "serialization_alias": A}, A),
        ({}, {"validation_alias": AliasChoices("b", "x")}, "x"),
        ({}, {"validation_alias": AliasChoices("b", AliasPath("c", 0))}, None),
        ({}, {"validation_alias": AliasPath("c", 0)}, None),
        ({}, {"validation_alias": AliasPath(A), "serialization_alias": A}, A),
        (BY_NAME, {"alias": A}, "x"),
        (BY_NAME, {"validation_alias": AliasPath("c", 0)}, "x"),
        (EITHER, {"alias": A}, A),
        (EITHER, {"validation_alias": A}, "x"),
        (EITHER, {"validation_alias": A, "serialization_alias": "b"}, "x"),
        (ConfigDict(alias_generator=lambda name: name * 2), {}, "xx"),
        (ConfigDict(serialize_by_alias=True), {"alias": A}, A),
    ],
)
def test_a_field_has_the_name_that_it_is_read_from(config: Any, alias: Any, key: Any) -> None:
    model: Any = create_model("M", __config__=config, x=(for_all(int), Field(**alias)))
    made = model.model_construct(x=3)
    if key is None:
        with pytest.raises(PolicyError, match="different aliases"):
            Policy.of(model)
        return
    assert document_of(made) == {key: 3}
    back = there_and_back(made)
    assert (type(back), back.x) == (model, 3)


def test_every_name_that_a_reader_accepts_counts_as_present() -> None:
    class Reader(BaseModel):
        x: int = Field(validation_alias=AliasChoices("b", "a", AliasPath("p", 1)))

    for document in ({"a": 1}, {"b": 1}, {"p": [0, 1]}):
        assert into(Reader, document, 1).x == 1
    with pytest.raises(PolicyError, match="requires /b: "):
        into(Reader, {}, 1)


def test_models_that_are_dumped_by_name_and_by_alias_do_not_mix() -> None:
    named: Any = create_model("Named", __config__=BY_NAME, x=(for_all(int), Field(alias="a")))
    other: Any = create_model("Other", y=(for_all(int), Field(alias="b")), inner=(named, ...))
    with pytest.raises(PolicyError, match="by name, others by alias"):
        Policy.of(other)


# Strictness and other constraints of the reader.


@dataclass
class Plain:
    when: date
    colours: set[Colour] = field(default_factory=set)


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    n: Annotated[int, ALL] = 0
    colour: Annotated[Colour | None, ALL] = None
    plain: Annotated[Plain | None, ALL] = None
    days: Annotated[dict[str, tuple[date, ...]], ALL] = {}
    path: Annotated[Path | int, ALL] = 0


def test_strict_models_come_back() -> None:
    made = Strict(
        n=1, colour=Colour.RED, plain=Plain(DAY, {Colour.RED}), days={"a": (DAY,)}, path=Path("12")
    )
    assert there_and_back(made) == made
    assert there_and_back(Strict(path=12)).path == 12


@for_each(
    "document",
    [
        {"n": "1"}, {"n": True}, {"n": 1.0}, {"colour": "green"}, {"colour": 1},
        {"plain": {"when": 20_000}}, {"plain": {"when": "2026-02-03T00:00:00"}},
        {"plain": {"when": "2026-02-03", "colours": ["red", "red"]}},
        {"days": {"a": ["2026-02-30"]}}, {"days": {"a": [1]}}, {"path": "a", "n": "1"},
        {"path": 1.0},
    ],
)  # fmt: skip
def test_strict_models_take_only_forms_of_their_types(document: Any) -> None:
    with pytest.raises(MalformedError, match=r"does not fit Strict: /"):
        opened(document).into(Strict)


class Adult(BaseModel):
    model_config = ConfigDict(extra="forbid")
    age: Annotated[int, ALL, Field(ge=18)]
    name: Annotated[str, ALL, pydantic.StringConstraints(max_length=3)] = ""


@for_each("document", [{"age": 3}, {"age": 20, "name": SECRET}, {"age": 20, "x": 1}])
def test_the_sender_is_not_trusted_with_constraints(document: Any) -> None:
    with pytest.raises(MalformedError) as caught:
        opened(document).into(Adult)
    assert SECRET not in str(caught.value)


def test_a_validator_that_hashes_runs_again() -> None:
    class Hashed(BaseModel):
        password: Annotated[str, ALL]

        @pydantic.field_validator("password")
        @classmethod
        def _hash(cls, value: str) -> str:
            return f"hash:{value}"

    assert there_and_back(Hashed(password="pw")).password == "hash:hash:pw"


@for_each("error", [KeyError, ValueError, RuntimeError, ZeroDivisionError])
def test_an_error_of_a_validator_becomes_ours_without_its_value(error: type[Exception]) -> None:
    class Failing(BaseModel):
        x: str

        @pydantic.field_validator("x")
        @classmethod
        def _fail(cls, value: str) -> str:
            raise error(value)

    with pytest.raises(MalformedError, match=r"does not fit .*Failing: ") as caught:
        opened({"x": SECRET}).into(Failing)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_validator_never_sees_a_withheld_item() -> None:
    seen: list[Any] = []

    class Texts(BaseModel):
        x: list[Annotated[str, pydantic.BeforeValidator(lambda value: seen.append(value) or "")]]

    with pytest.raises(PolicyError, match="requires /x/0: withheld"):
        into(Texts, {"x": [WITHHELD, "b"]}, 1)
    assert seen == []


# What the policy refuses.


def test_a_field_that_is_excluded_needs_a_default() -> None:
    spared: Any = create_model(
        "Spared", x=(int, Field(default=0, exclude=True)), y=(for_all(int), 1)
    )
    assert there_and_back(spared()) == spared()
    lost: Any = create_model("Lost", x=(int, Field(exclude=True)), y=(for_all(int), 1))
    with pytest.raises(PolicyError, match="x is required, but excluded"):
        Policy.of(lost)


def test_a_pydantic_dataclass_has_no_fields_that_are_not_read_back() -> None:
    @pydantic.dataclasses.dataclass
    class Derived:
        a: Annotated[int, ALL]
        b: Annotated[int, ALL] = field(init=False, default=0)

    with pytest.raises(PolicyError, match="b is a field with init=False"):
        Policy.of(Derived)


class Left(BaseModel):
    kind: Literal["l"]
    child: Left | Right | None = None


class Right(BaseModel):
    kind: Literal["r"]
    child: Left | Right | None = None


class TaggedLeft(BaseModel):
    kind: Literal["l"]
    child: Annotated[TaggedLeft | TaggedRight, Field(discriminator="kind")] | None = None


class TaggedRight(BaseModel):
    kind: Literal["r"]
    child: Annotated[TaggedLeft | TaggedRight, Field(discriminator="kind")] | None = None


def nested(levels: int) -> Any:
    document: Any = {"kind": "l"}
    for _ in range(levels):
        document = {"kind": "l", "child": document}
    return document


def test_unions_of_recursive_models_need_a_discriminator() -> None:
    """Otherwise a document of depth 30 is validated 2**30 times."""
    holder: Any = create_model("Holder", x=(for_all(Left), ...))
    with pytest.raises(PolicyError, match="exponential time: use a discriminator"):
        Policy.of(holder)
    for model in (holder, Left, create_model("Around", x=(list[Left | Right], ...))):
        with pytest.raises(PolicyError, match="exponential time"):
            into(model, {"x": nested(29), **nested(29)}, 0)


def test_unions_of_recursive_models_with_a_discriminator_come_back() -> None:
    holder: Any = create_model("Holder", x=(for_all(TaggedLeft), ...))
    made = holder(x=nested(28))
    assert there_and_back(made) == made


def test_errors_are_bounded() -> None:
    fields: Any = {f"field_{at}": (int, ...) for at in range(20)}
    wide: Any = create_model("Wide", **fields)
    box: Any = create_model("Box", items=(list[wide], ...))
    item = {f"field_{at}": SECRET for at in range(20)}
    with pytest.raises(MalformedError, match=r"/items/0/field_0, .* and more") as caught:
        into(box, {"items": [item] * 3000}, 0)
    assert len(str(caught.value)) < 2000


def test_readers_of_fields_below_optional_lists_still_apply() -> None:
    hr = Readers("hr")
    inner: Any = create_model("I", a=(for_all(date), DAY), b=(Annotated[date | None, hr], None))
    outer: Any = create_model("O", items=(list[inner] | None, None), one=(inner | None, None))
    rules = {rule.patterns[0]: rule.permissions for rule in Policy.of(outer).rules}
    assert rules["/items/*/b/**"] == rules["/one/b/**"] == ("hr",)
