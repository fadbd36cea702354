"""Randomness, clocks, forks and timers: what the pure layers cannot have of their own.

Everything above is a function of its arguments: what needs time or randomness has a private twin
that takes them as arguments, so that tests and vectors need no patching.
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
"""`random_bytes(n)`: n bytes from the kernel; never buffered: a buffer would repeat after fork."""

now_ns = time.time_ns
"""`now_ns()`: nanoseconds since 1970, as the system's clock has it."""

monotonic = time.monotonic
"""`monotonic()`: seconds on a clock that is never set."""

_forgotten: weakref.WeakSet[Any] = weakref.WeakSet()


def after_fork(thing: Any) -> None:
    """Have `thing._after_fork()` called in every child process, as long as `thing` lives.

    A lock that another thread held at the moment of the fork stays locked in the child, and a
    counter would go on in two processes: both have to be made anew.
    """
    _forgotten.add(thing)


class _Alarm:
    """Calls functions at their time, from one daemon thread that starts when there is a first."""

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
                # What is gone by now would stay for its whole time: an hour of a program that makes
                # a sealer for each message.
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
    """Call a bound method after so many seconds, unless its object is gone by then.

    The call comes from another thread and must be short.
    """
    _alarm.add(seconds, method)


def _in_child() -> None:
    global _alarm  # noqa: PLW0603 - a child has no thread of its parent
    _alarm = _Alarm()
    for thing in list(_forgotten):
        thing._after_fork()  # noqa: SLF001 - what `after_fork` promises


os.register_at_fork(after_in_child=_in_child)
