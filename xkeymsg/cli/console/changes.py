"""Tells browsers that a page has changed, by server-sent events.

An event says only that something changed; the page is requested again. So a browser that reads
slowly, or not at all, costs no more than one event.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

__all__ = ("ALL", "MOST_STREAMS", "Changes")

ALL: Final = ""
"""Stands for all pages."""

MOST_STREAMS: Final = 32
"""Event streams at a time."""
_BEAT: Final = 15.0
"""Seconds without a change after which a comment shows whether the browser is still there."""
_LEAST: Final = 1.0
"""Seconds between two events."""


class Changes:
    """The revisions of the pages, and the browsers that follow them."""

    def __init__(self) -> None:
        self.streams = 0
        """Open event streams."""
        self._revisions: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._is_closed = False

    def note(self, page: str) -> None:
        """Record that a page has changed, or `ALL`."""
        self._revisions[page] = self._revisions.get(page, 0) + 1
        self._wake()

    def close(self) -> None:
        """End all event streams."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _revision_of(self, page: str) -> int:
        return self._revisions.get(page, 0) + self._revisions.get(ALL, 0)

    async def events(self, page: str) -> AsyncIterator[bytes]:
        """Yield the event stream of a page, in the format of the HTML standard."""
        self.streams += 1
        try:
            seen = self._revision_of(page)
            yield b"retry: 3000\n\n"
            while not self._is_closed:
                changed = self._changed
                revision = self._revision_of(page)
                if revision != seen:
                    seen = revision
                    yield b"event: changed\ndata: %d\n\n" % revision
                    await asyncio.sleep(_LEAST)
                    continue
                try:
                    async with asyncio.timeout(_BEAT):
                        await changed.wait()
                except TimeoutError:
                    yield b":\n\n"
        finally:
            self.streams -= 1
