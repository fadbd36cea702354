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
from xkeymsg.trust.stores.published_entries import Published

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
        self._events: RawSubscription | None = None

    async def subscribe(self) -> RawSubscription:
        """Subscribe to the events; the bucket has to be read after that."""
        subject = f"{EVENTS}>"
        events = await self._link.subscribe(subject, max_messages=1 << 16, max_bytes=32 << 20)
        self._events = events
        self._due.set()
        return events

    async def follow(self, pause: Callable[[], float]) -> None:
        """Take events until the connection is closed.

        Args:
            pause: Returns the seconds for which a flood is ignored.
        """
        while True:
            events = self._events or await self.subscribe()
            try:
                if not await self._take(events):
                    return
            finally:
                self._events = None
                await events.unsubscribe()
            self._due.set()
            await asyncio.sleep(pause())

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
                    return True
                begun, count = monotonic(), 0
        return False
