"""From instances of models to documents, and from what a reader may see back into models.

A document has what an instance holds, with the exact types: no serializer runs. An Enum is its
value. What a document cannot hold is refused here already, where its place can be named.

Back into a model, defaults stand for what is not there. Dataclasses get values of the types they
are annotated with, or none; the models of pydantic and msgspec are validated by those. No error
has a value in it, or another error that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from sys import modules
from typing import Any, Final, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from xkeymsg.errors import LimitExceededError, MalformedError, PolicyError
from xkeymsg.fields.pattern import pointer
from xkeymsg.fields.values import WITHHELD
from xkeymsg.models.annotations import UNIONS, Node, plan_of, unwrap

__all__ = ("document_of", "into")

_Model = TypeVar("_Model")
_Path = tuple[str | int, ...]

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes, Decimal, datetime, UUID})
_OPEN: Final = (Any, object, list, dict)
"""Annotations of what may hold anything, and so `WITHHELD`."""
_BAD: Final = object()
_DEPTH: Final = 256
"""Deeper than this no limit of depth can be; a cycle is."""


def document_of(instance: Any) -> dict[str, Any]:
    """Return the document that an instance of a model is, by the aliases of its fields.

        sealer.seal_document(document_of(ada), policy=Policy.of(Employee), readers=…, subject=…)

    Raises:
        MalformedError: If it holds what a document cannot hold; names the place.
        LimitExceededError: If it is too deep.
        PolicyError: If the model cannot be used; it does not have to be annotated.
        TypeError: If it is no instance of a dataclass, pydantic model or msgspec Struct.
    """
    return _write_model(plan_of(type(instance)), instance, ())


def _write(node: Node, value: Any, path: _Path) -> Any:
    if node.library and type(value) is node.kind:
        return _write_model(node, value, path)
    if node.kind is list and type(value) is list:
        [item] = node.fields
        return [_write(item.node, each, (*path, at)) for at, each in enumerate(value)]
    if node.kind is dict and type(value) is dict:
        [item] = node.fields
        return {
            _name(name, path): _write(item.node, each, (*path, name))
            for name, each in value.items()
        }
    return _plain(value, path)


def _write_model(node: Node, instance: Any, path: _Path) -> dict[str, Any]:
    document = {}
    unset = modules["msgspec"].UNSET if node.library == "msgspec" else _BAD
    for field in node.fields:
        value = getattr(instance, field.name)
        if value is not unset:
            document[field.key] = _write(field.node, value, (*path, field.key))
    extra = getattr(instance, "__pydantic_extra__", None) or {}
    return {**_plain(extra, path), **document}


def _plain(value: Any, path: _Path) -> Any:
    """Return a copy of a value in which no model is looked for."""
    if len(path) > _DEPTH:
        raise LimitExceededError("depth of a document", len(path), _DEPTH)
    if isinstance(value, Enum):
        value = value.value
    if type(value) is list:
        return [_plain(each, (*path, at)) for at, each in enumerate(value)]
    if type(value) is dict:
        return {_name(name, path): _plain(each, (*path, name)) for name, each in value.items()}
    if type(value) not in _SCALARS:
        raise MalformedError(f"{_at(path)}: a document cannot hold a {type(value).__name__}")
    return value


def _name(name: Any, path: _Path) -> str:
    if type(name) is not str:
        raise MalformedError(f"{_at(path)}: a name in a dict that is a {type(name).__name__}")
    return name


def _at(path: _Path) -> str:
    return pointer(path) or "the document"


def into(model: type[_Model], document: Any, withheld: int) -> _Model:
    """Make an instance of a model of what a reader may see; see `View.into`.

    Raises:
        PolicyError: If the model cannot do without something that is not there, while parts of the
            document are withheld; names every such place.
        MalformedError: If the document does not fit the model; names the places, and no value.
        TypeError: If it is no dataclass, pydantic model or msgspec Struct.
    """
    filler = _Filler()
    plan = plan_of(model)
    instance: _Model = filler.visit(plan, document, (), own=True)
    if filler.missing:
        places = _places(plan, filler.missing)
        needs = f"{model.__qualname__} cannot do without {places}"
        if withheld:
            raise PolicyError(f"{needs}: withheld, or not in the document")
        raise MalformedError(f"{needs}: not in the document")
    if filler.misfits:
        places = _places(plan, filler.misfits)
        raise MalformedError(f"does not fit {model.__qualname__}: {places}")
    return instance


def _places(plan: Node, paths: Iterable[_Path]) -> str:
    """Name places in a document that somebody else made."""
    return ", ".join(dict.fromkeys(_place(plan, path) for path in paths))


def _place(node: Node | None, path: _Path) -> str:
    """Name a place: names that the model does not have are the sender's, and shown as `*`."""
    shown = ""
    for segment in path:
        known = type(segment) is int
        if node is not None and node.library:
            node = next((each.node for each in node.fields if each.key == segment), None)
            known = node is not None
        elif node is not None:
            node = node.fields[0].node if node.fields else None
        shown += pointer([segment]) if known else "/*"
    return shown or "the document"


class _Filler:
    """Fills one model, and notes all that is in the way."""

    __slots__ = ("misfits", "missing")

    def __init__(self) -> None:
        self.missing: list[_Path] = []
        self.misfits: list[_Path] = []

    def visit(self, node: Node, value: Any, path: _Path, *, own: bool) -> Any:
        """Return the value for a place.

        It is made here if `own`; else a library does it further up, and only what is missing is
        looked for.
        """
        if value is WITHHELD and not _is_open(node.hint):
            self.missing.append(path)
            return _BAD
        if node.kind is None or (value is None and node.nullable):
            return self._leaf(node, value, path, own=own)
        if type(value) is not (dict if node.library else node.kind):
            return self._misfit(path) if own else value
        below = own and node.library in ("", "dataclass")
        built = {
            (field.name if node.library else at[-1]): self.visit(field.node, item, at, own=below)
            for field, item, at in node.below(value, path)
        }
        if not node.library:
            return list(built.values()) if node.kind is list else built
        self.missing += [
            (*path, field.key) for field in node.fields if field.required and field.key not in value
        ]
        return self._make(node, value, built, path) if own else value

    def _leaf(self, node: Node, value: Any, path: _Path, *, own: bool) -> Any:
        if not _is_open(node.hint):
            self._withheld(value, path)
        if not own or (value is None and node.nullable):
            return value
        fitting = _fitting(node.hint, value)
        return self._misfit(path) if fitting is _BAD else fitting

    def _withheld(self, value: Any, path: _Path) -> None:
        if value is WITHHELD:
            self.missing.append(path)
        elif type(value) is list or type(value) is dict:
            items = value.items() if type(value) is dict else enumerate(value)
            for segment, item in items:
                self._withheld(item, (*path, segment))

    def _misfit(self, path: _Path) -> Any:
        self.misfits.append(path)
        return _BAD

    def _make(self, node: Node, value: Any, built: dict[Any, Any], path: _Path) -> Any:
        """Make a model, if nothing is missing."""
        if self.missing or (node.library == "dataclass" and self.misfits):
            return _BAD
        try:
            return _MAKE[node.library](node.kind, value, built)
        except _refusals(node.library) as error:
            self.misfits += _PLACES[node.library](node, value, path, error)
        return _BAD


def _is_open(hint: Any) -> bool:
    inner, _ = unwrap(hint)
    if get_origin(inner) in UNIONS:
        return any(map(_is_open, get_args(inner)))
    return any(inner is each for each in _OPEN)


def _fitting(hint: Any, value: Any) -> Any:
    """Return a value as an annotation wants it, or `_BAD`; what is not known here takes any."""
    hint, _ = unwrap(hint)
    origin = get_origin(hint)
    if origin in UNIONS:
        arms = (_fitting(arm, value) for arm in get_args(hint))
        return next((each for each in arms if each is not _BAD), _BAD)
    if origin is Literal:
        fits = (type(value), value) in [(type(each), each) for each in get_args(hint)]
    elif isinstance(hint, type) and issubclass(hint, Enum):
        return _member(hint, value)
    elif (origin or hint) in (list, dict):
        fits = type(value) is (origin or hint)
    elif hint is float:
        fits = type(value) in (float, int)
    else:
        fits = type(value) is hint or hint not in _SCALARS
    return value if fits else _BAD


def _member(kind: type[Enum], value: Any) -> Any:
    try:
        member = kind(value)
    except (ValueError, TypeError):
        return _BAD
    return member if type(member.value) is type(value) else _BAD


def _refusals(library: str) -> tuple[type[Exception], ...]:
    """Return what a model raises of values that it does not take."""
    plain = ValueError, TypeError, AssertionError
    return (*plain, modules["msgspec"].ValidationError) if library == "msgspec" else plain


def _make_dataclass(model: Any, _: Any, built: dict[str, Any]) -> Any:
    return model(**built)


def _make_pydantic(model: Any, value: Any, _: Any) -> Any:
    return model.__pydantic_validator__.validate_python(value)


def _make_msgspec(model: Any, value: Any, _: Any) -> Any:
    return modules["msgspec"].convert(value, model)


def _places_dataclass(_node: Node, _value: Any, path: _Path, _error: Any) -> list[_Path]:
    return [path]


def _places_pydantic(_: Node, value: Any, path: _Path, error: Any) -> list[_Path]:
    """Return the places of errors as far as they are in the document: other steps are labels."""
    places = []
    if not hasattr(error, "errors"):
        return [path]
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        place, inner = path, value
        for step in each["loc"]:
            if type(inner) is list:
                known = type(step) is int and step < len(inner)
            else:
                known = type(inner) is dict and step in inner
            if not known:
                break
            place, inner = (*place, step), inner[step]
        places.append(place)
    return places


def _places_msgspec(node: Node, value: Any, path: _Path, _: Any) -> list[_Path]:
    """Try what is in a value, and then the value."""
    places: list[_Path] = []
    if node.kind is not None and type(value) is (dict if node.library else node.kind):
        for field, item, at in node.below(value, path):
            places += _places_msgspec(field.node, item, at, None)
    if not places:
        try:
            modules["msgspec"].convert(value, node.hint)
        except _refusals("msgspec"):
            places = [path]
    return places


_MAKE: Final[dict[str, Callable[..., Any]]] = {
    "dataclass": _make_dataclass,
    "pydantic": _make_pydantic,
    "msgspec": _make_msgspec,
}
_PLACES: Final[dict[str, Callable[..., list[_Path]]]] = {
    "dataclass": _places_dataclass,
    "pydantic": _places_pydantic,
    "msgspec": _places_msgspec,
}
