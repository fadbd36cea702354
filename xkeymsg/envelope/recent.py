"""What a reader keeps because it may soon be of use again, and not for ever.

Bounded by number; and what nobody has used for a while is forgotten, so that a reader that runs
for months keeps the keys of the sessions that are in use, not of all that there were.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Generic, TypeVar

from xkeymsg.ambient import after_fork, monotonic

__all__ = ("IDLE", "Recent")

IDLE: Final = 3600.0
"""Seconds for which an entry is kept without being used, at least while there is room: as long as a
sender's session lasts (E-22). After twice as long the next new entry makes it forgotten."""

_Value = TypeVar("_Value")


class Recent(Generic[_Value]):
    """Entries by their name, in two generations.

    When the younger is an hour old it becomes the elder, and the elder is forgotten. What is found
    in the elder moves to the younger. So an entry needs no time of its own, and one that is in use
    costs a look into one dict. Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self.younger: dict[bytes, _Value] = {}
        """What was added or found lately; for looking, not for changing."""
        self._elder: dict[bytes, _Value] = {}
        self._most = most
        self._turned = monotonic()
        self._lock = Lock()
        after_fork(self)

    def get(self, name: bytes) -> _Value | None:
        """Return an entry, or None; it is in use, and stays."""
        value = self.younger.get(name)
        if value is None:
            value = self._elder.get(name)
            if value is not None:
                self.add(name, value)
        return value

    def add(self, name: bytes, value: _Value) -> None:
        """Keep an entry, in the place of the oldest one if there are too many."""
        with self._lock:
            now = monotonic()
            if now - self._turned >= IDLE:
                # Not one after the other: who looks meanwhile finds everything in one of the two.
                self._elder, self.younger, self._turned = self.younger, {}, now
            self.younger[name] = value
            self._elder.pop(name, None)
            if len(self) > self._most:
                oldest = self._elder or self.younger
                del oldest[next(iter(oldest))]

    def __len__(self) -> int:
        return len(self.younger) + len(self._elder)

    def _after_fork(self) -> None:
        self._lock = Lock()
