"""What a directory reports, and what the server reports to it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Final, NamedTuple

from xkeymsg.errors import DeliveryError, XKeyMsgError

__all__ = ("DirectoryReport", "account_in")

_LONGEST_ANSWER: Final = 1 << 20


class DirectoryReport(NamedTuple):
    """Figures for monitoring."""

    loaded: bool
    entries: int
    """Users whose claims are verified."""
    unverified: int
    """Entries that wait to be verified."""
    revision: int
    """The last sequence that the bucket has shown."""
    silent: float
    """Seconds since the bucket has answered."""
    ignored: Counter[str]
    """Entries and texts that were ignored, by reason; `event` if they were not in the bucket."""
    behind: int
    """Senders that resolve names with an old revision."""
    alarms: tuple[XKeyMsgError, ...]
    """What is wrong with entries now, and with the bucket."""
    is_checked: bool
    """Whether the settings of the bucket were read; another account cannot read them."""
    failed: tuple[str, ...] = ()
    """Tasks that an unforeseen error has ended, and that start again."""


def account_in(answer: bytes) -> str:
    """Return the account JWT in an answer of the server.

    Raises:
        DeliveryError: If it has no JWT.
    """
    try:
        text = json.loads(answer if len(answer) <= _LONGEST_ANSWER else b"")["data"]["jwt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise DeliveryError("its answer has no JWT")
    return text
