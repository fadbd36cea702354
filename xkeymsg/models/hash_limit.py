"""A bound on the time that a hostile document can take where a reader hashes its values.

Python's hashes of int, UUID, Decimal, tuples and models of them are not keyed: a sender can choose
values with equal hashes. Building a set of n such items compares about n²/2 pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isqrt
from typing import Any, Final, get_args, get_origin

from xkeymsg.models.tree import ADAPTERS, MAPS, Node, Path
from xkeymsg.places import items_of

__all__ = ("COLLISION_FREE", "MOST_HASHED", "find_excess")

MOST_HASHED: Final = 4096
"""Maximum items of a set; the squares of the sizes of all sets together have the same limit."""
COLLISION_FREE: Final = frozenset(
    {"bool", "bytes", "date", "datetime", "enum", "float", "literal", "none", "str", "time",
     "timedelta"}
)  # fmt: skip
"""Types, by pydantic's names, whose hash is keyed, or of which few values have equal hashes."""
_MODEL: Final = 16
"""Comparing two models in Python takes as long as comparing so many scalars."""


def find_excess(node: Node, document: Any, most: int = MOST_HASHED) -> tuple[Path, int] | None:
    """Return the place where a document exceeds a number of hashed items, and the number."""
    total = 0
    for path, work in _work(node, document, (), "dataclass"):
        total += work
        if isqrt(total) > most:
            return path, isqrt(total)
    return None


def _work(node: Node, value: Any, path: Path, owner: str) -> Iterator[tuple[Path, int]]:
    """Yield the comparisons that each place can take; `owner` is the library that reads it."""
    owner = node.library if owner == "dataclass" and node.library else owner
    if not ADAPTERS[owner].hashes(node):
        return
    item = _item_of(node)
    if node.holds(value) and node.fields:
        for field, each, at in node.below(value, path):
            yield from _work(field.node, each, at, owner)
        if owner == "pydantic" and node.library and _takes_more(node):
            known = {key for field in node.fields for key in field.keys}
            yield path, sum(_cost(each) for key, each in value.items() if key not in known)
    elif item and type(value) in (list, dict):
        yield path, len(value) ** 2 if type(value) is dict else 0
        for segment, each in items_of(value):
            yield from _work(item, each, (*path, segment), owner)
    else:
        yield path, _cost(value)


def _takes_more(node: Node) -> bool:
    """Return whether pydantic may read members of a model under other names than its fields."""
    config = getattr(node.kind, "model_config", {})
    return node.library == "dataclass" or config.get("extra") == "allow"


@lru_cache(4096)
def _item_of(node: Node) -> Node | None:
    """Return the place of the values of a dict, or the items of a tuple; None for other types."""
    arguments = () if node.is_leaf else get_args(node.inner)
    is_tuple = get_origin(node.inner) is tuple and arguments[1:] == (...,)
    if is_tuple or (get_origin(node.inner) in MAPS and arguments):
        return Node(arguments[0 if is_tuple else 1])
    return None


def _cost(form: Any) -> int:
    """Return the comparisons that building and comparing a value can take, if lists are sets."""
    if type(form) is list:
        return 1 + len(form) * sum(map(_cost, form))
    return _MODEL + len(form) ** 2 + sum(map(_cost, form.values())) if type(form) is dict else 1
