"""Production models: each comes back equal, or its policy is refused with advice."""

# Types are made at run time.
# mypy: disable-error-code="arg-type,misc,valid-type,attr-defined,name-defined"

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import KEEP, Enum, Flag, IntEnum, IntFlag
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID, uuid4

import msgspec
import pydantic
import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, Json, RootModel
from typing_extensions import TypeAliasType

from tests.cases import for_each
from tests.models.journey import ALL, for_all, there_and_back
from xkeymsg import MalformedError, Policy, PolicyError, Readers, document_of
from xkeymsg.models.conversion import into

if TYPE_CHECKING:
    from fractions import Fraction as Unimported

DAY = date(2026, 2, 3)
HR = Readers("hr")
T = TypeVar("T")


def pydantic_model(hint: Any, *, strict: bool = False) -> Any:
    return pydantic.create_model("P", __config__={"strict": strict}, x=(for_all(hint), ...))


def strict_model(hint: Any) -> Any:
    return pydantic_model(hint, strict=True)


def struct(hint: Any) -> Any:
    return msgspec.defstruct("M", [("x", for_all(hint))])


def plain(hint: Any) -> Any:
    return make_dataclass("D", [("x", for_all(hint))])


MAKERS = [pydantic_model, strict_model, struct, plain]
every_kind = pytest.mark.parametrize("model_of", MAKERS)


# Models as applications write them.


class Timestamps(BaseModel):
    created: Annotated[datetime, ALL] = Field(default_factory=lambda: datetime.now(UTC))


class Order(Timestamps):
    model_config = ConfigDict(frozen=True)
    id: Annotated[UUID, ALL] = Field(default_factory=uuid4)
    total: Annotated[Decimal, ALL, Field(max_digits=10, decimal_places=2)]

    @pydantic.computed_field
    @property
    def double(self) -> Decimal:
        return self.total * 2

    @pydantic.field_validator("total", mode="wrap")
    @classmethod
    def _wrap(cls, value: Any, handler: Any) -> Any:
        return handler(value)

    @pydantic.model_validator(mode="wrap")
    @classmethod
    def _around(cls, value: Any, handler: Any) -> Any:
        return handler(value)


class Page(BaseModel, Generic[T]):
    items: Annotated[list[T], ALL]


class Event(msgspec.Struct, tag_field="type", rename="camel", omit_defaults=True, kw_only=True):
    event_id: Annotated[UUID, ALL] = msgspec.field(default_factory=uuid4)


class Made(Event, tag="made", forbid_unknown_fields=True):
    amount_cents: Annotated[int, msgspec.Meta(ge=0), ALL]
    note: Annotated[str | msgspec.UnsetType, ALL] = msgspec.UNSET


class StructBox(msgspec.Struct, Generic[T]):
    item: T


class Boxes(msgspec.Struct):
    both: Annotated[tuple[StructBox[date], StructBox[str]], ALL]


@dataclass(slots=True, kw_only=True, frozen=True)
class Product:
    price: Annotated[Decimal, ALL]
    tags: Annotated[frozenset[str], ALL] = frozenset()
    extra: Annotated[dict[str, Any], ALL] = field(default_factory=dict)


@for_each(
    "made",
    [
        Order(total=Decimal("12.50")), Page[date](items=[DAY]), Made(amount_cents=3),
        Boxes((StructBox(DAY), StructBox(str(DAY)))),
        Product(price=Decimal(1), tags=frozenset("a")),
    ],
)  # fmt: skip
def test_a_production_model_comes_back(made: Any) -> None:
    assert there_and_back(made) == made


class Host(BaseModel):
    address: Annotated[pydantic.IPvAnyAddress | None, ALL] = None
    network: Annotated[pydantic.IPvAnyNetwork, ALL]


def test_a_type_that_pydantic_writes_as_text_comes_back() -> None:
    made = Host(address="::1", network="10.0.0.0/8")
    assert document_of(made) == {"address": "::1", "network": "10.0.0.0/8"}
    assert there_and_back(made) == made


Each = Annotated[int, HR]


@for_each("library", ["pydantic", "msgspec", "dataclass"])
def test_readers_inside_optional_lists_and_dicts_are_those_of_the_field(library: str) -> None:
    fields: list[tuple[str, Any]] = [("a", Each | None), ("b", list[Each]), ("c", dict[str, Each])]
    pairs: Any = {name: (hint, ...) for name, hint in fields}
    make: Any = {
        "pydantic": lambda: pydantic.create_model("P", **pairs),
        "msgspec": lambda: msgspec.defstruct("M", fields),
        "dataclass": lambda: make_dataclass("D", fields),
    }[library]
    model = make()
    policy = Policy.of(model)
    for place in ("/a", "/b/0", "/c/x"):
        assert policy.readers_of(place) == ("hr",)
    document = {"a": 1, "b": [2], "c": {"x": 3}}
    assert document_of(into(model, document, 0)) == document


def test_a_value_that_a_constraint_of_msgspec_does_not_allow_is_named() -> None:
    constrained = struct(Annotated[str, msgspec.Meta(pattern="^a")] | None)
    for made, why in (
        (constrained("b"), "the Meta of the field does not allow this str"),
        (constrained(1), "expected str | None, not int"),
    ):
        with pytest.raises(MalformedError) as caught:
            document_of(made)
        assert str(caught.value) == f"/x: {why}"


def test_a_name_imported_for_type_checking_only_is_named() -> None:
    class Model(BaseModel):
        x: Unimported

    for hint in (Model, list[Model]):
        with pytest.raises(PolicyError, match=r"'Unimported' in an annotation of .*Model is not"):
            Policy.of(make_dataclass("Outer", [("x", hint)]))
    with pytest.raises(PolicyError, match="'Unimported' in an annotation of P is not"):
        Policy.of(pydantic_model(tuple[Model, ...]))


def test_threads_that_build_one_policy_get_the_same() -> None:
    found: list[Any] = []
    inner: Any = pydantic.create_model("Inner", x=(for_all(date), DAY))
    outer: Any = make_dataclass("Outer", [("a", inner), ("b", list[inner]), ("c", for_all(int))])
    start = threading.Barrier(8)

    def build() -> None:
        start.wait(60)
        made = outer(inner(), [inner()], 1)
        same = into(outer, document_of(made), 0) == made
        found.append((same, [(rule.patterns, rule.permissions) for rule in Policy.of(outer).rules]))

    threads = [threading.Thread(target=build) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(found) == 8
    assert all(each == found[0] and each[0] for each in found)


# Forms that sealing would refuse, or that would come back as others.


class Inner(BaseModel):
    a: Annotated[int, HR] = 1


class Replacing(BaseModel):
    x: list[Inner] = []

    @pydantic.field_serializer("x")
    def _dump(self, value: list[Inner]) -> Any:
        return [each.a for each in value]


class Wrapping(BaseModel):
    x: Inner | None = None

    @pydantic.field_serializer("x", mode="wrap")
    def _dump(self, value: Inner, handler: Any) -> Any:
        return str(handler(value))


@pytest.mark.parametrize(
    "model",
    [
        Replacing, Wrapping,
        *(
            pydantic.create_model("Outer", x=(hint, ...), y=(Inner, ...))
            for hint in (
                Json[Inner], list[Json[Inner]], Annotated[Inner, pydantic.PlainSerializer(str)],
                dict[str, Annotated[Inner, pydantic.PlainSerializer(str)] | None],
            )
        ),
    ],
)  # fmt: skip
def test_a_form_that_replaces_a_model_needs_one_readers(model: Any) -> None:
    with pytest.raises(PolicyError, match="/x: a serializer or Json replaces the fields of models"):
        Policy.of(model)


def test_a_serializer_for_json_of_a_model_that_occurs_twice_is_refused() -> None:
    json_only = Annotated[Order, pydantic.PlainSerializer(str, when_used="json")]
    with pytest.raises(PolicyError, match="a serializer for JSON only"):
        Policy.of(pydantic_model(tuple[json_only, Order]))


class Holder(BaseModel):
    v: Sequence[int]


@for_each(
    "hint",
    [
        tuple[Sequence[int], int], tuple[Holder, ...], RootModel[Sequence[int]], Sequence,
        Sequence[int] | str, dict[int, Sequence[int]],
    ],
)  # fmt: skip
def test_pydantic_has_no_sequence_in_which_a_tuple_becomes_a_list(hint: Any) -> None:
    with pytest.raises(PolicyError, match=r"/x: .*a Sequence without item type, or inside a type"):
        Policy.of(pydantic_model(hint))


class Big(Enum):
    A = 2**70


class BigInt(IntEnum):
    A = 2**70


def test_a_literal_of_a_large_enum_member_is_refused_if_pydantic_cannot_read_it() -> None:
    with pytest.raises(PolicyError, match="/x: a Literal of Enum members that are neither"):
        Policy.of(pydantic_model(Literal[Big.A]))
    for made in (pydantic_model(Literal[BigInt.A])(x=BigInt.A), plain(Literal[Big.A])(Big.A)):
        assert there_and_back(made) == made


def test_msgspec_has_no_pydantic_model_in_a_list_or_dict() -> None:
    inside: Any = make_dataclass("Inside", [("x", for_all(dict[str, Order]))])
    for hint in (dict[str, Order], list[Order], list[inside]):
        with pytest.raises(PolicyError, match=r"/x.*: .*unsupported type Order"):
            Policy.of(struct(hint))


Tree = TypeAliasType("Tree", "dict[str, Tree] | int")


@every_kind
def test_a_recursive_type_alias_comes_back_or_is_refused(model_of: Callable[..., Any]) -> None:
    tree: Any = Tree
    if sys.version_info >= (3, 12):
        names: dict[str, Any] = {}
        exec("type Tree = dict[str, Tree] | int", names)
        tree = names["Tree"]
    model = model_of(tree)
    try:
        Policy.of(model)
    except PolicyError as error:
        assert "/x" in str(error)  # noqa: PT017 - both are allowed
        return
    made = model(x={"a": {"b": 1}})
    assert there_and_back(made) == made


# What a hostile sender can do to a reader.


class Open(IntFlag):
    A = 1


class Kept(Flag, boundary=KEEP):
    A = 1


Many = Flag("Many", [f"F{at}" for at in range(17)])


class Closed(Flag):
    A = 1
    B = 4


@every_kind
def test_a_flag_keeps_a_bounded_number_of_members_in_memory(
    model_of: Callable[..., Any],
) -> None:
    for kind, why in ((Open, "boundary=STRICT"), (Kept, "boundary=STRICT"), (Many, "16 flags")):
        for hint in (kind, list[kind], tuple[kind | None, ...]):
            model: Any = model_of(hint)
            size = len(kind._value2member_map_)
            with pytest.raises(PolicyError, match=why):
                Policy.of(model)
            for number in range(100):
                form = 1024 + number
                with pytest.raises(PolicyError, match=why):
                    into(model, {"x": form if hint is kind else [form]}, 0)
            assert len(kind._value2member_map_) == size


@every_kind
def test_a_strict_flag_comes_back(model_of: Callable[..., Any]) -> None:
    made = model_of(Closed)(x=Closed.A | Closed.B)
    assert there_and_back(made) == made
    for form in (2, 8, 1 << 70, -1 << 70):
        with pytest.raises(MalformedError, match="/x"):
            into(type(made), {"x": form}, 0)


class Left(BaseModel):
    child: Left | Right | None = Field(None, validation_alias="only_read")
    label: Any = Field(None, serialization_alias="only_written")


class Right(BaseModel):
    child: Left | Right | None = Field(None, validation_alias=AliasChoices("only_read", "y"))


def test_a_model_that_cannot_be_sealed_is_not_validated_in_exponential_time() -> None:
    document: Any = {}
    for _ in range(29):
        document = {"only_read": document}
    for model in (Left, pydantic.create_model("Outer", only_read=(list[Left | Right] | None, 1))):
        with pytest.raises(PolicyError, match="exponential time: use a discriminator"):
            into(model, document, 0)


@for_each("text", [" 1", "01", "+1", "1.0", "1_0"])
def test_a_strict_model_reads_a_key_only_in_the_form_that_pydantic_writes(text: str) -> None:
    model = strict_model(list[dict[int, int]])
    with pytest.raises(MalformedError, match="does not fit P: /x"):
        into(model, {"x": [{text: 1}]}, 0)
    assert there_and_back(model(x=[{1: 1}])).x == [{1: 1}]


@dataclass
class PlainTree:
    below: Annotated[list[PlainTree], ALL] = field(default_factory=list)


class PydanticTree(BaseModel):
    below: list[PydanticTree] = []


class StructTree(msgspec.Struct):
    below: list[StructTree] = []


@for_each("model", [PlainTree, PydanticTree, StructTree])
def test_a_document_too_deep_for_the_stack_raises_our_error(model: Any) -> None:
    document: Any = {}
    for _ in range(127):
        document = {"below": [document]}

    def at(frames: int) -> Any:
        return at(frames - 1) if frames else into(model, document, 0)

    used = len(inspect.stack(0)) - 1
    with pytest.raises(MalformedError, match="nested too deeply for this stack"):
        at(sys.getrecursionlimit() - used - 150)
