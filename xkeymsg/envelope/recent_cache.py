"""A bounded cache that drops unused entries.

A reader that runs for months therefore keeps only the keys of recent sessions, not those of all
past ones.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Generic, TypeVar

from xkeymsg.ambient import after_fork, monotonic

__all__ = ("IDLE", "RecentCache")

IDLE: Final = 3600.0
"""Seconds for which an unused entry is kept at least, while there is room: the lifetime of a
sender's session (E-22). While entries are added, it is kept for at most about twice this time;
without additions, nothing is dropped."""

_Value = TypeVar("_Value")


class RecentCache(Generic[_Value]):
    """Entries by name, in two generations.

    At the first addition after an hour, the younger generation becomes the elder, and the previous
    elder is dropped. An entry found in the elder moves to the younger. So entries need no
    timestamps, and finding one in use costs one dict lookup. Thread-safe.
    """

    def __init__(self, most: int) -> None:
        self.younger: dict[bytes, _Value] = {}
        """Entries added or found recently; read-only for others."""
        self._elder: dict[bytes, _Value] = {}
        self._most = most
        self._turned = monotonic()
        self._lock = Lock()
        after_fork(self)

    def get(self, name: bytes) -> _Value | None:
        """Return an entry and mark it as used, or return None."""
        value = self.younger.get(name)
        if value is None:
            value = self._elder.get(name)
            if value is not None:
                self.add(name, value)
        return value

    def add(self, name: bytes, value: _Value) -> None:
        """Add an entry; if there are too many, drop the oldest."""
        with self._lock:
            now = monotonic()
            if now - self._turned >= IDLE:
                # The elder first: a concurrent `get` looks there last, and so finds the entries of
                # the younger in one of the two.
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
