"""Conversion of model instances to documents, and of opened documents to model instances.

A document holds the values of an instance with their exact types; no serializer runs. An Enum
becomes its value. Unsupported values are refused here, where their place is known.

An instance made from a document has defaults for missing fields. Values for dataclasses must have
the annotated types; pydantic and msgspec validate their own models. No error contains a value, or
is chained to an error that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import islice
from sys import modules
from typing import Any, Final, Literal, TypeVar, get_args, get_origin
from uuid import UUID

from xkeymsg.errors import LimitExceededError, MalformedError, PolicyError
from xkeymsg.fields.values import WITHHELD
from xkeymsg.models.annotations import UNIONS, Node, plan_of, unwrap
from xkeymsg.places import place, short_pointer
from xkeymsg.refusals import refusing
from xkeymsg.shown import MOST_PLACES, cut, listed

__all__ = ("document_of", "into")

_Model = TypeVar("_Model")
_Path = tuple[str | int, ...]

_SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes, Decimal, datetime, UUID})
_OPEN: Final = (Any, object, list, dict)
"""Annotations that accept any value, including `WITHHELD`."""
_BAD: Final = object()
_DEPTH: Final = 256
"""The maximum of any depth limit; a cycle exceeds it."""
_MANY: Final = 1000
"""Maximum pydantic errors; if there are more, only the first places are searched."""
_STOP: Final = MOST_PLACES + 1
"""Maximum places found by validating each value."""
_MOST_SHOWN: Final = 800
"""Maximum characters of a place."""


@refusing
def document_of(instance: Any) -> dict[str, Any]:
    """Convert an instance of a model to a document, with field aliases as names.

        sealer.seal_document(document_of(ada), policy=Policy.of(Employee), readers=…, subject=…)

    Raises:
        MalformedError: If it holds an unsupported value; names the place.
        LimitExceededError: If it is too deep.
        PolicyError: If the model is unsupported; `Readers` are not required.
        TypeError: If it is not an instance of a dataclass, pydantic model or msgspec Struct.
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
    plain = _plain(value, path)
    kind = dict if node.library else node.kind
    if plain is not None and type(plain) is not kind and node.readers is None and node.special:
        what = node.kind.__name__
        raise MalformedError(f"{place(path)}: expected a {what}, not a {type(value).__name__}")
    return plain


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
    """Return a copy of a value that must not contain models."""
    if len(path) > _DEPTH:
        raise LimitExceededError(f"{place(path)}: depth of a document", len(path), _DEPTH)
    if isinstance(value, Enum):
        value = value.value
    if type(value) is list:
        return [_plain(each, (*path, at)) for at, each in enumerate(value)]
    if type(value) is dict:
        return {_name(name, path): _plain(each, (*path, name)) for name, each in value.items()}
    if type(value) not in _SCALARS:
        raise MalformedError(f"{place(path)}: a document cannot hold a {type(value).__name__}")
    return value


def _name(name: Any, path: _Path) -> str:
    if type(name) is not str:
        raise MalformedError(f"{place(path)}: a dict key must be a str, not {type(name).__name__}")
    return name


def into(model: type[_Model], document: Any, withheld: int) -> _Model:
    """Convert an opened document to an instance of a model; see `View.into`.

    Raises:
        PolicyError: If a required field is missing while parts of the document are withheld; names
            all such places.
        MalformedError: If the document does not fit the model; names the places, but no values.
        TypeError: If `model` is not a dataclass, pydantic model or msgspec Struct.
    """
    plan = plan_of(model)
    filler = _Filler(plan)
    instance: _Model = filler.visit(plan, document, (), own=True)
    if filler.missing.count:
        needs = f"{model.__qualname__} requires {filler.missing}"
        if withheld:
            raise PolicyError(f"{needs}: withheld, or not in the document")
        raise MalformedError(f"{needs}: not in the document")
    if filler.misfits.count:
        raise MalformedError(f"does not fit {model.__qualname__}: {filler.misfits}")
    return instance


class _Places:
    """Places in an untrusted document: the first distinct ones, and the number of all."""

    __slots__ = ("_first", "_node", "count", "stopped")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._first: list[str] = []
        self.count = 0
        self.stopped = False
        """Whether the search ended early, so that there may be more."""

    def add(self, path: _Path) -> None:
        if len(self._first) < MOST_PLACES:
            if (shown := _place(self._node, path)) in self._first:
                return
            self._first.append(shown)
        self.count += 1

    def __str__(self) -> str:
        more = ", and more" if self.stopped else ""
        return listed(self._first, None if more else self.count, most=_MOST_SHOWN) + more


def _place(node: Node | None, path: _Path) -> str:
    """Format a place; names that the model lacks are from the sender, and shown as `*`."""
    shown = ""
    for segment in path:
        known = type(segment) is int
        if node is not None and node.library:
            node = next((each.node for each in node.fields if each.key == segment), None)
            known = node is not None
        elif node is not None:
            node = node.fields[0].node if node.fields else None
        shown += short_pointer([segment]) if known else "/*"
    return cut(shown, _MOST_SHOWN) or "the document"


class _Filler:
    """Fills one model, and collects all missing and misfitting places."""

    __slots__ = ("misfits", "missing")

    def __init__(self, plan: Node) -> None:
        self.missing = _Places(plan)
        self.misfits = _Places(plan)

    def visit(self, node: Node, value: Any, path: _Path, *, own: bool) -> Any:
        """Return the value for a place.

        If `own`, the value is built here. Otherwise a library builds it with a model further up,
        and this only finds missing fields.
        """
        if value is WITHHELD and not _is_open(node.hint):
            self.missing.add(path)
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
        for field in node.fields:
            if field.required and field.key not in value:
                self.missing.add((*path, field.key))
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
            self.missing.add(path)
        elif type(value) is list or type(value) is dict:
            items = value.items() if type(value) is dict else enumerate(value)
            for segment, item in items:
                self._withheld(item, (*path, segment))

    def _misfit(self, path: _Path) -> Any:
        self.misfits.add(path)
        return _BAD

    def _make(self, node: Node, value: Any, built: dict[Any, Any], path: _Path) -> Any:
        """Build a model, if nothing is missing."""
        if self.missing.count or (node.library == "dataclass" and self.misfits.count):
            return _BAD
        try:
            return _MAKE[node.library](node.kind, value, built)
        except _refusals(node.library) as error:
            places = _PLACES[node.library](node, value, path, error)
            self.misfits.stopped |= len(places) == _STOP
            for each in places:
                self.misfits.add(each)
        return _BAD


def _is_open(hint: Any) -> bool:
    inner, _ = unwrap(hint)
    if get_origin(inner) in UNIONS:
        return any(map(_is_open, get_args(inner)))
    return any(inner is each for each in _OPEN)


def _fitting(hint: Any, value: Any) -> Any:
    """Return a value converted for an annotation, or `_BAD`; unknown types accept any value."""
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
    """Return the exceptions that a model raises for invalid values."""
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


def _places_pydantic(node: Node, value: Any, path: _Path, error: Any) -> list[_Path]:
    """Return the places of errors, each cut where a step is not in the document but a label."""
    if not hasattr(error, "errors"):
        return [path]
    if error.error_count() > _MANY:  # each takes a kilobyte
        return _first_tried(node, value, path, _fits_pydantic)
    each_loc = error.errors(include_url=False, include_context=False, include_input=False)
    return [_known_part(each["loc"], value, path) for each in each_loc]


def _known_part(loc: Iterable[Any], value: Any, path: _Path) -> _Path:
    """Return the place of an error: its leading steps that exist in the document."""
    for step in loc:
        if type(value) is list:
            known = type(step) is int and step < len(value)
        else:
            known = type(value) is dict and step in value
        if not known:
            break
        path, value = (*path, step), value[step]
    return path


def _places_msgspec(node: Node, value: Any, path: _Path, _: Any) -> list[_Path]:
    return _first_tried(node, value, path, _fits_msgspec)


def _first_tried(
    node: Node, value: Any, path: _Path, fits: Callable[[Any, Any], bool]
) -> list[_Path]:
    return list(islice(_tried(node, value, path, fits), _STOP))


def _tried(
    node: Node, value: Any, path: _Path, fits: Callable[[Any, Any], bool]
) -> Iterable[_Path]:
    """Yield the innermost places that do not fit, or else the value's own place."""
    found = False
    if node.kind is not None and type(value) is (dict if node.library else node.kind):
        for field, item, at in node.below(value, path):
            for each in _tried(field.node, item, at, fits):
                found = True
                yield each
    if not found and not fits(node.hint, value):
        yield path


def _fits_msgspec(hint: Any, value: Any) -> bool:
    try:
        modules["msgspec"].convert(value, hint)
    except _refusals("msgspec"):
        return False
    return True


def _fits_pydantic(hint: Any, value: Any) -> bool:
    try:
        _adapter(hint).validate_python(value)
    except _refusals("pydantic"):
        return False
    return True


@lru_cache(256)
def _adapter(hint: Any) -> Any:
    return modules["pydantic"].TypeAdapter(hint)


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
