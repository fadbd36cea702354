"""Counts the refused messages of a route by sender and error code, in bounded memory.

Only if a wrapped key has verified is it known that the sender sealed the message. In all others,
anyone can have written the sender, and anyone can invent any number of senders. The two are counted
apart, so that no sender that is only stated displaces an authenticated one.
"""

from __future__ import annotations

from collections import defaultdict
from threading import Lock
from typing import Final

from xkeymsg.envelope.inspect import sender_of
from xkeymsg.errors import XKeyMsgError
from xkeymsg.keys import XKey

__all__ = ("MOST_COUNTS", "RefusedSenders")

MOST_COUNTS: Final = 256
"""Counts of each kind that the routes of a daemon share, so that its STATS reply stays short."""
_MOST: Final = 16
"""Counts of each kind of a route."""

SenderCounts = dict[str, dict[str, int]]
"""Messages by sender and code."""


class _Counts:
    """The counts of the most frequent keys, each a lower bound (the algorithm Space-Saving).

    A key with more than one in `most` of all messages is always among them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[tuple[XKey, str], list[int]] = {}
        """The upper bound of each count, and by how much it may be too high."""

    def add(self, key: tuple[XKey, str]) -> None:
        counts, error = self._counts, 0
        if key not in counts:
            if len(counts) >= self._most:
                error = counts.pop(min(counts, key=lambda each: counts[each][0]))[0]
            counts[key] = [error, error]
        counts[key][0] += 1

    def all(self) -> SenderCounts:
        found: SenderCounts = defaultdict(dict)
        for (sender, code), (most, error) in self._counts.items():
            found[str(sender)][code] = most - error
        return found


class RefusedSenders:
    """Counts the refused messages of one route by sender.

    Args:
        routes: The number of routes of the daemon.
    """

    def __init__(self, routes: int) -> None:
        most = min(_MOST, max(1, MOST_COUNTS // routes))
        self._authenticated, self._stated = _Counts(most), _Counts(most)
        self._lock = Lock()  # large messages are opened in threads

    def note(self, envelope: bytes, code: str, error: BaseException) -> None:
        """Count a refused message, if it states a sender."""
        try:
            sender = XKey(sender_of(envelope))
        except XKeyMsgError:
            return
        is_authenticated = isinstance(error, XKeyMsgError) and error.public_code == "refused"
        with self._lock:
            (self._authenticated if is_authenticated else self._stated).add((sender, code))

    def counts(self) -> dict[str, SenderCounts]:
        """Return the counts for the STATS reply, each a lower bound."""
        with self._lock:
            return {"authenticated": self._authenticated.all(), "stated": self._stated.all()}
