"""Joining the parts that a reader was granted into what it may see (spec, "Joining")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.plaintext import Pair, unpack
from xkeymsg.fields.values import WITHHELD
from xkeymsg.limits import Limits

__all__ = ("join",)

_NEW: Final = object()
_ROOT: Final = ""

_Container = dict[Any, Any]


def join(plaintexts: Sequence[bytes], limits: Limits) -> Any:
    """Build a document from the plaintexts of parts, in the order of their numbers.

    Raises:
        MalformedError: If one of them is not the plaintext of a part, or they contradict each other
            (F-51 to F-53).
        LimitExceededError: If they are more than the limits allow (F-55).
    """
    unpacked = unpack(plaintexts, limits)
    path, value = unpacked[0][0]
    if not path and len(unpacked) == len(unpacked[0]) == 1:
        return value
    joining = _Joining()
    joining.place(chain(*unpacked))
    return joining.document(limits.holes)


class _Joining:
    """A document that is put together: maps as they will be, lists as items by their index."""

    def __init__(self) -> None:
        self._top: _Container = {}
        self._kinds: dict[int, type] = {}
        """By the id of a container that pairs fill: what its segments are, `str` or `int`."""
        self._lists: list[tuple[_Container, Any, _Container]] = []
        """Each list, behind the one that it is in: its container, its segment there, its items."""

    def place(self, pairs: Iterable[Pair]) -> None:
        """Put each value at the end of its path."""
        kinds = self._kinds
        last: Any = None
        kind: type = str
        container: _Container = {}
        for path, value in pairs:
            if not path:
                raise MalformedError("a value above another")
            segment = path.pop()  # what was decoded is ours
            if path != last or type(segment) is not kind:  # mostly they are side by side
                last, kind = path, type(segment)
                container, name = self._top, _ROOT
                for following in (*path, segment):
                    found = container.get(name, _NEW)
                    if found is _NEW:
                        found = self._open(container, name, type(following))
                    elif kinds.get(id(found)) is not type(following):
                        raise MalformedError("a container of two kinds, or below a value")
                    container, name = found, following
            if segment in container:
                raise MalformedError("two values for one place, or one above another")
            container[segment] = value

    def _open(self, above: _Container, name: Any, kind: type) -> _Container:
        """Put an empty container into another."""
        new: _Container = {}
        above[name] = new
        self._kinds[id(new)] = kind
        if kind is int:
            self._lists.append((above, name, new))
        return new

    def document(self, most_holes: int) -> Any:
        """Return the document, of which everything is at its place."""
        if not self._lists:
            return self._top[_ROOT]
        holes = sum([max(items) + 1 - len(items) for _, _, items in self._lists])
        if holes > most_holes:
            raise LimitExceededError("positions that a reader may not see", holes, most_holes)
        for above, name, items in reversed(self._lists):  # what is in a list is ready before it
            listed: list[Any] = [WITHHELD] * (max(items) + 1)
            for index, item in items.items():
                listed[index] = item
            above[name] = listed
        return self._top[_ROOT]
