"""What the annotations of a model say: its fields, and who may read them.

    @dataclass
    class Employee:
        name: Annotated[str, Readers("team")]
        salary: Annotated[int | None, Readers("hr")] = None

A model is a dataclass, a pydantic model or a msgspec Struct. The rules: every field has `Readers`,
on itself or on everything in it, and not on both; a type that could hold a model where none is
looked for is refused. None, an empty list and an empty dict where models should be are for
everyone who may read anything of these models; any other value that is not a model is refused.

pydantic and msgspec are not imported: who has a model of theirs has imported them.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from sys import modules
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

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
class Readers:
    """The permissions that may read a field: `Annotated[int, Readers("hr", "audit")]`."""

    __slots__ = ("permissions",)

    def __init__(self, *permissions: str) -> None:
        if not permissions:
            raise PolicyError("Readers without permissions")
        self.permissions = permissions

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Readers) and other.permissions == self.permissions

    def __hash__(self) -> int:
        return hash(self.permissions)

    def __repr__(self) -> str:
        return f"Readers({', '.join(map(repr, self.permissions))})"


class Node(NamedTuple):
    """What an annotation says of one place."""

    hint: Any
    readers: Readers | None = None
    kind: Any = None
    """`list`, `dict`, the model, or None for what is not looked into."""
    library: str = ""
    """Of a model: whose it is."""
    fields: tuple[Field, ...] = ()
    """Of a model; for a list or a dict the one that stands for all items."""
    nullable: bool = False

    @property
    def special(self) -> bool:
        """Whether there is a model or an annotation here or below."""
        here = self.readers is not None or bool(self.library)
        return here or any(field.node.special for field in self.fields)

    def below(
        self, value: Any, path: tuple[str | int, ...]
    ) -> Iterator[tuple[Field, Any, tuple[str | int, ...]]]:
        """Yield what a value has of the fields, and where."""
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
    """Its name in documents."""
    node: Node
    required: bool = True


def rules_of(model: type) -> _Rules:
    """Return the rules of a policy that say what the annotations of a model do.

    A pattern with "[]" at its end covers its place only if that is None, [] or {}.

    Raises:
        PolicyError: If a field is not annotated, or twice, or the model cannot be used; names it.
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
    """Add the rules for one place, and to `bare` what has none; return the permissions."""
    ruled, unruled = len(rules), len(bare)
    found: dict[str, None] = {}
    for field in node.fields:
        segment = pointer([field.key]) if node.library else "/*"
        found |= _add_rules(field.node, where + segment, rules, bare)
    if node.readers is not None:
        if len(rules) > ruled:
            raise PolicyError(f"{where} has Readers, and so has {rules[ruled][0]} below it")
        del bare[unruled:]
        rules.append((f"{where}/**", node.readers.permissions))
        return dict.fromkeys(node.readers.permissions)
    if not node.fields:
        bare.append(where)
    elif where and found:
        if node.library:  # a member that is not in the model is for nobody
            rules.append((f"{where}/*", ()))
        rules.append((f"{where}[]", tuple(found)))
    return found


def plan_of(model: Any) -> Node:
    """Return what the annotations of a model say.

    Raises:
        PolicyError: If it cannot be used; names the field.
        TypeError: If it is no model.
    """
    if not _library(model):
        raise TypeError(f"{model!r} is no dataclass, pydantic model or msgspec Struct")
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
        raise PolicyError(f"{where}: a document has lists, dicts and models, and no {_name(inner)}")
    if library := _library(inner):
        return _model(node._replace(kind=inner, library=library), where, within)
    if arguments and (kind in _LISTS or kind in _MAPS):
        if kind in _MAPS and _is_class(arguments[0]) and arguments[0] not in (str, object):
            raise PolicyError(f"{where}: names in a dict are str")
        item = Field("*", "*", _node(arguments[-1], f"{where}/*", within))
        return node._replace(kind=list if kind in _LISTS else dict, fields=(item,))
    if _library(origin) or any(_node(each, where, within).special for each in arguments):
        raise PolicyError(f"{where}: a model in {_name(inner)}, where it is not looked for")
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
        raise PolicyError(f"{where}: a union of more than a model and None")
    return node


def _model(node: Node, where: str, within: tuple[type, ...]) -> Node:
    model, library = node.kind, node.library
    if model in within:
        raise PolicyError(f"{where}: {model.__qualname__} in itself: a model cannot be recursive")
    if library != "dataclass" and {*map(_library, within)} - {library, "dataclass"}:
        raise PolicyError(f"{where}: a model of {library} in one of another library")
    try:
        raw = list(_DESCRIBE[library](model, where))
    except NameError as error:
        name = f"{error.name!r} in an annotation of {model.__qualname__}"
        raise PolicyError(f"{name} names nothing in its module") from None
    fields = tuple(
        Field(name, key, _node(hint, where + pointer([key]), (*within, model), metadata), required)
        for name, key, hint, metadata, required in raw
    )
    if len({field.key for field in fields}) < len(fields):
        raise PolicyError(f"{where or model.__qualname__} has two fields of one alias")
    return node._replace(fields=fields)


_Described = Iterator[tuple[str, str, Any, Sequence[Any], bool]]
"""By field: name, name in documents, annotation, what it is annotated with, whether required."""


def _describe_dataclass(model: Any, _: str) -> _Described:
    hints = typing.get_type_hints(model, include_extras=True)
    missing = dataclasses.MISSING
    for field in dataclasses.fields(model):
        if field.init:
            required = field.default is missing and field.default_factory is missing
            yield field.name, field.name, hints[field.name], (), required


def _describe_pydantic(model: Any, where: str) -> _Described:
    if getattr(model, "__pydantic_root_model__", False):
        raise PolicyError(f"{where}: {model.__qualname__} has no fields: it is a RootModel")
    if not model.__pydantic_complete__ and hasattr(model, "model_rebuild"):
        model.model_rebuild()
    for name, field in model.__pydantic_fields__.items():
        key = field.serialization_alias or name
        if key != (field.validation_alias or name):
            raise PolicyError(f"{where}{pointer([key])} has another alias for validation")
        if not field.exclude:
            yield name, key, field.annotation, field.metadata, field.is_required()


def _describe_msgspec(model: Any, where: str) -> _Described:
    if model.__struct_config__.array_like:
        raise PolicyError(f"{where}: {model.__qualname__} has no names: it is array_like")
    for field in modules["msgspec"].structs.fields(model):
        yield field.name, field.encode_name, field.type, (), field.required


_DESCRIBE: Final = {
    "dataclass": _describe_dataclass,
    "pydantic": _describe_pydantic,
    "msgspec": _describe_msgspec,
}


def _library(hint: Any) -> str:
    """Return whose model something is, or nothing."""
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
    """Return what an annotation is about, and who may read it."""
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
                raise PolicyError(f"{where}: a type alias with parameters")
            hint = hint.__value__
        else:
            break
    if len(set(found)) > 1:
        raise PolicyError(f"{where} has Readers twice")
    return hint, found[0] if found else None
