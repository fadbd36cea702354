"""Readers of the fields of a model, and the policy rules that they stand for.

    @dataclass
    class Employee:
        name: Annotated[str, Readers("team")]
        salary: Annotated[int | None, Readers("hr")] = None

Every field has `Readers`, either on itself or on everything in it. None, an empty list and an empty
dict in place of models are readable by everyone who may read anything in these models; any other
value that is not a model is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from xkeymsg.display import listed
from xkeymsg.errors import PolicyError
from xkeymsg.models.tree import (
    ADAPTERS,
    Node,
    name_of,
    root_of,
    types_in,
    unwrap,
)

__all__ = ("rules_of",)

_Rules = list[tuple[str, tuple[str, ...]]]


def rules_of(model: type) -> _Rules:
    """Return the policy rules that correspond to the annotations of a model.

    A pattern that ends in "[]" covers its place only if the value is None, [] or {}.

    Raises:
        PolicyError: If a field has no or several `Readers`, or if its instances cannot be sealed
            and read back; names the field.
        TypeError: If it is not a model.
    """
    rules: _Rules = []
    bare: list[str] = []
    node = root_of(model)
    name = name_of(model)
    if not isinstance(model, type):  # instances do not know their type arguments
        raise PolicyError(f"{name}: derive a class from it, and use that")
    try:
        _add_rules(node, "dataclass", "", (), rules, bare)
    except PolicyError as error:
        known = str(error).startswith(f"{name}: ")
        raise PolicyError(str(error) if known else f"{name}: {error}") from None
    if bare:
        how = "annotate Annotated[…, Readers(…)]"
        raise PolicyError(f"{name}: no Readers for {listed(bare)}; {how}")
    return rules


def _add_rules(
    node: Node, owner: str, where: str, within: tuple[Any, ...], rules: _Rules, bare: list[str]
) -> dict[str, None]:
    """Add rules for a place, and fields without readers to `bare`; return all permissions.

    `owner` is the library that converts the model that contains the place.
    """
    if owner != "dataclass" and node.library not in ("", owner, "dataclass"):
        raise PolicyError(f"{where}: a {node.library} model inside a model of another library")
    if node.readers is not None:
        both = f"both {where} and a place below it have Readers"
        _refuse_readers([node.inner, *ADAPTERS[owner].check(node, where)], where, both)
        rules.append((f"{where}/**", node.readers.permissions))
        return dict.fromkeys(node.readers.permissions)
    places = list(node.places(where))
    if node.library:
        owner = node.library if owner == "dataclass" else owner
        _check_model(node, owner, where, within)
        within = (*within, node.kind)
    if not places:
        error = f"{where}: Readers inside {name_of(node.hint)}: cover it"
        _refuse_readers([node.hint], where, error)
        bare.append(where)
    found: dict[str, None] = {}
    for below, field in places:
        found |= _add_rules(field.node, owner, below, within, rules, bare)
    if where and found:
        if node.library:  # members that the model lacks have no readers
            rules.append((f"{where}/*", ()))
        rules.append((f"{where}[]", tuple(found)))
    return found


def _check_model(node: Node, owner: str, where: str, within: tuple[Any, ...]) -> None:
    if node.kind in within:
        name = name_of(node.kind)
        raise PolicyError(f"{where}: {name} contains itself: cover it with one Readers")
    ADAPTERS[owner].check_model(node, where)


def _refuse_readers(hints: Iterable[Any], where: str, error: str) -> None:
    """Raise an error if there are `Readers` inside a type."""
    for hint in hints:
        for below in _readers_in(hint, where, []):
            raise PolicyError(f"{error}: {below}")


def _readers_in(hint: Any, where: str, seen: list[Any]) -> Iterator[str]:
    """Yield the places in a type that have `Readers`."""
    hint, _ = unwrap(hint)
    if hint in seen:
        return
    seen.append(hint)
    for place, each, metadata in types_in(hint, where):
        if unwrap(each, place, metadata)[1] is not None:
            yield place
        else:
            yield from _readers_in(each, place, seen)
