"""The places of a model: its fields, and the items of lists and dicts of models.

A place of any other type has no fields here; the adapter of its library treats its value as a
whole. pydantic and msgspec are not imported: code that defines such a model has imported them.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, reduce
from operator import or_
from sys import modules
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    NotRequired,
    Protocol,
    Required,
    TypeVar,
    get_args,
    get_origin,
)

from xkeymsg.arguments import Immutable
from xkeymsg.display import safe_repr
from xkeymsg.errors import PolicyError
from xkeymsg.fields.pattern import pointer

__all__ = (
    "ADAPTERS",
    "BAD",
    "LISTS",
    "MAPS",
    "UNIONS",
    "Adapter",
    "Fault",
    "Field",
    "Member",
    "Node",
    "Path",
    "Readers",
    "arms_of",
    "build_of",
    "is_open",
    "library_of",
    "members_of",
    "name_of",
    "root_of",
    "typed_members",
    "types_in",
    "unwrap",
)

Path = tuple[str | int, ...]
BAD: Final = object()
"""Stands for a value that could not be read."""
UNIONS: Final = (typing.Union, type(int | str))
_WRAPPERS: Final = (Final, Required, NotRequired)
LISTS: Final = (list, Sequence)
MAPS: Final = (dict, Mapping)
_OPEN: Final = (Any, object, list, dict)


@safe_repr
class Readers(Immutable):
    """The permissions that may read a field, as in `Annotated[int, Readers("hr", "audit")]`.

    Raises:
        PolicyError: If no permission is given, or one is not a str.
    """

    __slots__ = ("permissions",)

    def __init__(self, *permissions: str) -> None:
        if not permissions or not all(isinstance(each, str) for each in permissions):
            raise PolicyError('Readers requires names of permissions: Readers("hr", "audit")')
        self.permissions = permissions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Readers) and other.permissions == self.permissions

    def __hash__(self) -> int:
        return hash(self.permissions)

    def __reduce__(self) -> tuple[type[Readers], tuple[str, ...]]:
        return Readers, self.permissions

    def __repr__(self) -> str:
        return f"Readers({', '.join(map(repr, self.permissions))})"


class Member(NamedTuple):
    """A field as its library describes it."""

    name: str
    keys: tuple[str, ...]
    """The names in documents that it is read from; the first is the one that it is written to."""
    hint: Any
    metadata: Sequence[Any] = ()
    required: bool = True
    leaf: bool = False
    """Whether its value is treated as a whole, whatever its type."""
    named: bool = True
    """Whether documents have its name; the value of a RootModel has none."""


class Field(NamedTuple):
    """A field of a model, or the items of a list or dict."""

    name: str
    keys: tuple[str, ...]
    node: Node
    required: bool = True

    @property
    def key(self) -> str:
        """Return the field's name in documents."""
        return self.keys[0]


class Node:
    """A place in a model. The nodes of a recursive model form a cycle."""

    def __init__(self, hint: Any, where: str = "", member: Member | None = None) -> None:
        """Initialize.

        Raises:
            PolicyError: If the annotation is invalid; names the place in its model.
        """
        metadata = member.metadata if member else ()
        self.hint, self.readers = unwrap(hint, where, metadata)
        """The type without `Annotated` and other wrappers, and its readers."""
        others = [each for each in metadata if not isinstance(each, Readers)]
        self.annotation: Any = Annotated[(hint, *others)] if others else hint
        """The annotation with its constraints."""
        arms = arms_of(self.hint)
        inner = self.hint
        if len(arms) == 1:
            inner, readers = unwrap(arms[0], where)
            if readers and self.readers:
                raise PolicyError(f"{where} has Readers twice")
            self.readers = self.readers or readers
        self.inner = inner
        """The type without wrappers and None, if it is not another union."""
        self.nullable = inner is not self.hint and type(None) in get_args(self.hint)
        self.is_leaf = bool(member and member.leaf)
        self.library = "" if self.is_leaf else library_of(inner)
        self.kind: Any = inner if self.library else None
        """The model, `list`, `dict`, or None for a type without fields here."""
        self._where = where
        self._item: Any = None
        kind, arguments = get_origin(inner), get_args(inner)
        if arguments and not self.is_leaf:
            if kind in LISTS:
                self.kind, self._item = list, arguments[0]
            elif kind in MAPS and unwrap(arguments[0])[0] is str:
                self.kind, self._item = dict, arguments[1]

    @cached_property
    def is_open(self) -> bool:
        """Whether the place may hold any value, including `WITHHELD`."""
        return is_open(self.hint)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields of a model; for a list or dict, one field that stands for all items.

        Raises:
            PolicyError: If the model is unsupported; names the model and the field.
        """
        return _fields(self.kind, build_of(self.kind)) if self.library else self._items

    @cached_property
    def _items(self) -> tuple[Field, ...]:
        return (Field("*", ("*",), Node(self._item, f"{self._where}/*")),) if self.kind else ()

    def places(self, where: str) -> Iterator[tuple[str, Field]]:
        """Yield the pattern of each field below a place, and the field."""
        for field in self.fields:
            yield where + (pointer([field.key]) if self.library else "/*"), field

    def below(self, value: Any, path: Path) -> Iterator[tuple[Field, Any, Path]]:
        """Yield each field that a value has, with its value and path, under each of its names."""
        if self.library:
            for field in self.fields:
                for key in field.keys:
                    if key in value:
                        yield field, value[key], (*path, key)
        else:
            items = value.items() if self.kind is dict else enumerate(value)
            for segment, item in items:
                yield self.fields[0], item, (*path, segment)

    def lacking(self, value: Any) -> list[str]:
        """Return the required fields of a model that a value lacks."""
        fields = self.fields if self.library else ()
        return [each.key for each in fields if each.required and value.keys().isdisjoint(each.keys)]

    def holds(self, value: Any) -> bool:
        """Return whether a value of a document may have the fields of this place."""
        return self.kind is not None and type(value) is (dict if self.library else self.kind)


class Fault(NamedTuple):
    """A place in a document that does not fit its model."""

    path: Path
    expected: str = ""
    """The name of the type that is expected there, if known."""


class Adapter(Protocol):
    """Converts the models of one library, and the values in them, to documents and back."""

    def members(self, model: Any) -> Iterator[Member]:
        """Yield the fields of a model.

        Raises:
            PolicyError: If the model is unsupported.
        """

    def check_model(self, node: Node, where: str) -> None:
        """Check that a policy can name the fields of a model.

        Raises:
            PolicyError: If not; names the place.
        """

    def check(self, node: Node, where: str) -> Iterable[type]:
        """Check that all values of a place's type can be sealed and read back.

        Return the models that its library finds in the type, for their own `Readers`.

        Raises:
            PolicyError: If not; names the place.
        """

    def hashes(self, node: Node) -> bool:
        """Return whether a type contains sets or dict keys whose hashes a sender can make equal."""

    def write(self, node: Node, instance: Any, path: Path) -> dict[str, Any]:
        """Convert an instance of a model to a document.

        Raises:
            MalformedError: If it holds a value of another type; names the place.
        """

    def read(self, node: Node, document: Any, path: Path, faults: list[Fault]) -> Any:
        """Convert a document to an instance, or add faults and return `BAD`."""


ADAPTERS: Final[dict[str, Adapter]] = {}
"""The adapters by library: "dataclass", "pydantic", "msgspec"."""


def build_of(model: Any) -> object:
    """Return an object that is another one after pydantic has rebuilt a model; a key of caches."""
    return getattr(model, "__pydantic_validator__", None)


@lru_cache(1024)
def _fields(model: Any, _build: object) -> tuple[Field, ...]:
    try:
        fields = tuple(
            Field(each.name, each.keys, Node(each.hint, f"/{each.keys[0]}", each), each.required)
            for each in members_of(model) or ()
            if each.named
        )
    except PolicyError as error:
        raise PolicyError(f"{name_of(model)}: {error}") from None
    except NameError as error:
        name = f"{error.name!r} in an annotation of {name_of(model)}"
        raise PolicyError(f"{name} is not defined in its module") from None
    keys = [key for field in fields for key in field.keys]
    if len(set(keys)) < len(keys):
        raise PolicyError(f"{name_of(model)}: two fields with the same alias")
    return fields


def root_of(model: Any) -> Node:
    """Return the tree of a model.

    Raises:
        PolicyError: If the model is unsupported; names the field.
        TypeError: If it is not a model.
    """
    if not library_of(model):
        # An instance may hold plaintext.
        what = name_of(model) if isinstance(model, type) else f"an object of {type(model).__name__}"
        raise TypeError(f"{what} is not a dataclass, pydantic model or msgspec Struct")
    return _root(model)


@lru_cache(1024)
def _root(model: Any) -> Node:
    return Node(model)


def library_of(hint: Any) -> str:
    """Return the library of a model, or an empty string."""
    kind = get_origin(hint) or hint
    if not isinstance(kind, type):
        return ""
    if hasattr(kind, "__pydantic_fields__"):
        return "pydantic"
    if hasattr(kind, "__struct_fields__"):
        return "msgspec"
    return "dataclass" if dataclasses.is_dataclass(kind) else ""


def members_of(hint: Any) -> Iterator[Member] | None:
    """Return the fields of a model, TypedDict or NamedTuple; None for other types.

    Raises:
        PolicyError: If a model is unsupported.
    """
    if library := library_of(hint):
        return ADAPTERS[library].members(hint)
    kind = get_origin(hint) or hint
    required = getattr(kind, "__required_keys__", None)  # of a TypedDict
    if required is not None or (isinstance(kind, type) and hasattr(kind, "_field_defaults")):
        return (
            Member(name, (name,), member, required=required is None or name in required)
            for name, member in typed_members(hint).items()
        )
    return None


def types_in(hint: Any, where: str) -> Iterator[tuple[str, Any, Sequence[Any]]]:
    """Yield the types in a type, each with its place and the metadata of its field."""
    members = members_of(hint)
    if members is not None:
        for member in members:
            yield where + pointer([member.name]), member.hint, member.metadata
    elif get_origin(hint) is not Literal:
        star = "" if get_origin(hint) in UNIONS else "/*"
        for each in get_args(hint):
            if each is not ... and not isinstance(each, list):  # the arguments of a Callable
                yield where + star, each, ()


def typed_members(hint: Any) -> dict[str, Any]:
    """Return the annotations of a class, with the type arguments of generic classes.

    Raises:
        PolicyError: If base classes give one type variable two meanings.
    """
    kind = get_origin(hint) or hint
    bound = _bindings(hint)
    hints = typing.get_type_hints(kind, include_extras=True)
    return {name: _substitute(each, bound) for name, each in hints.items()} if bound else hints


def _bindings(hint: Any) -> dict[Any, Any]:
    kind = get_origin(hint) or hint
    parameters = getattr(kind, "__parameters__", ())
    bound = dict(zip(parameters, get_args(hint) or parameters, strict=False))
    for base in getattr(kind, "__orig_bases__", ()):
        if get_origin(base) is not typing.Generic:
            for variable, given in _bindings(base).items():
                argument = _substitute(given, bound)
                if bound.setdefault(variable, argument) != argument:
                    raise PolicyError(f"two meanings of the type variable {variable}")
    return bound


def _substitute(hint: Any, bound: dict[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return bound.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ()) if get_origin(hint) else ()
    return hint[tuple(bound.get(each, each) for each in parameters)] if parameters else hint


def arms_of(hint: Any) -> list[Any]:
    """Return the members of a union without None; an empty list for other types."""
    if get_origin(hint) not in UNIONS:
        return []
    absent = (type(None), getattr(modules.get("msgspec"), "UnsetType", None))
    return [arm for arm in get_args(hint) if arm not in absent]


def is_open(hint: Any) -> bool:
    """Return whether an annotation accepts any value, including `WITHHELD`."""
    inner, _ = unwrap(hint)
    return any(map(is_open, arms_of(inner))) or any(inner is each for each in _OPEN)


def name_of(hint: Any) -> str:
    """Return the name of a type for errors."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return name_of(arguments[0])
    if origin in UNIONS:
        return " | ".join(map(name_of, arguments))
    if hint is type(None) or hint is None or hint is ...:
        return "None" if hint is not ... else "..."
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if arguments:
        return f"{name_of(origin)}[{', '.join(map(name_of, arguments))}]"
    return str(getattr(hint, "__qualname__", None) or getattr(hint, "__name__", hint))


def unwrap(hint: Any, where: str = "", metadata: Sequence[Any] = ()) -> tuple[Any, Readers | None]:
    """Return the type of an annotation without wrappers, and its `Readers`.

    Raises:
        PolicyError: If there are several; names the place.
    """
    found = [each for each in metadata if isinstance(each, Readers)]
    while True:
        if get_origin(hint) is Annotated:
            found += [each for each in hint.__metadata__ if isinstance(each, Readers)]
            hint = hint.__origin__
        elif (meaning := _meaning(hint)) is not hint:
            hint = meaning
        else:
            break
    if len(set(found)) > 1:
        raise PolicyError(f"{where} has Readers twice")
    return hint, found[0] if found else None


def _meaning(hint: Any) -> Any:
    """Return the type that another one stands for; other types as they are."""
    alias = get_origin(hint)
    if alias in _WRAPPERS:
        return get_args(hint)[0]
    if hasattr(hint, "__supertype__"):  # a NewType
        return hint.__supertype__
    if isinstance(hint, TypeVar):
        return hint.__bound__ or reduce(or_, hint.__constraints__ or [hint])
    if hasattr(alias, "__value__"):  # a generic type alias
        bound = dict(zip(alias.__type_params__, get_args(hint), strict=False))
        return _substitute(alias.__value__, bound)
    if hasattr(hint, "__value__") and not isinstance(hint, type):  # `type X = …`
        return hint.__value__
    return hint
