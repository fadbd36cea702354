"""Messages that consumers have terminated, by JetStream's advisories: also those of applications.

Any client that may publish on the subjects of advisories can invent them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.untrusted import parse_object, text_in
from xkeymsg.transport.link import Link

__all__ = ("ADVISORY", "TerminatedCount", "Terminations", "advisories_of")

ADVISORY: Final = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED"
_LONGEST: Final = 1 << 16
_MOST: Final = 200
"""Counts; further ones are counted together."""
_WAITING: Final = 1024


def advisories_of(streams: Sequence[str]) -> str:
    """Return the subject of the advisories of streams; of all streams, if there are several.

    One subscription for each stream would need a task for each.
    """
    return f"{ADVISORY}.{streams[0] if len(streams) == 1 else '*'}.*"


class TerminatedCount(NamedTuple):
    """Messages that one durable has terminated for one reason, since the console started."""

    stream: str
    durable: str
    reason: str
    """`undecryptable` or `refused`; or what a handler gave as its reason."""
    messages: int


class Terminations:
    """Counts the terminated messages of the configured streams.

    Args:
        link: The connection.
        streams: The streams.
        changes: Is notified of changes of the page `/refused`.
    """

    def __init__(self, link: Link, streams: tuple[str, ...], changes: Changes) -> None:
        self._link, self._streams, self._changes = link, streams, changes
        self._counts: dict[tuple[str, str, str], int] = {}

    @property
    def counts(self) -> list[TerminatedCount]:
        """The counts, the highest first."""
        found = [TerminatedCount(*key, count) for key, count in self._counts.items()]
        return sorted(found, key=lambda each: (-each.messages, each[:3]))

    async def run(self) -> None:
        """Count until cancelled."""
        if not self._streams:
            return
        pattern = advisories_of(self._streams)
        advisories = await self._link.subscribe(pattern, max_messages=_WAITING)
        try:
            async for raw in advisories:
                self._count(raw.subject_text, raw.data)
        finally:
            await advisories.unsubscribe()

    def _count(self, subject: str, data: bytes) -> None:
        start, _, place = subject.partition(f"{ADVISORY}.")
        stream, _, durable = place.partition(".")
        if start or not durable or "." in durable or stream not in self._streams:
            return  # a broker can deliver anything
        advisory = parse_object(data, _LONGEST)
        if advisory is None:
            return
        key = stream, durable[:64], text_in(advisory, "reason", 64)
        if key not in self._counts and len(self._counts) >= _MOST:
            key = stream, "other", "other"
        self._counts[key] = self._counts.get(key, 0) + 1
        self._changes.note("/refused")
