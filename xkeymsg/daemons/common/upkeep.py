"""Connection events and reloads of a daemon."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection

from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.logs import Level, Log, reason
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.daemons.common.sections import NatsSection
from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.link import Event
from xkeymsg.transport.rights import parse_refusal
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("Upkeep", "version")


class Upkeep:
    """Reporter of connection events and reloads: to the log, metrics and readiness.

    `key` returns the public key in use.
    """

    def __init__(
        self, log: Log, metrics: Metrics, health: Health, *, key: Callable[[], str]
    ) -> None:
        self._key = key
        self._log = log
        self._metrics = metrics
        self._health = health

    def note(
        self, event: Event, *, condition: str = "connected", subjects: Collection[str] = ()
    ) -> None:
        """Record an event of a connection.

        Args:
            event: The event.
            condition: The readiness condition of the connection.
            subjects: Required subscriptions. If the server no longer permits one, nothing arrives,
                which would look like a quiet day.
        """
        if event.kind in ("connected", "disconnected"):
            self._health.set(condition, event.kind == "connected")
        if event.kind == "connected":
            self._metrics.reconnects.inc()
            if subjects:
                self._health.set("subscribed", True)  # a refusal arrives after it
        elif _is_refused(event, subjects):
            self._health.set("subscribed", False)
        why = {} if event.error is None else {"why": _why(event.error)}
        level: Level = "info" if event.kind == "connected" else "warning"
        # Limited by connection only: a broker may cause any number of errors with new texts.
        name = condition.removesuffix("connected").strip() or "nats"
        self._log.often(level, f"connection {event.kind}", "connection", connection=name, **why)

    def reloaded(
        self, what: str, reload: Callable[[], bool], *, quiet: bool = False, **fields: object
    ) -> bool:
        """Reload something and return whether it changed; if that fails, the old one stays in use.

        Args:
            what: Its name in the log.
            reload: Reloads it, and returns whether it changed.
            quiet: Whether to report nothing if it did not change.
            **fields: Further fields of the log line.
        """
        try:
            changed = reload()
        except XKeyMsgError as error:
            self._metrics.reloads.labels("failed").inc()
            why = reason(error)
            self._log.often("error", "reload failed", "what", "route", what=what, why=why, **fields)
            return False
        if changed or not quiet:
            self._metrics.reloads.labels("changed" if changed else "same").inc()
            self._reloaded(what, changed, **fields)
        return changed

    def reload_logins(self, *sections: NatsSection | None) -> None:
        """Read the key stores of connections again; the next connection uses the new keys."""
        for section in sections:
            if section is not None and section.keys is not None:
                self.reloaded("login", section.keys.reload, quiet=True)

    def watch_peers(self, peers: PeersFile) -> bool:
        """Reload the peers if their file has changed, and return whether other peers are in use.

        While the file is invalid the daemon is not ready: a peer removed from it is still admitted.
        """
        was_invalid = peers.error is not None

        def reload() -> bool:
            try:
                return peers.reload()
            finally:  # before the log tells of it: who reads the line may ask at once
                self._health.set("peers", peers.error is None)

        changed = self.reloaded("peers", reload, quiet=True)
        if was_invalid and peers.error is None and not changed:
            self._reloaded("peers", False)
        return changed

    def _reloaded(self, what: str, changed: bool, **fields: object) -> None:
        self._log.often(
            "info", "reloaded", "what", "changed", "route",
            what=what, changed=changed, key=self._key(), **fields,
        )  # fmt: skip


def _why(error: Exception) -> str:
    # Of the broker's text, log only what is not permitted.
    refusal = parse_refusal(error)
    return reason(error) if refusal is None else str(refusal)


def _is_refused(event: Event, subjects: Collection[str]) -> bool:
    """Return whether the server refused a subscription to one of these subjects."""
    refusal = None if event.error is None else parse_refusal(event.error)
    return (
        refusal is not None and refusal.what == "subscription" and any(map(refusal.is_of, subjects))
    )


def version() -> str:
    """Return the version of this package."""
    try:
        return importlib.metadata.version("xkeymsg")
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return "0.0.0"
