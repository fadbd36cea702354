"""Model annotations: the fields of a model, and the permissions that may read them.

    @dataclass
    class Employee:
        name: Annotated[str, Readers("team")]
        salary: Annotated[int | None, Readers("hr")] = None

A model is a dataclass, a pydantic model or a msgspec Struct. Every field has `Readers`, either on
itself or on everything in it. Types that could hide a model from this inspection are refused. None,
an empty list and an empty dict in place of models are readable by everyone who may read anything in
these models; any other value that is not a model is refused.

pydantic and msgspec are not imported here: code that defines such a model has imported them.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from sys import modules
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

from xkeymsg.arguments import Immutable
from xkeymsg.errors import PolicyError
from xkeymsg.fields.pattern import pointer
from xkeymsg.shown import listed, safe_repr

__all__ = ("UNIONS", "Field", "Node", "Readers", "plan_of", "rules_of", "unwrap")

UNIONS: Final = (typing.Union, type(int | str))
_LISTS: Final = (list, Sequence)
_MAPS: Final = (dict, Mapping)
_NO_KINDS: Final = (tuple, set, frozenset)

_Rules = list[tuple[str, tuple[str, ...]]]


@safe_repr
class Readers(Immutable):
    """The permissions that may read a field, as in `Annotated[int, Readers("hr", "audit")]`.

    Raises:
        PolicyError: If no permission is given.
    """

    __slots__ = ("permissions",)

    def __init__(self, *permissions: str) -> None:
        if not permissions:
            raise PolicyError("Readers requires at least one permission")
        self.permissions = permissions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Readers) and other.permissions == self.permissions

    def __hash__(self) -> int:
        return hash(self.permissions)

    def __reduce__(self) -> tuple[type[Readers], tuple[str, ...]]:
        return Readers, self.permissions

    def __repr__(self) -> str:
        return f"Readers({', '.join(map(repr, self.permissions))})"


class Node(NamedTuple):
    """The annotation of one place."""

    hint: Any
    readers: Readers | None = None
    kind: Any = None
    """`list`, `dict`, the model, or None for a type that is not inspected."""
    library: str = ""
    """The library of a model, else empty."""
    fields: tuple[Field, ...] = ()
    """The fields of a model; for a list or dict, one field that stands for all items."""
    nullable: bool = False

    @property
    def special(self) -> bool:
        """Whether there is a model or an annotation here or below."""
        here = self.readers is not None or bool(self.library)
        return here or any(field.node.special for field in self.fields)

    def below(
        self, value: Any, path: tuple[str | int, ...]
    ) -> Iterator[tuple[Field, Any, tuple[str | int, ...]]]:
        """Yield each field that a value has, with its value and path."""
        if self.library:
            for field in self.fields:
                if field.key in value:
                    yield field, value[field.key], (*path, field.key)
        else:
            items = value.items() if self.kind is dict else enumerate(value)
            for segment, item in items:
                yield self.fields[0], item, (*path, segment)


class Field(NamedTuple):
    """A field of a model."""

    name: str
    key: str
    """The field's name in documents."""
    node: Node
    required: bool = True


def rules_of(model: type) -> _Rules:
    """Return the policy rules that correspond to the annotations of a model.

    A pattern that ends in "[]" covers its place only if the value is None, [] or {}.

    Raises:
        PolicyError: If a field has no or several `Readers`, or the model is unsupported; names it.
    """
    rules: _Rules = []
    bare: list[str] = []
    plan = plan_of(model)
    try:
        _add_rules(plan, "", rules, bare)
    except PolicyError as error:
        raise PolicyError(f"{model.__qualname__}: {error}") from None
    if bare:
        raise PolicyError(f"{model.__qualname__}: no Readers for {listed(bare)}")
    return rules


def _add_rules(node: Node, where: str, rules: _Rules, bare: list[str]) -> dict[str, None]:
    """Add rules for a place, and fields without readers to `bare`; return all permissions."""
    ruled, unruled = len(rules), len(bare)
    found: dict[str, None] = {}
    for field in node.fields:
        segment = pointer([field.key]) if node.library else "/*"
        found |= _add_rules(field.node, where + segment, rules, bare)
    if node.readers is not None:
        if len(rules) > ruled:
            raise PolicyError(f"both {where} and {rules[ruled][0]} below it have Readers")
        del bare[unruled:]
        rules.append((f"{where}/**", node.readers.permissions))
        return dict.fromkeys(node.readers.permissions)
    if not node.fields:
        bare.append(where)
    elif where and found:
        if node.library:  # members that the model lacks have no readers
            rules.append((f"{where}/*", ()))
        rules.append((f"{where}[]", tuple(found)))
    return found


def plan_of(model: Any) -> Node:
    """Return the annotations of a model as a tree.

    Raises:
        PolicyError: If the model is unsupported; names the field.
        TypeError: If it is not a model.
    """
    if not _library(model):
        raise TypeError(f"{model!r} is not a dataclass, pydantic model or msgspec Struct")
    return _plan(model)


@lru_cache(1024)
def _plan(model: Any) -> Node:
    try:
        return _node(model, "", ())
    except PolicyError as error:
        raise PolicyError(f"{model.__qualname__}: {error}") from None


def _node(hint: Any, where: str, within: tuple[type, ...], metadata: Sequence[Any] = ()) -> Node:
    inner, readers = unwrap(hint, where, metadata)
    origin, arguments = get_origin(inner), get_args(inner)
    kind = origin or inner
    node = Node(hint, readers)
    if origin in UNIONS:
        return _union(node, arguments, where, within)
    if kind in _NO_KINDS or _is_class(inner, *_NO_KINDS) or typing.is_typeddict(inner):
        raise PolicyError(f"{where}: unsupported type {_name(inner)}: use a list, dict or model")
    if library := _library(inner):
        return _model(node._replace(kind=inner, library=library), where, within)
    if arguments and (kind in _LISTS or kind in _MAPS):
        if kind in _MAPS and _is_class(arguments[0]) and arguments[0] not in (str, object):
            raise PolicyError(f"{where}: dict keys must be str")
        item = Field("*", "*", _node(arguments[-1], f"{where}/*", within))
        return node._replace(kind=list if kind in _LISTS else dict, fields=(item,))
    if _library(origin) or any(_node(each, where, within).special for each in arguments):
        raise PolicyError(f"{where}: a model inside {_name(inner)} is not supported")
    return node


def _union(node: Node, arguments: Sequence[Any], where: str, within: tuple[type, ...]) -> Node:
    arms = [
        _node(arm, where, within)
        for arm in arguments
        if arm is not type(None) and _name(arm) != "UnsetType"
    ]
    if len(arms) == 1:
        if node.readers and arms[0].readers:
            raise PolicyError(f"{where} has Readers twice")
        readers = node.readers or arms[0].readers
        nullable = arms[0].nullable or type(None) in arguments
        return arms[0]._replace(hint=node.hint, readers=readers, nullable=nullable)
    if any(arm.special for arm in arms):
        raise PolicyError(f"{where}: a model can only be in a union with None")
    return node


def _model(node: Node, where: str, within: tuple[type, ...]) -> Node:
    model, library = node.kind, node.library
    if model in within:
        raise PolicyError(
            f"{where}: {model.__qualname__} contains itself: recursive models are not supported"
        )
    if library != "dataclass" and {*map(_library, within)} - {library, "dataclass"}:
        raise PolicyError(f"{where}: a {library} model inside a model of another library")
    try:
        raw = list(_DESCRIBE[library](model, where))
    except NameError as error:
        name = f"{error.name!r} in an annotation of {model.__qualname__}"
        raise PolicyError(f"{name} is not defined in its module") from None
    fields = tuple(
        Field(name, key, _node(hint, where + pointer([key]), (*within, model), metadata), required)
        for name, key, hint, metadata, required in raw
    )
    if len({field.key for field in fields}) < len(fields):
        raise PolicyError(f"{where or model.__qualname__} has two fields with the same alias")
    return node._replace(fields=fields)


_Described = Iterator[tuple[str, str, Any, Sequence[Any], bool]]
"""For each field: name, name in documents, annotation, its metadata, whether it is required."""


def _describe_dataclass(model: Any, _: str) -> _Described:
    hints = typing.get_type_hints(model, include_extras=True)
    missing = dataclasses.MISSING
    for field in dataclasses.fields(model):
        if field.init:
            required = field.default is missing and field.default_factory is missing
            yield field.name, field.name, hints[field.name], (), required


def _describe_pydantic(model: Any, where: str) -> _Described:
    if getattr(model, "__pydantic_root_model__", False):
        raise PolicyError(f"{where}: {model.__qualname__} is a RootModel, which has no fields")
    if not model.__pydantic_complete__ and hasattr(model, "model_rebuild"):
        model.model_rebuild()
    for name, field in model.__pydantic_fields__.items():
        key = field.serialization_alias or name
        if key != (field.validation_alias or name):
            raise PolicyError(
                f"{where}{pointer([key])} has different aliases for validation and serialization"
            )
        if not field.exclude:
            yield name, key, field.annotation, field.metadata, field.is_required()


def _describe_msgspec(model: Any, where: str) -> _Described:
    if model.__struct_config__.array_like:
        raise PolicyError(f"{where}: {model.__qualname__} is array_like, which has no field names")
    for field in modules["msgspec"].structs.fields(model):
        yield field.name, field.encode_name, field.type, (), field.required


_DESCRIBE: Final = {
    "dataclass": _describe_dataclass,
    "pydantic": _describe_pydantic,
    "msgspec": _describe_msgspec,
}


def _library(hint: Any) -> str:
    """Return the library of a model, or an empty string."""
    if not isinstance(hint, type):
        return ""
    if hasattr(hint, "__pydantic_fields__"):
        return "pydantic"
    if hasattr(hint, "__struct_fields__"):
        return "msgspec"
    return "dataclass" if dataclasses.is_dataclass(hint) else ""


def _is_class(hint: Any, *bases: type) -> bool:
    plain = isinstance(hint, type) and get_origin(hint) is None
    return plain and (not bases or issubclass(hint, bases))


def _name(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint))


def unwrap(hint: Any, where: str = "", metadata: Sequence[Any] = ()) -> tuple[Any, Readers | None]:
    """Return the type of an annotation without wrappers, and its `Readers`."""
    found = [each for each in metadata if isinstance(each, Readers)]
    while True:
        if get_origin(hint) is Annotated:
            found += [each for each in hint.__metadata__ if isinstance(each, Readers)]
            hint = hint.__origin__
        elif get_origin(hint) is Final:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):  # a NewType
            hint = hint.__supertype__
        elif hasattr(hint, "__value__") and not isinstance(hint, type):  # `type X = …`
            if get_args(hint):
                raise PolicyError(f"{where}: a generic type alias is not supported")
            hint = hint.__value__
        else:
            break
    if len(set(found)) > 1:
        raise PolicyError(f"{where} has Readers twice")
    return hint, found[0] if found else None
