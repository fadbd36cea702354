"""What daemons do while they work: note what happens to a connection, and load things again."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection

from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.logs import Level, Log, reason
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.link import Event
from xkeymsg.transport.rights import parse_refusal
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("Upkeep", "reload_peers", "version")


class Upkeep:
    """Says what becomes of connections and reloads: to the log, to metrics, to readiness."""

    def __init__(
        self, log: Log, metrics: Metrics, health: Health, *, key: Callable[[], str]
    ) -> None:
        """Take where to say it, and how to ask which public key is in use."""
        self._key = key
        self._log = log
        self._metrics = metrics
        self._health = health

    def note(
        self, event: Event, *, condition: str = "connected", subjects: Collection[str] = ()
    ) -> None:
        """Note what happened to a connection.

        Args:
            event: What.
            condition: The condition of readiness that the connection is.
            subjects: What has to be listened on: where the server permits it no more, nothing
                comes, and nobody could tell that from a quiet day.
        """
        if event.kind in ("connected", "disconnected"):
            self._health.set(condition, event.kind == "connected")
        if event.kind == "connected":
            self._metrics.reconnects.inc()
            if subjects:
                self._health.set("subscribed", True)  # refusals come behind it
        elif _is_refused(event, subjects):
            self._health.set("subscribed", False)
        why = {} if event.error is None else {"why": _why(event.error)}
        level: Level = "info" if event.kind == "connected" else "warning"
        # Whatever it says: a broker may cause any number of errors, each with another text.
        self._log.often(level, f"connection {event.kind}", "of", of=condition, **why)

    def reloaded(
        self, what: str, reload: Callable[[], bool], *, quiet: bool = False, **fields: object
    ) -> bool:
        """Load something again; what was there stays in use where that fails.

        Args:
            what: What it is.
            reload: Loads it, and tells whether it is another now.
            quiet: Whether to say nothing where it is not.
            **fields: What else to say.
        """
        try:
            changed = reload()
        except XKeyMsgError as error:
            self._metrics.reloads.labels("failed").inc()
            self._log.error("reload failed", what=what, why=reason(error), **fields)
            return False
        if changed or not quiet:
            self._metrics.reloads.labels("changed" if changed else "same").inc()
            self._log.info("reloaded", what=what, changed=changed, key=self._key(), **fields)
        return changed


def _why(error: Exception) -> str:
    # The broker's word, of which no more is said than what it does not permit.
    refusal = parse_refusal(error)
    return reason(error) if refusal is None else str(refusal)


def _is_refused(event: Event, subjects: Collection[str]) -> bool:
    """Tell whether the server does not let us listen on one of these subjects."""
    refusal = None if event.error is None else parse_refusal(event.error)
    return (
        refusal is not None and refusal.what == "subscription" and any(map(refusal.is_of, subjects))
    )


def reload_peers(peers: PeersFile) -> bool:
    """Read a file of peers again, and tell whether others are in use now.

    Raises:
        ConfigurationError: If it cannot be used, also if that was said before.
    """
    changed = peers.reload()
    if peers.error is not None:
        raise peers.error
    return changed


def version() -> str:
    """Return the version of this package."""
    try:
        return importlib.metadata.version("xkeymsg")
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return "0.0.0"
