"""Randomness, clocks, forks and timers: the only sources of them for the pure layers.

The layers above are functions of their arguments: each that needs time or randomness has a private
twin that takes them as arguments, so that tests and vectors need no patching.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ("after_fork", "call_later", "monotonic", "now_ns", "random_bytes")

random_bytes = os.urandom
"""`random_bytes(n)`: n bytes from the kernel, unbuffered: a buffer would repeat after a fork."""

now_ns = time.time_ns
"""`now_ns()`: the system clock, in nanoseconds since 1970."""

monotonic = time.monotonic
"""`monotonic()`: seconds on a clock that cannot be set."""

_fork_listeners: weakref.WeakSet[Any] = weakref.WeakSet()


def after_fork(thing: Any) -> None:
    """Have `thing._after_fork()` called in every forked child while `thing` is alive.

    In the child, a lock that another thread held during the fork stays locked, and a counter would
    continue in both processes: both must be replaced.
    """
    _fork_listeners.add(thing)


class _Alarm:
    """Calls methods when they are due, from a daemon thread that starts with the first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._due: list[tuple[float, int, weakref.WeakMethod[Callable[[], None]]]] = []
        self._most = 1024
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, seconds: float, method: Callable[[], None]) -> None:
        with self._condition:
            entry = (monotonic() + seconds, next(self._numbers), weakref.WeakMethod(method))
            if len(self._due) >= self._most:
                # Entries of deleted objects would stay until they are due: for an hour, in a
                # program that makes a sealer for each message.
                self._due = [each for each in self._due if each[2]() is not None]
                heapq.heapify(self._due)
                self._most = max(1024, 2 * len(self._due))
            heapq.heappush(self._due, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="xkeymsg", daemon=True)
                self._thread.start()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._due or self._due[0][0] > monotonic():
                    wait = self._due[0][0] - monotonic() if self._due else None
                    self._condition.wait(wait)
                _, _, method = heapq.heappop(self._due)
            if (call := method()) is not None:
                call()


_alarm = _Alarm()


def call_later(seconds: float, method: Callable[[], None]) -> None:
    """Call a bound method after `seconds`, unless its object is deleted by then.

    It is called from another thread and must be short.
    """
    _alarm.add(seconds, method)


def _in_child() -> None:
    global _alarm  # noqa: PLW0603 - the parent's thread does not exist in a child
    _alarm = _Alarm()
    for thing in list(_fork_listeners):
        thing._after_fork()  # noqa: SLF001 - the protocol of `after_fork`


os.register_at_fork(after_in_child=_in_child)
