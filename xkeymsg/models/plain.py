"""Dataclasses, whose fields get exactly the annotated types."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import lru_cache
from inspect import signature
from typing import Any, Literal, get_args, get_origin

from xkeymsg.errors import PolicyError
from xkeymsg.models.codec import is_enum
from xkeymsg.models.codecs import codec_of
from xkeymsg.models.hash_limit import COLLISION_FREE
from xkeymsg.models.tree import (
    ADAPTERS,
    MAPS,
    Fault,
    Member,
    Node,
    Path,
    library_of,
    typed_members,
    types_in,
    unwrap,
)

__all__ = ("Dataclasses",)


class Dataclasses:
    """The adapter for dataclasses."""

    def members(self, model: Any) -> Iterator[Member]:
        """See `Adapter`."""
        hints = typed_members(model)
        missing = dataclasses.MISSING
        kind = get_origin(model) or model
        fields = [each for each in dataclasses.fields(kind) if each.init]
        try:
            signature(kind).bind(**{each.name: each for each in fields})
        except TypeError:
            raise PolicyError("its constructor does not take exactly its fields") from None
        for field in fields:
            required = field.default is missing and field.default_factory is missing
            yield Member(field.name, (field.name,), hints[field.name], required=required)

    def check_model(self, node: Node, where: str) -> None:
        """See `Adapter`."""

    def check(self, node: Node, where: str) -> Iterable[type]:
        """See `Adapter`."""
        return _check(node.hint, where, [])

    def hashes(self, node: Node) -> bool:
        """See `Adapter`."""
        return _hashes(node)

    def write(self, node: Node, instance: Any, path: Path) -> dict[str, Any]:
        """See `Adapter`."""
        form: dict[str, Any] = codec_of(node.kind).write(instance, path)
        return form

    def read(self, node: Node, document: Any, path: Path, faults: list[Fault]) -> Any:
        """See `Adapter`."""
        return codec_of(node.kind).read(document, path, faults)


@lru_cache(4096)
def _hashes(node: Node) -> bool:
    return any(_hashed_in(node.hint, []))


def _hashed_in(hint: Any, seen: list[Any]) -> Iterator[bool]:
    """Yield whether each type in a type hashes values that a sender can choose."""
    inner, _ = unwrap(hint)
    if inner in seen:
        return
    seen.append(inner)
    if library_of(inner) not in ("", "dataclass"):
        yield ADAPTERS[library_of(inner)].hashes(Node(inner))
        return
    if get_origin(inner) in (set, frozenset, *MAPS):
        key, _ = unwrap(get_args(inner)[0])
        closed = get_origin(key) is Literal or is_enum(key)
        known = getattr(key, "__module__", "") in ("builtins", "datetime")
        yield not closed and not (known and key.__name__ in COLLISION_FREE)
    for _, each, _ in types_in(inner, ""):
        yield from _hashed_in(each, seen)


def _check(hint: Any, where: str, seen: list[Any]) -> list[type]:
    """Check the codecs of a type and of all types in it; return models of other libraries."""
    inner, _ = unwrap(hint)
    if inner in seen:
        return []
    seen.append(inner)
    try:
        codec = codec_of(inner)
    except PolicyError as error:
        raise PolicyError(f"{where}: {error}") from None
    if codec.is_foreign:
        return list(ADAPTERS[library_of(inner)].check(Node(inner), where))
    return [
        model for place, each, _ in types_in(inner, where) for model in _check(each, place, seen)
    ]
