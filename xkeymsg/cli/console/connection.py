"""What keeps the pages from being current: the connection, permissions, failed collectors."""

from __future__ import annotations

from time import monotonic
from typing import Final

from xkeymsg.cli.console.changes import ALL, Changes
from xkeymsg.cli.console.terminated import ADVISORY
from xkeymsg.transport.link import Event
from xkeymsg.transport.rights import parse_refusal

__all__ = ("ConnectionProblems",)

_LONGEST: Final = 300
_MOST: Final = 16
"""Refused operations that are shown."""
_RECENT: Final = 60.0
"""Seconds for which the failure of a collector is shown; it fails again sooner, or works."""


class ConnectionProblems:
    """What is wrong with the connection, and with the collectors that use it.

    Args:
        changes: Is notified of changes, which concern all pages.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._is_lost, self._error = False, ""
        self._refused: dict[str, None] = {}
        self._failed: dict[str, float] = {}
        self._dropped = 0
        self.losses = 0
        """How many times the connection was lost."""

    def note(self, event: Event) -> None:
        """Record an event of the connection."""
        before = self.problems
        if event.kind == "slow":
            self._dropped = event.dropped if event.subject.startswith(ADVISORY) else self._dropped
        elif event.kind == "connected":
            self._is_lost, self._error = False, ""
            self._refused.clear()  # this connection may have the permission
        elif event.kind == "disconnected":
            self._is_lost, self.losses = True, self.losses + (not self._is_lost)
        if event.kind in ("error", "disconnected") and event.error is not None:
            refusal = parse_refusal(event.error)
            if refusal is None:
                self._error = str(event.error)[:_LONGEST]
            elif len(self._refused) < _MOST:
                self._refused[str(refusal)] = None
        if self.problems != before:
            self._changes.note(ALL)

    def fail(self, collector: str) -> None:
        """Record that a collector has failed in an unforeseen way."""
        self._failed[collector] = monotonic()
        self._changes.note(ALL)

    @property
    def problems(self) -> list[str]:
        """What is wrong, and what to do."""
        found = []
        if self._is_lost:
            why = f": {self._error}" if self._error else ""
            found.append(f"not connected to a NATS server, the pages show the last state{why}")
        found += [
            f"{each}: grant the console what `xkeymsg permissions --console FILE` prints"
            for each in self._refused
        ]
        found += [
            f"{name} cannot be read, the pages show the last state: see the console's log"
            for name, at in self._failed.items()
            if monotonic() - at < _RECENT
        ]
        if self._dropped:
            found.append(f"{self._dropped} advisories of terminated messages are not counted")
        return found
