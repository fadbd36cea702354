"""The internals of the directory, for tests that cannot do without them.

No other module of these tests uses private names.
"""

from __future__ import annotations

from collections.abc import Collection

from xkeymsg.directory.directory import Directory
from xkeymsg.directory.settings import EVENTS
from xkeymsg.trust.stores.published_entries import Published


def alarms_of(directory: Directory) -> Collection[object]:
    """Return the entries with an alarm at this time."""
    return directory._published.alarms


async def lose_events(directory: Directory) -> None:
    """Unsubscribe from events, as if their permission were missing."""
    assert directory._api is not None
    for subscription in list(directory._api.link._subscriptions):
        if subscription.subject.startswith(EVENTS):
            await subscription.unsubscribe()


def bound(published: Published, most: int, size: int = 64 << 20) -> None:
    """Bound the entries, and the bytes of those that are not valid."""
    published._most, published._size = most, size
