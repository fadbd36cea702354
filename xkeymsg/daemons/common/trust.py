"""A daemon's source of trust: loading it, following its changes, reporting them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from xkeymsg.daemons.common.directory import CONDITION, DaemonDirectory
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.sections import SourcesSection
from xkeymsg.daemons.common.upkeep import Upkeep
from xkeymsg.display import listed
from xkeymsg.envelope.admission import Senders
from xkeymsg.errors import ConfigurationError, TrustError, XKeyMsgError
from xkeymsg.keys import XKey
from xkeymsg.transport.link import Link
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.marks_file import read_marks
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("Following", "TrustMetrics", "check_trust", "conditions", "load_trust")

_REPORT: Final = 30.0
"""Seconds between two counts of users."""


def load_trust(
    section: SourcesSection, creds: Path | None, *, marks: bool = True
) -> PeersFile | Trust:
    """Load the peers file, or the folder of claims.

    Args:
        section: The settings.
        creds: The credentials of the login, which name the own account and user.
        marks: Whether to open the file of rollback marks, which locks it.

    Raises:
        ConfigurationError: If a file is invalid.
        TrustError: If the operator or the own account is not valid.
    """
    if section.peers is not None:
        return PeersFile(section.peers)
    return Trust.load(
        section.folder or Path(),
        anchor=section.anchor,
        account=section.account,
        creds=creds,
        accounts=section.accounts,
        pins=section.pins,
        marks=section.marks if marks else None,
        operator_identity_issues=section.operator_identity_issues,
        account_identity_issues=section.account_identity_issues,
    )


def check_trust(section: SourcesSection, creds: Path | None, path: Path) -> PeersFile | Trust:
    """Load trust to check a configuration, beside a daemon that runs.

    Raises:
        ConfigurationError: If it cannot be used; names the configuration file.
    """
    try:
        if section.marks is not None:
            read_marks(section.marks)
        return load_trust(section, creds, marks=False)
    except XKeyMsgError as error:
        raise ConfigurationError(f"{path}: trust: {error}") from None


def conditions(section: SourcesSection) -> tuple[str, ...]:
    """Return the names of the readiness conditions that `Following` sets."""
    if section.folder is None:
        return ("peers",)
    return ("trust", "certified", *((CONDITION,) if section.directory else ()))


class Following:
    """Follows the source of trust: to the log, metrics and readiness.

    While a file is invalid the daemon is not ready: what it no longer admits is still admitted.
    Readiness is set before the log tells of it: who reads the line may ask at once.

    Args:
        section: The settings.
        trust: The source; others than peers and claims do not change.
        upkeep: Reports reloads.
        log: The log.
        health: The readiness.
        registry: Gets the metrics of claims.
        own: Returns the own key and user.
    """

    def __init__(
        self,
        section: SourcesSection,
        trust: Senders,
        upkeep: Upkeep,
        log: Log,
        health: Health,
        registry: CollectorRegistry,
        own: Callable[[], tuple[XKey, str]],
    ) -> None:
        self._trust = trust
        self._upkeep = upkeep
        self._log = log
        self._health = health
        self._own = own
        self._running: asyncio.Future[bool] | None = None
        self._reported = 0.0
        self._generation = 0
        self._lacks = self._told = ""
        self._invalid = self._failed = False
        self._counts = TrustMetrics(registry) if isinstance(trust, Trust) else None
        self._health.set("trust" if isinstance(trust, Trust) else "peers", True)
        self.directory: DaemonDirectory | None = None
        """The directory that trust follows, too, if any."""
        if section.directory and isinstance(trust, Trust):
            self.directory = DaemonDirectory(section, trust, log, health, registry)

    @asynccontextmanager
    async def over(self, link: Link) -> AsyncIterator[None]:
        """Follow the directory over a connection, if one is configured.

        Raises:
            ConfigurationError: If its bucket is not safe.
            XKeyMsgError: If the connection is closed.
        """
        async with nullcontext() if self.directory is None else self.directory.following(link):
            yield

    def tick(self) -> bool:
        """Check the source, and return whether trust has changed; call it once a second."""
        trust = self._trust
        if self.directory is not None:
            self.directory.tick()
        if isinstance(trust, PeersFile):
            return self._upkeep.watch_peers(trust)
        if not isinstance(trust, Trust):
            return False
        if self._running is None or self._running.done():
            self._take(trust)
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(None, trust.reload)  # reads thousands of files
        return self._report(trust)

    async def reload(self) -> bool:
        """Check the source at once, report a fault again, and return whether trust has changed."""
        if self.directory is not None:
            self.directory.directory.look_again()
        trust = self._trust
        if isinstance(trust, PeersFile):
            return self._upkeep.reloaded("peers", partial(_reload, trust))
        if not isinstance(trust, Trust):
            return False
        reading = asyncio.get_running_loop().run_in_executor(None, _reload, trust)
        await asyncio.wait({reading})
        self._upkeep.reloaded("trust", partial(self._read, trust, reading.result))
        return self._report(trust)

    def close(self) -> None:
        """Save what trust has to remember."""
        if isinstance(self._trust, Trust):
            self._trust.close()

    def _take(self, trust: Trust) -> None:
        """Report the last check."""
        running, self._running = self._running, None
        if running is not None:
            self._upkeep.reloaded("trust", partial(self._read, trust, running.result), quiet=True)

    def _read(self, trust: Trust, reload: Callable[[], bool]) -> bool:
        """Return whether trust has changed, with readiness set.

        After an unforeseen error, what was read is not judged: a revocation may be missing.
        """
        self._failed = True
        try:
            changed = reload()
            self._failed = False
        except XKeyMsgError:
            self._failed = False
            raise
        finally:
            self._health.set("trust", self._is_valid(trust))
        return changed

    def _is_valid(self, trust: Trust) -> bool:
        return trust.error is None and not self._failed

    def _report(self, trust: Trust) -> bool:
        """Report the state of trust, and return whether it has changed."""
        changed, self._generation = self._generation != trust.generation, trust.generation
        was_invalid, self._invalid = self._invalid, not self._is_valid(trust)
        self._health.set("trust", not self._invalid)
        if was_invalid and not self._invalid:
            self._log.info("trust is valid again")
        for name, joined, left in trust.take_changes():
            self._log.info(
                "audience changed",
                name=name,
                joined=listed(joined) or "-",
                left=listed(left) or "-",
            )
        self._check_own(trust)
        if self._counts is not None and (changed or monotonic() - self._reported >= _REPORT):
            self._reported = monotonic()
            self._counts.set(trust)
        return changed

    def _check_own(self, trust: Trust) -> None:
        lacks = ""
        try:
            trust.check_own(*self._own())
        except TrustError as error:
            lacks = f"{error.code or 'trust'}: {error}"
        self._health.set("certified", not lacks)
        if lacks != self._told and (not lacks or self._is_settled(lacks)):
            level = self._log.error if lacks else self._log.info
            level("own key", state=lacks or "certified")
            self._told = lacks
        self._lacks = lacks

    def _is_settled(self, lacks: str) -> bool:
        """Return whether a lack is more than a certificate that is about to be published."""
        following = self.directory
        return following is None or (following.directory.is_loaded and lacks == self._lacks)


def _reload(trust: PeersFile | Trust) -> bool:
    """Reload, and raise a fault even if it was reported before."""
    changed = trust.reload(force=True) if isinstance(trust, Trust) else trust.reload()
    if trust.error is not None:
        raise trust.error
    return changed


class TrustMetrics:
    """The metrics of claims."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"xkeymsg_trust_{name}", text, labels, registry=registry)

        self._users = gauge("users", "Users with a valid chain.")
        self._refused = gauge("refused", "Users without a valid chain, by code.", "code")
        self._expiring = gauge("expiring", "Users whose chain ends within 14 days.")
        self._xkeys = gauge("xkeys_expiring", "Users whose current xkey ends within a day.")
        self._problems = gauge("problems", "Files, claims and marks that cannot be used.")
        self._changes = Counter(
            "xkeymsg_trust_audience_changes",
            "Users that joined or left the recipients of a name.",
            ["change"],
            registry=registry,
        )
        self._seen = {"joined": 0, "left": 0}
        self._codes: set[str] = {"revoked"}

    def set(self, trust: Trust) -> None:
        """Set the metrics to the state of a folder of trust."""
        report = trust.report()
        self._users.set(report.valid)
        self._codes |= report.refused.keys()
        for code in self._codes:
            self._refused.labels(code).set(report.refused[code])
        self._expiring.set(report.expiring)
        self._xkeys.set(report.xkeys_expiring)
        self._problems.set(len(trust.problems))
        for change in self._seen:
            total = getattr(report, change)
            self._changes.labels(change).inc(total - self._seen[change])
            self._seen[change] = total
