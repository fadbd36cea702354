"""Random models: those that the policy accepts are sealed, opened and equal."""

# Types are made at run time.
# mypy: disable-error-code="arg-type,attr-defined,call-overload,index,typeddict-item,valid-type"

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import field, make_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import HealthCheck, given, note, reject, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from tests.examples import examples
from tests.models.journey import ALL, there_and_back
from xkeymsg import Policy, PolicyError, document_of

Values = st.SearchStrategy[Any]
Drawn = tuple[Any, Values, bool]
"""A type, a strategy for its values, and whether they can be hashed."""


class Colour(Enum):
    RED = "red"
    BLUE = "blue"
    TWELVE = "12"


class Level(IntEnum):
    ONE = 1
    TWO = 2


class Pair(NamedTuple):
    when: date
    size: int


class Table(TypedDict):
    when: date
    path: Path


T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Box(Generic[T]):
    inner: T
    more: tuple[T, ...] = ()


class PydanticBox(pydantic.BaseModel, Generic[T]):
    inner: T
    more: tuple[T, ...] = ()


class StructBox(msgspec.Struct, Generic[T]):
    inner: T
    more: tuple[T, ...] = ()


@dataclasses.dataclass(slots=True)
class Tree:
    label: date
    below: list[Tree] = field(default_factory=list)
    either: Tree | str | None = None


class PydanticTree(pydantic.BaseModel):
    label: date
    below: list[PydanticTree] = []
    either: PydanticTree | str | None = None


class StructTree(msgspec.Struct, rename="camel"):
    label: date
    below: list[StructTree] = []
    either: StructTree | str | None = None


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    born: date | None = None


class Dog(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)
    kind: Literal["dog"] = "dog"
    born: date | None = None


@dataclasses.dataclass
class PlainCat:
    kind: Literal["cat"] = "cat"
    born: date | None = None


@dataclasses.dataclass
class PlainDog:
    kind: Literal["dog"] = "dog"
    born: date | None = None


class StructCat(msgspec.Struct, tag="cat"):
    born: date | None = None


class StructDog(msgspec.Struct, tag=True, tag_field="what", forbid_unknown_fields=True):
    born: date | None = None


class OtherDog(msgspec.Struct, tag="dog"):
    born: date | None = None


zones = st.integers(-86_399, 86_399).map(lambda s: timezone(timedelta(seconds=s)))
minutes = st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
dates, days = st.dates(), st.dates().map(lambda day: day)
texts = st.text(max_size=5) | st.sampled_from(["12", "red", "2026-02-03", "P1D", "true", ""])
natives: Values = st.none() | st.booleans() | st.integers() | texts | st.binary(max_size=3)

LEAVES: list[Drawn] = [
    (bool, st.booleans(), True),
    (int, st.integers(), True),
    (float, st.floats(allow_nan=False, allow_infinity=False), True),
    (str, texts, True),
    (bytes, st.binary(max_size=5), True),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3), True),
    (UUID, st.uuids(), True),
    (
        datetime,
        st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=minutes),  # noqa: DTZ001
        True,
    ),
    (date, dates, True),
    (time, st.times() | st.times(timezones=minutes), True),
    (timedelta, st.timedeltas(), True),
    (Path, st.sampled_from(["a", "12", "/a/b", "."]).map(Path), True),
    (Colour, st.sampled_from(Colour), True),
    (Level, st.sampled_from(Level), True),
    (Literal["a", "12", 1], st.sampled_from(["a", "12", 1]), True),
    (None, st.none(), True),
    (Any, natives | st.lists(natives, max_size=2), False),
    (Pair, st.builds(Pair, dates, st.integers(0, 9)), True),
    (Table, st.fixed_dictionaries({"when": dates, "path": st.just(Path("x"))}), False),
    (pydantic.SecretStr, texts.map(pydantic.SecretStr), False),
    (pydantic.SecretBytes, st.binary(max_size=3).map(pydantic.SecretBytes), False),
]


def trees(kind: Any) -> Values:
    return st.recursive(
        st.builds(kind, label=dates),
        lambda inner: st.builds(
            kind, label=dates, below=st.lists(inner, max_size=2), either=st.none() | texts | inner
        ),
        max_leaves=4,
    )


PETS = {
    "dataclass": [PlainCat, PlainDog],
    "pydantic": [Cat, Dog, PlainCat],
    "msgspec": [StructCat, OtherDog, StructDog],
}
OWN: dict[str, list[Drawn]] = {
    "dataclass": [(Tree, trees(Tree), False), (PydanticTree, trees(PydanticTree), False)],
    "pydantic": [(PydanticTree, trees(PydanticTree), False), (Tree, trees(Tree), False)],
    "msgspec": [(StructTree, trees(StructTree), False), (Tree, trees(Tree), False)],
}
for library, pets in PETS.items():
    OWN[library] += [(pet, st.builds(pet, born=st.none() | dates), False) for pet in pets]
BOXES = {"dataclass": Box, "pydantic": PydanticBox, "msgspec": StructBox}
numbers = itertools.count()


@st.composite
def types(draw: st.DrawFn, library: str, depth: int = 3) -> Drawn:  # noqa: C901 - one branch a type
    """A random type that models of a library may have, or that their policy refuses."""
    shape = draw(st.integers(0, 11 if depth else 2))
    if shape <= 2:
        return draw(st.sampled_from(LEAVES + OWN[library]))
    hint, values, hashable = draw(types(library, depth - 1))
    if shape == 3:
        return list[hint], st.lists(values, max_size=3), False
    if shape == 4 and hashable:
        return set[hint], st.frozensets(values, max_size=3).map(set), False
    if shape == 5 and hashable:
        return frozenset[hint], st.frozensets(values, max_size=3), True
    if shape == 6:
        return tuple[hint, ...], st.lists(values, max_size=3).map(tuple), hashable
    if shape == 7:
        return dict[str, hint], st.dictionaries(texts, values, max_size=2), False
    other, others, also = draw(types(library, depth - 1))
    if shape == 8:
        return tuple[hint, other], st.tuples(values, others), hashable and also
    if shape == 9 and hashable:
        return dict[hint, other], st.dictionaries(values, others, max_size=2), False
    if shape == 10:
        box = draw(st.sampled_from([BOXES[library], Box]))
        made = box[hint]
        return (
            made,
            st.builds(made, inner=values, more=st.lists(values, max_size=2).map(tuple)),
            False,
        )
    try:
        return hint | other, values | others, hashable and also
    except TypeError:  # None | None
        return hint, values, hashable


def dataclass_of(draw: st.DrawFn, fields: list[tuple[str, Any]]) -> tuple[Any, dict[str, str]]:
    frozen, slots = draw(st.booleans()), draw(st.booleans())
    made = make_dataclass(f"Made{next(numbers)}", fields, frozen=frozen, slots=slots)
    return made, {name: name for name, _ in fields}


def pydantic_of(draw: st.DrawFn, fields: list[tuple[str, Any]]) -> tuple[Any, dict[str, str]]:
    by_name = draw(st.sampled_from([{}, {"populate_by_name": True}, {"validate_by_name": True}]))
    config = pydantic.ConfigDict(
        strict=draw(st.booleans()), frozen=draw(st.booleans()), extra=draw(st.sampled_from(
            ["forbid", "ignore", "allow"]
        )), **by_name,
    )  # fmt: skip
    if draw(st.integers(0, 4)) == 0:
        config |= {"validate_by_alias": False, "validate_by_name": True}
    described, names = {}, {}
    for name, hint in fields:
        alias = draw(st.sampled_from([
            {}, {"alias": f"{name}A"}, {"validation_alias": f"{name}V"},
            {"serialization_alias": f"{name}S"},
            {"validation_alias": f"{name}V", "serialization_alias": f"{name}V"},
            {"validation_alias": pydantic.AliasChoices(f"{name}C", name)},
            {"validation_alias": pydantic.AliasChoices(f"{name}C", pydantic.AliasPath("p", 0))},
        ]))  # fmt: skip
        described[name] = (hint, pydantic.Field(**alias))
        read = alias.get("validation_alias", alias.get("alias", name))
        names[name] = read if isinstance(read, str) else read.choices[0]
        if config.get("validate_by_alias") is False:
            names[name] = name
    return pydantic.create_model(f"Made{next(numbers)}", __config__=config, **described), names


def msgspec_of(draw: st.DrawFn, fields: list[tuple[str, Any]]) -> tuple[Any, dict[str, str]]:
    made = msgspec.defstruct(
        f"Made{next(numbers)}",
        fields,
        frozen=draw(st.booleans()),
        rename=draw(st.sampled_from([None, "upper", "camel"])),
        tag=draw(st.sampled_from([None, "tag"])),
        forbid_unknown_fields=draw(st.booleans()),
        omit_defaults=draw(st.booleans()),
    )
    return made, {name: name for name, _ in fields}


MAKERS: dict[str, Callable[..., tuple[Any, dict[str, str]]]] = {
    "dataclass": dataclass_of, "pydantic": pydantic_of, "msgspec": msgspec_of,
}  # fmt: skip


@pytest.mark.hypothesis
@pytest.mark.parametrize("library", MAKERS)
def test_a_model_that_the_policy_accepts_comes_back_equal(library: str) -> None:
    """Only models that come back count as examples."""
    equal = 0

    @settings(max_examples=examples(30), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        nonlocal equal
        drawn = data.draw(st.lists(types(library), min_size=1, max_size=3))
        fields = [(f"f{at}", Annotated[hint, ALL]) for at, (hint, *_) in enumerate(drawn)]
        try:
            model, names = MAKERS[library](data.draw, fields)
        except (TypeError, pydantic.PydanticUserError, NotImplementedError):
            reject()  # the library does not know such a model
        note(f"{model} {fields}")
        try:
            Policy.of(model)
        except PolicyError as error:
            note(str(error))
            reject()
        values = {
            names[name]: data.draw(each[1]) for (name, _), each in zip(fields, drawn, strict=True)
        }
        try:
            made = model(**values)
        except ValueError:
            reject()  # such as a value of an arm of a union that a strict model refuses
        note(repr(made))
        note(repr(document_of(made)))
        assert there_and_back(made) == made
        equal += 1

    check()
    assert equal >= examples(30) / 2
