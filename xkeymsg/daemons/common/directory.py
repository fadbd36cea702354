"""A daemon's directory of users: following it, and reporting it to log, metrics and readiness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from xkeymsg.client.tasks import Background
from xkeymsg.client.threads import in_thread
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.heap import set_aside
from xkeymsg.daemons.common.identity import DaemonIdentity
from xkeymsg.daemons.common.logs import Log, reason
from xkeymsg.daemons.common.reports import code_of
from xkeymsg.daemons.common.sections import NatsSection, SourcesSection
from xkeymsg.directory.directory import Directory
from xkeymsg.directory.report import DirectoryReport
from xkeymsg.errors import DeliveryError
from xkeymsg.key_stores.opening import list_certificates
from xkeymsg.keys import XKey
from xkeymsg.transport.credentials import read_login
from xkeymsg.transport.link import Link
from xkeymsg.transport.options import LoginText
from xkeymsg.trust.claims import User
from xkeymsg.trust.stores.chains import Trust, own_account

__all__ = ("CONDITION", "DaemonDirectory", "DirectoryMetrics")

CONDITION: Final = "directory"
_PATIENCE: Final = 10.0
"""Seconds between two log lines of a daemon that waits for the directory."""
_SETTLE: Final = 3_000
"""The most calls of `set_aside`: a flood of entries may never end."""
SETTLING: Final = 0.1
"""Seconds between two calls; the collector takes about 2 ms for what is loaded meanwhile."""
_LOOK: Final = 5.0
"""Seconds between two looks at the own claims of a daemon without rotation."""


class DirectoryMetrics:
    """The metrics of a daemon's directory."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"xkeymsg_directory_{name}", text, registry=registry)

        self._entries = gauge("entries", "Users whose entries are verified.")
        self._unverified = gauge("unverified", "Entries that wait to be verified.")
        self._revision = gauge("revision", "The last revision that was read.")
        self._silent = gauge("silent_seconds", "Seconds since the bucket has answered.")
        self._alarms = gauge("alarms", "Entries that are damaged or contradict verified ones.")
        self._behind = gauge("behind", "Senders that resolve names with an old revision.")

    def set(self, report: DirectoryReport) -> None:
        """Set the metrics to the counts of a report."""
        self._entries.set(report.entries)
        self._unverified.set(report.unverified)
        self._revision.set(report.revision)
        self._silent.set(report.silent)
        self._alarms.set(len(report.alarms))
        self._behind.set(report.behind)


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
        self._settling = _SETTLE
        self._metrics = DirectoryMetrics(registry)

    @asynccontextmanager
    async def following(self, link: Link) -> AsyncIterator[None]:
        """Follow the directory for the duration of a block.

        Raises:
            ConfigurationError: If the bucket is not safe.
            XKeyMsgError: If the connection is closed.
        """
        async with Background() as background:
            background.spawn(self.settle())
            async with self.directory.following(link, self._tell):
                yield

    async def settle(self) -> None:
        """Set aside what is loaded, until the first load is verified."""
        while self._settling:
            self._settling -= 1
            report = self.directory.report()
            set_aside()
            if report.loaded and not report.unverified:
                self._settling = 0
            await asyncio.sleep(SETTLING)

    async def loaded(self) -> None:
        """Wait until everything was read; the log tells what is missing."""
        while not self.directory.is_loaded:
            try:
                await self.directory.loaded(_PATIENCE)
            except DeliveryError as error:
                self._log.warning("waiting", why=str(error))
        self.tick()

    @asynccontextmanager
    async def keeping(self, nats: NatsSection, identity: DaemonIdentity) -> AsyncIterator[None]:
        """Keep the own entry for the duration of a block, for a daemon without rotation.

        Its JWT is that of the login; without `creds`, there is no entry to keep. Certificates are
        made elsewhere: that of the key in use is repaired once the entry has had it, or if the key
        store has it.
        """
        async with Background() as background:
            if (creds := nats.options("").creds) is not None:
                background.spawn(self._keep(creds, identity))
            yield

    async def _keep(self, creds: Path | LoginText, identity: DaemonIdentity) -> None:
        kept: object = None
        while True:
            try:
                found = await in_thread(_own_claims, creds, identity)
                if self.directory.is_loaded and self.directory.may_publish and found != kept:
                    user, key, certificates = found
                    if not user.bearer:
                        text = user.claims.text
                        await self.directory.publish(text, certificates, held={key})
                    kept = found
            except Exception as error:  # noqa: BLE001 - it is tried again
                self._tell(error)
            await asyncio.sleep(_LOOK)

    def tick(self) -> None:
        """Report the state; call it once a second."""
        report = self.directory.report()
        is_heard = report.silent <= self._stale_after
        self._health.set(CONDITION, report.loaded and is_heard and not report.failed)
        self._metrics.set(report)

    def _tell(self, error: Exception) -> None:
        self._log.often("error", "directory", "code", code=code_of(error), why=reason(error))


def _own_claims(
    creds: Path | LoginText, identity: DaemonIdentity
) -> tuple[User, XKey, tuple[str, ...]]:
    """Return the user JWT of the login, the key in use, and its certificate in the key store."""
    store, key = identity.section.key_store, identity.keyring.active.public
    found = list_certificates(store) if store else {}
    certificates = (found[str(key)],) if str(key) in found else ()
    return own_account(read_login(creds)), key, certificates
