"""Joining of granted parts into the document that a reader may see (spec, "Joining")."""

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
    """Build a document from the plaintexts of parts, in ascending order of parts.

    Raises:
        MalformedError: If a plaintext is invalid, or paths conflict (F-51 to F-53).
        LimitExceededError: If a limit is exceeded (F-55).
    """
    unpacked = unpack(plaintexts, limits)
    path, value = unpacked[0][0]
    if not path and len(unpacked) == len(unpacked[0]) == 1:
        return value
    joining = _Joining()
    joining.place(chain(*unpacked))
    return joining.document(limits.holes)


class _Joining:
    """A document under construction; lists are kept as dicts from index to item."""

    def __init__(self) -> None:
        self._top: _Container = {}
        self._kinds: dict[int, type] = {}
        """The segment type, `str` or `int`, of each container that pairs fill, by its id."""
        self._lists: list[tuple[_Container, Any, _Container]] = []
        """Lists, outer before inner: the container, the segment in it, and the items."""

    def place(self, pairs: Iterable[Pair]) -> None:
        """Place each value at the end of its path."""
        kinds = self._kinds
        last: Any = None
        kind: type = str
        container: _Container = {}
        for path, value in pairs:
            if not path:
                raise MalformedError("a path is a prefix of another")
            segment = path.pop()  # the decoded path is not shared
            if path != last or type(segment) is not kind:  # most pairs are siblings
                last, kind = path, type(segment)
                container, name = self._top, _ROOT
                for following in (*path, segment):
                    found = container.get(name, _NEW)
                    if found is _NEW:
                        found = self._open(container, name, type(following))
                    elif kinds.get(id(found)) is not type(following):
                        raise MalformedError("a path contradicts an earlier one")
                    container, name = found, following
            if segment in container:
                raise MalformedError("a path is a duplicate or a prefix of another")
            container[segment] = value

    def _open(self, above: _Container, name: Any, kind: type) -> _Container:
        """Add an empty container to another."""
        new: _Container = {}
        above[name] = new
        self._kinds[id(new)] = kind
        if kind is int:
            self._lists.append((above, name, new))
        return new

    def document(self, most_holes: int) -> Any:
        """Return the finished document."""
        if not self._lists:
            return self._top[_ROOT]
        holes = sum([max(items) + 1 - len(items) for _, _, items in self._lists])
        if holes > most_holes:
            raise LimitExceededError("number of withheld list positions", holes, most_holes)
        for above, name, items in reversed(self._lists):  # inner lists first
            listed: list[Any] = [WITHHELD] * (max(items) + 1)
            for index, item in items.items():
                listed[index] = item
            above[name] = listed
        return self._top[_ROOT]
