"""Joining the parts that a reader was granted into what it may see (spec, "Joining")."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.plaintext import unpack
from xkeymsg.fields.values import WITHHELD
from xkeymsg.limits import Limits

__all__ = ("join",)


class _Open:
    """A container that several pairs fill: its children by name, or by index."""

    __slots__ = ("children", "kind")

    def __init__(self, kind: type[str | int]) -> None:
        self.kind = kind
        self.children: dict[Any, _Open | _Value] = {}

    @property
    def holes(self) -> int:
        """How many positions of a list have no item."""
        return 0 if self.kind is str else max(self.children) + 1 - len(self.children)

    def build(self, built: dict[_Open, Any]) -> Any:
        """Return the container, of which all that is in it is built."""
        children = {
            segment: child.value if isinstance(child, _Value) else built[child]
            for segment, child in self.children.items()
        }
        if self.kind is str:
            return children
        items: list[Any] = [WITHHELD] * (max(children) + 1)
        for index, item in children.items():
            items[index] = item
        return items


class _Value:
    """A value at its place."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def join(parts: dict[int, bytes], limits: Limits) -> Any:
    """Build a document from the plaintexts of parts, by their numbers.

    Raises:
        MalformedError: If one of them is not the plaintext of a part, or they contradict each other
            (F-51 to F-53).
        LimitExceededError: If they are more than the limits allow (F-55).
    """
    pairs = [pair for part in unpack([parts[n] for n in sorted(parts)], limits) for pair in part]
    first, value = pairs[0]
    if len(pairs) == 1 and not first:
        return value
    root = _Open(type(first[0]) if first else str)
    for path, value in pairs:
        _place(root, path, value)
    opened = _opened(root)
    holes = sum(container.holes for container in opened)
    if holes > limits.holes:
        raise LimitExceededError("positions that a reader may not see", holes, limits.holes)
    # From the innermost: what is in a container is built before it.
    built: dict[_Open, Any] = {}
    for container in reversed(opened):
        built[container] = container.build(built)
    return built[root]


def _place(root: _Open, path: Sequence[str | int], value: Any) -> None:
    """Put a value at the end of a path; every step has to be a new or a fitting container."""
    if not path:
        raise MalformedError("the whole document beside a part of it")
    node, last = root, len(path) - 1
    for number, segment in enumerate(path):
        if type(segment) is not node.kind:
            raise MalformedError("a container that is a map and a list")
        child = node.children.get(segment)
        if number == last:
            if child is not None:
                raise MalformedError("two values for one place, or one above another")
            node.children[segment] = _Value(value)
            return
        if child is None:
            child = node.children[segment] = _Open(type(path[number + 1]))
        if not isinstance(child, _Open):
            raise MalformedError("a value with something below it")
        node = child


def _opened(root: _Open) -> list[_Open]:
    """Return every container that pairs fill, each before what is in it."""
    found = [root]
    for node in found:
        found.extend(child for child in node.children.values() if isinstance(child, _Open))
    return found
