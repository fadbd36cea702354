"""Events of the directory: hints, which anyone may send who may publish on their subject."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from xkeymsg.ambient import monotonic
from xkeymsg.directory.reader import sequence_of
from xkeymsg.directory.settings import EVENTS, place_of
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import RawSubscription
from xkeymsg.trust.stores.published import Published

__all__ = ("FLOOD", "DirectoryEvents")

FLOOD: Final = 2000
"""Events within two seconds, after which they are ignored for a time, and the bucket is read."""

_WITHIN: Final = 2.0


class DirectoryEvents:
    """Follows the events of a directory.

    Args:
        link: The connection.
        published: Takes their entries.
        work: Set when there is an entry to verify.
        due: Set when the bucket has to be read, because events are missing.
    """

    def __init__(
        self, link: Link, published: Published, work: asyncio.Event, due: asyncio.Event
    ) -> None:
        self._link, self._published = link, published
        self._work, self._due = work, due
        self._sequence = 0

    async def subscribe(self) -> RawSubscription:
        """Subscribe to the events."""
        return await self._link.subscribe(f"{EVENTS}>", max_messages=1 << 16, max_bytes=32 << 20)

    async def follow(self, events: RawSubscription, pause: Callable[[], float]) -> None:
        """Take events until the subscription ends.

        Args:
            events: The subscription.
            pause: Returns the seconds for which a flood is ignored.
        """
        while await self._take(events):
            self._due.set()
            await asyncio.sleep(pause())
            events = await self.subscribe()
            self._due.set()

    async def _take(self, events: RawSubscription) -> bool:
        """Take events, each verified like an entry; return whether they flood."""
        dropped, begun, count = 0, monotonic(), 0
        async for raw in events:
            place, taken = place_of(raw.subject_text.removeprefix(EVENTS)), True
            if place is not None:
                taken = self._published.put(place, raw.data, stored=False)
                self._work.set()
            # Anyone may have sent it: a number can only cause a look at the bucket.
            sequence, last = sequence_of(raw.headers), self._sequence
            self._sequence = sequence
            if sequence != last + 1 or events.dropped != dropped or not raw.data or not taken:
                dropped = events.dropped
                self._due.set()
            count += 1
            if count >= FLOOD:
                if monotonic() < begun + _WITHIN:
                    await events.unsubscribe()
                    return True
                begun, count = monotonic(), 0
        return False
