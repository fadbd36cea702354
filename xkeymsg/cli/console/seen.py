"""The senders that stored messages name, and what anyone can see of a message.

An envelope says who sealed it; only a recipient can verify that. Here nothing is verified.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from xkeymsg.envelope.inspect import Inspection, inspect, sender_of
from xkeymsg.errors import XKeyMsgError
from xkeymsg.keys import XKey

__all__ = ("Look", "SeenSender", "SeenSenders", "look_at")

_MOST: Final = 2000
_MOST_UNKNOWN: Final = 50
"""Keys of people, and others: anyone can name any number of keys."""


class Look(NamedTuple):
    """What anyone can see of a message."""

    form: str
    """`xkm1`, `xkv1`, or empty if it is not sealed."""
    sender: XKey | None
    inspection: Inspection | None


def look_at(data: bytes, *, is_whole: bool = True) -> Look:
    """Look at a message, or at the first part of one, without a key."""
    if data[:4] == b"xkv1":
        return Look("xkv1", None, None)
    try:
        if is_whole:
            inspection = inspect(data)
            return Look("xkm1", inspection.sender, inspection)
        return Look("xkm1", XKey(sender_of(data)), None)
    except XKeyMsgError:
        return Look("", None, None)


class SeenSender(NamedTuple):
    """A key that stored messages name as their sender."""

    key: XKey
    created: datetime
    """When its newest message was sealed, as that says."""
    revision: int | None
    """The revision of the directory with which it resolved names, as that says."""
    stream: str


class SeenSenders:
    """The senders seen most recently.

    Args:
        is_known: Returns whether a key is that of a known person.
    """

    def __init__(self, is_known: Callable[[XKey], bool]) -> None:
        self._is_known = is_known
        self._known: dict[XKey, SeenSender] = {}
        self._unknown: dict[XKey, SeenSender] = {}

    def note(self, inspection: Inspection, stream: str) -> None:
        """Record a message; a time in the future counts as now."""
        created = min(inspection.created, datetime.now(UTC))
        is_known = self._is_known(inspection.sender)
        seen, most = (self._known, _MOST) if is_known else (self._unknown, _MOST_UNKNOWN)
        other = self._unknown if is_known else self._known
        before = seen.pop(inspection.sender, None) or other.pop(inspection.sender, None)
        found = SeenSender(inspection.sender, created, inspection.revision, stream)
        seen[inspection.sender] = found if before is None else max(found, before, key=_time)
        while len(seen) > most:
            del seen[next(iter(seen))]

    def all(self) -> list[SeenSender]:
        """Return the senders, the most recent first."""
        found = (*self._known.values(), *self._unknown.values())
        return sorted(found, key=_time, reverse=True)

    def of(self, key: XKey) -> SeenSender | None:
        """Return the one with a key."""
        return self._known.get(key) or self._unknown.get(key)


def _time(seen: SeenSender) -> datetime:
    return seen.created
