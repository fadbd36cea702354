"""Every type in a field of each kind of model: sealed, opened, equal, or refused by the policy."""

from __future__ import annotations

import collections
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import STRICT, Enum, IntEnum, IntFlag, StrEnum
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pydantic_core
import pytest
from typing_extensions import TypeAliasType, TypedDict

from tests.cases import check_each, for_each
from tests.models.journey import for_all, there_and_back
from xkeymsg import Policy, PolicyError
from xkeymsg.models.tree import name_of


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Flags(IntFlag, boundary=STRICT):
    A = 1
    B = 2


class Dated(Enum):
    DAY = date(2026, 1, 1)


class Pair(NamedTuple):
    when: date
    size: int = 0


class Table(TypedDict, total=False):
    when: date
    colour: Colour


@dataclass(frozen=True, slots=True)
class Leaf:
    when: date
    sizes: frozenset[int] = frozenset()


@dataclass
class Cat:
    name: str
    kind: Literal["cat"] = "cat"


@dataclass
class Dog:
    name: str
    kind: Literal["dog"] = "dog"


@dataclass
class Tree:
    label: date
    below: list[Tree] = field(default_factory=list)
    named: dict[str, Tree] = field(default_factory=dict)


T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    inner: T
    more: list[T] = field(default_factory=list)


class DateBox(Box[date]):
    pass


Json = TypeAliasType("Json", "list[Json] | dict[str, Json] | str | int | None")
Many = TypeAliasType("Many", list[T] | None, type_params=(T,))

DAY, NOW = date(2026, 2, 3), datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
SPAN = timedelta(days=-3, microseconds=1)
EAST = timezone(timedelta(hours=5, minutes=30))

_TYPES: list[tuple[Any, list[Any]]] = [
    (bool, [True]),
    (int, [1, -(2**70)]),
    (float, [1.5, 0.0]),
    (str, ["", "2026-01-01", "12"]),
    (bytes, [b"\xff"]),
    (Decimal, [Decimal("1.50")]),
    (UUID, [UUID(int=7)]),
    (datetime, [NOW]),
    (date, [DAY, date.min, date.max]),
    (time, [time(1, 2, 3, 4), time(1, tzinfo=UTC), time(1, 2, tzinfo=EAST)]),
    (timedelta, [SPAN, timedelta.min, timedelta.max, timedelta(0), timedelta(hours=25)]),
    (Path, [Path("/a/b"), Path("c")]),
    (PurePosixPath, [PurePosixPath("a/../b")]),
    (Colour, [Colour.RED]),
    (Level, [Level.ONE]),
    (Word, [Word.A]),
    (Flags, [Flags.A, Flags.A | Flags.B]),
    (Dated, [Dated.DAY]),
    (Literal["a", 1], ["a", 1]),
    (Any, [None, 1, "2026-01-01", [1, {"a": b"x"}]]),
    (date | None, [DAY, None]),
    (int | str, [12, "12"]),
    (int | str | None, [12, "12", None]),
    (bool | int, [True, 1, 0]),
    (int | float, [1, 1.0, 2.5]),
    (Decimal | float, [Decimal(1), 1.0]),
    (str | UUID, [str(UUID(int=7)), UUID(int=7)]),
    (str | datetime, [NOW.isoformat(), NOW]),
    (bytes | str, [b"x", "x"]),
    (date | int, [DAY, 12]),
    (int | Path, [12, Path("12")]),
    (date | str, [DAY, "2026-02-03"]),
    (Path | str, [Path("a"), "a"]),
    (Colour | str, [Colour.RED, "red"]),
    (Colour | Word, [Colour.RED, Word.A]),
    (Colour | int, [Colour.RED, 3]),
    (date | datetime, [DAY, NOW]),
    (timedelta | float, [SPAN, 1.0]),
    (list[date], [[DAY], []]),
    (list[date | None], [[DAY, None]]),
    (list[int | Path], [[12, Path("12")]]),
    (list[int] | list[str], [[1], ["1"], []]),
    (list[int] | set[int], [[1], {1}]),
    (list[date] | str, [[DAY], "x"]),
    (set[int], [{1, 2}, set()]),
    (set[date], [{DAY}]),
    (frozenset[str], [frozenset("abc")]),
    (tuple[int, ...], [(1, 2), ()]),
    (tuple[date, bytes], [(DAY, b"\xff")]),
    (tuple[int | Path, ...], [(12, Path("12"))]),
    (tuple[date, Any], [(DAY, 1)]),
    (set[tuple[int, date]], [{(1, DAY)}]),
    (Sequence[int], [[1, 2]]),
    (Sequence[date], [[DAY]]),
    (dict[str, date], [{"a/b": DAY}]),
    (Mapping[str, int], [{"a": 1}]),
    (dict[date, int], [{DAY: 1}]),
    (dict[int, str], [{1: "x"}]),
    (dict[UUID, str], [{UUID(int=7): "x"}]),
    (dict[Colour, int], [{Colour.RED: 1}]),
    (dict[Level, int], [{Level.ONE: 1}]),
    (dict[bytes, int], [{b"\xff": 1}]),
    (dict[tuple[int, int], int], [{(1, 2): 1}]),
    (dict[str, dict[str, tuple[date, ...]]], [{"a": {"b": (DAY,)}}]),
    (dict[str, Any], [{"a": [1, None]}]),
    (list, [[1, "x"]]),
    (dict, [{"a": 1}]),
    (Pair, [Pair(DAY, 2)]),
    (list[Pair], [[Pair(DAY, 2)]]),
    (Table, [{"when": DAY}, {}]),
    (Leaf, [Leaf(DAY, frozenset({1}))]),
    (list[Leaf], [[Leaf(DAY)]]),
    (Leaf | None, [Leaf(DAY), None]),
    (Leaf | str, [Leaf(DAY), "x"]),
    (Cat | Dog, [Cat("x"), Dog("x")]),
    (list[Cat | Dog], [[Cat("x"), Dog("x")]]),
    (Cat | Leaf, [Cat("x"), Leaf(DAY)]),
    (Tree, [Tree(DAY, [Tree(DAY, named={"x": Tree(DAY)})])]),
    (Tree | None, [Tree(DAY, [Tree(DAY)]), None]),
    (Box[int], [Box(1, [2])]),
    (Box[date], [Box(DAY, [DAY])]),
    (Box[Box[Colour]], [Box(Box(Colour.RED))]),
    (Box[int | Path], [Box(Path("12"), [12])]),
    (DateBox, [DateBox(DAY)]),
    (Json, [[1, {"a": ["x", None]}]]),
    (Many[date], [[DAY], None]),
    (complex, [1 + 2j]),
    (Callable[[], None], [print]),
    (type[int], [int]),
    (Iterable[int], [[1]]),
    (pydantic.SecretStr, [pydantic.SecretStr("12")]),
    (pydantic.SecretBytes, [pydantic.SecretBytes(b"\xff")]),
    (pydantic.SecretStr | int, [pydantic.SecretStr("12"), 12]),
    (list[pydantic.SecretStr], [[pydantic.SecretStr("12")]]),
    (pydantic.Secret[date], [pydantic.Secret[date](DAY)]),
]
_PYDANTIC_TYPES: list[tuple[Any, list[Any]]] = [
    (ipaddress.IPv4Address, [ipaddress.IPv4Address("10.0.0.1")]),
    (pydantic.AnyUrl, [pydantic.AnyUrl("http://a/b")]),
    (pydantic.Base64Bytes, [b"YWJj"]),
    (pydantic.Json[Any], ['[1, {"a": null}]']),  # type: ignore[misc]
    (pydantic.Json[date], ['"2026-01-01"']),
    (pydantic.AwareDatetime, [NOW]),
    (pydantic.StrictInt, [1]),
    (Annotated[date, pydantic.Strict()], [DAY]),
    (Annotated[Colour, pydantic.Strict()], [Colour.RED]),
    (list[Annotated[date, pydantic.Strict()]], [[DAY]]),
    (collections.deque[date], [collections.deque([DAY])]),
    (collections.OrderedDict[str, int], [collections.OrderedDict(a=1)]),
    (re.Pattern, ["a+"]),
    (pydantic.ByteSize, [12]),
    (Annotated[int | str, pydantic.Field(union_mode="left_to_right")], [12, "12", "x"]),
    (
        Annotated[Cat | Dog, pydantic.Field(discriminator="kind")],
        [Cat("x"), Dog("x")],
    ),
    (pydantic.RootModel[list[date]], [pydantic.RootModel[list[date]]([DAY])]),
    (Annotated[str, pydantic.PlainValidator(str)], ["x"]),
    (pydantic.ImportString, ["math.cos"]),
]

TYPES = [(name_of(hint), hint, values) for hint, values in _TYPES]
PYDANTIC_TYPES = [(name_of(hint), hint, values) for hint, values in _PYDANTIC_TYPES]
PYDANTIC_TYPES += [
    (
        "a function as discriminator",
        Annotated[
            Annotated[Cat, pydantic.Tag("cat")] | Annotated[Dog, pydantic.Tag("dog")],
            pydantic.Discriminator(lambda value: value.kind),
        ],
        [Cat("x")],
    ),
    ("int for JSON only", Annotated[int, pydantic.PlainSerializer(str, when_used="json")], [1]),
    ("InstanceOf[Leaf]", pydantic.InstanceOf[Leaf], [Leaf(DAY)]),
    ("NaiveDatetime", pydantic.NaiveDatetime, [datetime(2026, 1, 1)]),  # noqa: DTZ001
]
KINDS = ["dataclass", "pydantic", "strict", "by_name", "pydantic_dataclass", "msgspec"]


def model_of(kind: str, hint: Any, name: str = "Model") -> Any:
    x = for_all(hint)
    match kind:
        case "dataclass":
            return make_dataclass(name, [("x", x)])
        case "pydantic":
            return pydantic.create_model(name, x=(x, ...))
        case "strict":
            config = pydantic.ConfigDict(strict=True)
            return pydantic.create_model(name, __config__=config, x=(x, ...))
        case "by_name":
            config = pydantic.ConfigDict(validate_by_alias=False, validate_by_name=True)
            aliased = pydantic.Field(alias="y")
            return pydantic.create_model(name, __config__=config, x=(x, aliased))
        case "pydantic_dataclass":
            return pydantic.dataclasses.dataclass(make_dataclass(name, [("x", x)]))
        case _:
            return msgspec.defstruct(name, [("x", x)])


EVERYWHERE = {
    "Dated", "date | str", "Path | str", "Colour | str", "list[int] | set[int]",
    "dict[bytes, int]", "dict[tuple[int, int], int]", "Cat | Leaf", "Callable[[], None]",
    "type[int]", "Iterable[int]",
}  # fmt: skip
"""Types that no model may have."""
OF_PYDANTIC = EVERYWHERE | {
    "dict[Level, int]", "tuple[int | Path, ...]", "tuple[date, Any]", "SecretStr | int",
    "NaiveDatetime", "DateBox", "a function as discriminator", "int for JSON only",
    "InstanceOf[Leaf]", "ImportString",
}  # fmt: skip
if not hasattr(pydantic_core.core_schema, "deque_schema"):  # older pydantic: like any Sequence
    OF_PYDANTIC |= {"deque[date]"}
REFUSED = {
    "dataclass": EVERYWHERE | {
        "Colour | Word", "dict[int, str]", "dict[UUID, str]", "dict[Level, int]", "Json",
        "complex", "Secret[date]",
    },
    "pydantic": OF_PYDANTIC,
    "strict": OF_PYDANTIC,
    "by_name": OF_PYDANTIC,
    "pydantic_dataclass": OF_PYDANTIC,
    "msgspec": EVERYWHERE | {
        "str | UUID", "str | datetime", "bytes | str", "int | Path", "Colour | Word",
        "date | datetime", "list[int | Path]", "list[int] | list[str]", "tuple[int | Path, ...]",
        "tuple[date, Any]", "Cat | Dog", "list[Cat | Dog]", "Box[int | Path]", "Json",
        "Many[date]", "complex", "SecretStr | int", "Secret[date]",
    },
}  # fmt: skip
"""Types that the policy refuses in each kind of model; all others come back."""


@for_each("kind", KINDS)
def test_a_field_of_each_type_comes_back_or_the_policy_refuses_it(kind: str) -> None:
    others = [] if kind in ("dataclass", "msgspec") else PYDANTIC_TYPES
    check_each(TYPES + others, lambda case: comes_back(kind, *case), itemgetter(0))


def comes_back(kind: str, name: str, hint: Any, values: list[Any]) -> None:
    model = model_of(kind, hint)
    if name in REFUSED[kind]:
        with pytest.raises(PolicyError, match="/x"):
            Policy.of(model)
        return
    for value in values:
        made = model(x=value)
        back = there_and_back(made)
        assert back == made
        assert type(back.x) is type(made.x)
