"""A daemon's directory of users: following it, and reporting it to log, metrics and readiness."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.logs import Log, reason
from xkeymsg.daemons.common.reports import code_of
from xkeymsg.daemons.common.sections import SourcesSection
from xkeymsg.directory.directory import Directory
from xkeymsg.errors import DeliveryError
from xkeymsg.transport.link import Link
from xkeymsg.trust.stores.chains import Trust

__all__ = ("CONDITION", "DaemonDirectory")

CONDITION: Final = "directory"
_PATIENCE: Final = 10.0
"""Seconds between two log lines of a daemon that waits for the directory."""


class DaemonDirectory:
    """The directory of a daemon: read over its connection, and reported.

    Args:
        section: The settings.
        trust: The trust that it keeps up to date.
        log: Gets each problem once.
        health: Gets the condition `directory`: everything was read, and the bucket answers.
        registry: Gets the metrics.
    """

    def __init__(
        self,
        section: SourcesSection,
        trust: Trust,
        log: Log,
        health: Health,
        registry: CollectorRegistry,
    ) -> None:
        self.directory = Directory(
            trust, wait=0.0, stale_after=section.stale_after, fail_closed=section.fail_closed
        )
        self._stale_after = section.stale_after
        self._log, self._health = log, health

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"xkeymsg_directory_{name}", text, registry=registry)

        self._entries = gauge("entries", "Users whose entries are verified.")
        self._unverified = gauge("unverified", "Entries that wait to be verified.")
        self._revision = gauge("revision", "The last revision that was read.")
        self._silent = gauge("silent_seconds", "Seconds since the bucket has answered.")
        self._alarms = gauge("alarms", "Entries that are damaged or contradict verified ones.")
        self._behind = gauge("behind", "Senders that resolve names with an old revision.")

    @asynccontextmanager
    async def following(self, link: Link) -> AsyncIterator[None]:
        """Follow the directory for the duration of a block.

        Raises:
            ConfigurationError: If the bucket is not safe.
            XKeyMsgError: If the connection is closed.
        """
        async with self.directory.following(link, self._tell):
            yield

    async def loaded(self) -> None:
        """Wait until everything was read; the log tells what is missing."""
        while not self.directory.is_loaded:
            try:
                await self.directory.loaded(_PATIENCE)
            except DeliveryError as error:
                self._log.warning("waiting", why=str(error))
        self.tick()

    def tick(self) -> None:
        """Report the state; call it once a second."""
        report = self.directory.report()
        is_heard = report.silent <= self._stale_after
        self._health.set(CONDITION, report.loaded and is_heard and not report.failed)
        self._entries.set(report.entries)
        self._unverified.set(report.unverified)
        self._revision.set(report.revision)
        self._silent.set(report.silent)
        self._alarms.set(len(report.alarms))
        self._behind.set(report.behind)

    def _tell(self, error: Exception) -> None:
        self._log.often("error", "directory", "code", code=code_of(error), why=reason(error))
