"""Detects misuse by callers that would otherwise go unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final
from warnings import warn

from xkeymsg.ambient import monotonic
from xkeymsg.errors import ConfigurationError
from xkeymsg.text import masked

__all__ = ("BRIEF", "MANY", "Usage", "brief_openers", "check_lasting")

BRIEF: Final = 1.0
"""Seconds; an opener that has opened messages and lived for less is brief."""
MANY: Final = 1000
brief_openers: Final = count(1)
"""Counts brief openers; number `MANY` triggers the warning."""


def check_lasting(readers: Mapping[str, object]) -> None:
    """Refuse iterators of readers, which would be empty from the second document on.

    Raises:
        TypeError: If the readers of a permission are an iterator.
    """
    for name, some in readers.items():
        if isinstance(some, Iterator):
            text = (
                f"the readers of {masked(str(name))!r:.80} are an iterator, empty after one message"
            )
            raise TypeError(f"{text}: give a list")


class Usage:
    """Checks how an opener is used: its lifetime, and that each message has its own position.

    An opener for each message is unsafe: a copy of the message opens with the next opener. So is
    one position for two messages: a copy of either passes as a redelivery.
    """

    __slots__ = ("_last", "_made", "_used")

    def __init__(self) -> None:
        self._made = monotonic()
        self._used = False
        self._last: tuple[object, object] = None, None

    def check(self, head: tuple[Any, ...], position: object) -> None:
        """Record a message, before its replay mark.

        Raises:
            ConfigurationError: If the previous message had the same position.
        """
        self._used = True
        if position is None:
            return
        sender, ephemeral, nonce, *_ = head
        name = sender, ephemeral, nonce[:4]  # a clone has the same name: not misuse (E-71)
        (before, other), self._last = self._last, (position, name)
        if before == position and other != name:
            raise ConfigurationError(
                "two messages with one StreamPosition: take it from each message's metadata"
            )

    def __del__(self) -> None:
        # An object whose `__init__` was interrupted has no attributes.
        if not getattr(self, "_used", False) or monotonic() - self._made >= BRIEF:
            return
        if next(brief_openers) == MANY:
            text = f"{MANY} openers lived for less than {BRIEF:g} s: one for each message is"
            warn(
                f"{text} unsafe, as replays open again; keep one per subscription",
                RuntimeWarning,
                2,
            )
