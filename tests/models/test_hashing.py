"""Models with sets, and dicts whose keys are not str: a sender can choose items of equal hashes."""

# Types are made at run time.
# mypy: disable-error-code="arg-type,misc,valid-type,type-arg,attr-defined,name-defined"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest
from pydantic import AliasPath, BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from tests.cases import for_each
from tests.models.journey import for_all, there_and_back
from xkeymsg import LimitExceededError, MalformedError, Policy, PolicyError, document_of
from xkeymsg.models.conversion import into

PRIME = 2**61 - 1
"""The hash of each multiple is 0."""
MANY, MOST = 4097, 4096


def pydantic_model(hint: Any) -> Any:
    return pydantic.create_model("P", x=(for_all(hint), ...))


def strict_model(hint: Any) -> Any:
    return pydantic.create_model("S", __config__=ConfigDict(strict=True), x=(for_all(hint), ...))


def struct(hint: Any) -> Any:
    return msgspec.defstruct("M", [("x", for_all(hint))])


def plain(hint: Any) -> Any:
    return make_dataclass("D", [("x", for_all(hint))])


every_kind = pytest.mark.parametrize("model_of", [pydantic_model, strict_model, struct, plain])


def ints(count: int) -> list[Any]:
    return [PRIME * each for each in range(count)]


def uuids(count: int) -> list[Any]:
    return [UUID(int=each) for each in ints(count)]


def keys(count: int) -> dict[str, Any]:
    return {str(each): 1 for each in ints(count)}


class Typed(TypedDict):
    a: set[int]


class Row(NamedTuple):
    a: set[int]


def refuses(model: Any, document: Any, where: str = "/x") -> None:
    with pytest.raises(LimitExceededError, match=f"^{where}: items in sets.*use lists") as caught:
        into(model, document, 0)
    assert caught.value.limit == MOST
    assert str(PRIME) not in str(caught.value)


@every_kind
@pytest.mark.parametrize(
    ("hint", "form", "where"),
    [
        (set[int], ints(MANY), "/x"), (frozenset[UUID], uuids(MANY), "/x"),
        (set[int] | None, ints(MANY), "/x"), (set[Decimal], list(map(Decimal, ints(MANY))), "/x"),
        (set[tuple[int, str]], [[each, ""] for each in ints(MANY)], "/x"),
        (list[set[int]], [ints(MANY)], "/x/0"), (tuple[set[int], ...], [ints(MANY)], "/x/0"),
        (dict[str, set[int]], {"a": ints(MANY)}, r"/x/\*"), (Typed, {"a": ints(MANY)}, "/x"),
        (Row, [ints(MANY)], "/x"), (tuple[set[int], str], [ints(MANY), ""], "/x"),
        (set[Annotated[int, "a"]], ints(MANY), "/x"),
        (list[set[int]], [ints(3000), ints(3000)], "/x/1"),
        (set[frozenset[int]], [ints(200) for _ in range(200)], "/x"),
        (set[tuple[int, ...]], [[*[1] * 100, each] for each in ints(100)], "/x"),
    ],
)  # fmt: skip
def test_a_reader_builds_no_large_set(
    model_of: Callable[[Any], Any], hint: Any, form: Any, where: str
) -> None:
    refuses(model_of(hint), {"x": form}, where)


@for_each("model_of", [pydantic_model, strict_model, struct])
@for_each(
    ("hint", "form"),
    [
        (dict[int, int], keys(MANY)), (dict[int, int] | None, keys(MANY)),
        (dict[UUID, int], {str(each): 1 for each in uuids(MANY)}),
    ],
)  # fmt: skip
def test_a_reader_builds_no_large_dict_with_keys_of_equal_hashes(
    model_of: Callable[[Any], Any], hint: Any, form: Any
) -> None:
    refuses(model_of(hint), {"x": form})


@dataclass
class Swapped:
    a: Annotated[set[int], Field(alias="b")] = field(default_factory=set)


class Extra(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, set[int]]


class Custom:
    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: Any) -> Any:
        return handler(set[int])


class Alias(BaseModel):
    x: dict[int, int] = Field(validation_alias=AliasPath("x", "y"))


class Listed(msgspec.Struct, array_like=True):
    a: set[int]


class Tagged(BaseModel):
    kind: Literal["a"]
    a: set[int]


class Other(BaseModel):
    kind: Literal["b"]


@for_each(
    ("model", "form", "where"),
    [
        (pydantic_model(RootModel[set[int]]), ints(MANY), "/x"),
        (pydantic_model(RootModel[dict[int, int]]), keys(MANY), "/x"),
        (pydantic_model(Extra), {"q": ints(MANY)}, "/x"), (Alias, {"y": keys(MANY)}, "/x"),
        (pydantic_model(Custom), ints(MANY), "/x"), (pydantic_model(set), ints(MANY), "/x"),
        (pydantic_model(Swapped), {"b": ints(MANY)}, "/x"), (struct(set), ints(MANY), "/x"),
        (pydantic_model(Annotated[Tagged | Other, Field(discriminator="kind")]),
         {"kind": "a", "a": ints(MANY)}, "/x"),
        (struct(Listed), [ints(MANY)], "/x"), (plain(pydantic_model(set[int])),
         {"x": ints(MANY)}, "/x/x"), (plain(struct(set[int]) | int), {"x": ints(MANY)}, "/x"),
    ],
)  # fmt: skip
def test_a_reader_finds_sets_that_no_field_of_a_model_shows(
    model: Any, form: Any, where: str
) -> None:
    refuses(model, {"x": form}, where)


def test_sets_in_json_are_refused() -> None:
    model = pydantic_model(pydantic.Json[set[int]])
    for call in (Policy.of, lambda each: into(each, {"x": "[]"}, 0)):
        with pytest.raises(PolicyError, match="Json with a set"):
            call(model)


@every_kind
def test_a_document_with_a_large_set_is_not_written(model_of: Callable[[Any], Any]) -> None:
    with pytest.raises(LimitExceededError, match=r"^/x: items in sets.*use lists.*: 4097 exceeds"):
        document_of(model_of(set[int])(x=set(range(MANY))))


class Numbers(Enum):
    ONE = 1


@every_kind
@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (set[int], set(range(MOST))), (set[str], {str(each) for each in range(5000)}),
        (set[date], {date(2000, 1, 1) + timedelta(each) for each in range(5000)}),
        (list[int], list(range(5000))), (dict[str, int], {str(each): 1 for each in range(5000)}),
        (list[set[int]], [{1, 2, 3}] * 2000), (tuple[set[int], ...], ({1, 2, 3},) * 2000),
        (dict[str, tuple[Numbers, ...]], {"a": (Numbers.ONE,) * 5000}),
    ],
)  # fmt: skip
def test_other_collections_are_unlimited(
    model_of: Callable[[Any], Any], hint: Any, value: Any
) -> None:
    made = model_of(hint)(x=value)
    assert there_and_back(made) == made


@for_each("model_of", [pydantic_model, strict_model, struct])
def test_a_list_in_a_dict_whose_keys_are_int_is_unlimited(model_of: Callable[[Any], Any]) -> None:
    made = model_of(dict[int, list[float]])(x={1: [0.5] * 5000, 2: [1.5] * 5000})
    assert there_and_back(made) == made


class Wide(BaseModel):
    few: for_all(set[int]) = {1}
    many: for_all(list[int]) = []
    deep: for_all(list[Other]) = []


class Newer(Wide):
    new: for_all(list[int]) = []


def test_a_list_beside_a_set_is_unlimited() -> None:
    made = Wide(many=list(range(5000)), deep=[Other(kind="b")] * 5000)
    assert there_and_back(made) == made
    assert into(Wide, document_of(Newer(new=list(range(5000)))), 0) == Wide()


class Deep(msgspec.Struct):
    s: set[int] = msgspec.field(default_factory=set)
    below: list[Deep] = msgspec.field(default_factory=list)
    z: int = 0


@pytest.mark.parametrize(("count", "where"), [(10, "/z"), (1000, "the document")])
def test_a_misfit_is_not_searched_where_each_level_builds_a_large_set(
    count: int, where: str
) -> None:
    document: dict[str, Any] = {"s": ints(count)}
    for _ in range(3):
        document = {"below": [document]}
    with pytest.raises(MalformedError, match=f"does not fit Deep: {where}$"):
        into(Deep, {**document, "z": "no"}, 0)
