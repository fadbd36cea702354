"""What a reader remembers against rollback: the newest manifest of each name it has opened."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Final, NamedTuple

from xkeymsg.errors import ValueRollbackError

__all__ = ("Newest",)

_MOST: Final = 65_536
"""Names; about 300 bytes each."""


class _Mark(NamedTuple):
    created_ms: int
    sequence: int
    message_id: bytes


class Newest:
    """The newest creation time for each name, of the last 65,536 names that were opened."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._marks: OrderedDict[str, _Mark] = OrderedDict()
        self._parent: Newest | None = None

    def view(self) -> Newest:
        """Return what one watch remembers: the present marks; what it accepts is kept here, too.

        A watch delivers entries in their order, but later than other reads may see newer ones.
        """
        view = Newest(self._most)
        view._marks, view._parent = self._marks.copy(), self
        return view

    def check(self, subject: str, created_ms: int, sequence: int, message_id: bytes) -> None:
        """Remember a manifest, unless a newer one was opened before.

        Args:
            subject: Its sealed subject.
            created_ms: Its creation time.
            sequence: Its position in the bucket, which decides between equal times.
            message_id: Its id: a copy of the newest manifest is the same object.

        Raises:
            ValueRollbackError: If a newer one was opened (B-22).
        """
        mark = _Mark(created_ms, sequence, message_id)
        known = self._marks.get(subject)
        if known is not None and mark < known:
            if message_id == known.message_id:
                mark = known
            else:
                raise ValueRollbackError(
                    "the bucket has an older object than one that was opened here"
                )
        self._marks[subject] = mark
        self._marks.move_to_end(subject)
        if len(self._marks) > self._most:
            self._marks.popitem(last=False)
        if self._parent is not None:
            with suppress(ValueRollbackError):  # it knows a newer one
                self._parent.check(subject, created_ms, sequence, message_id)
