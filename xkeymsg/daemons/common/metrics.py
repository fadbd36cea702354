"""Prometheus metrics of a daemon.

Label values never come from outside: they are names from the configuration, and our own codes. All
series of a route exist from the start, so that the first event already counts in a rate; the replay
memory's exist only if there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from xkeymsg import errors
from xkeymsg.envelope.replay import ReplayState

__all__ = ("CODES", "OTHER", "Metrics", "RouteMetrics")

OTHER: Final = "error"
"""The code for errors of other packages."""

CODES: Final = frozenset(
    {code for name in errors.__all__ if (code := getattr(errors, name).code)} | {OTHER}
)

_FAST: Final = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0)
_SLOW: Final = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the text
        self.registry = CollectorRegistry()
        self.connected = Gauge(
            "xkeymsg_connected", "Whether the daemon is connected to NATS.", registry=self.registry
        )
        self.reconnects = Counter(
            "xkeymsg_reconnects", "Connections made after the first.", registry=self.registry
        )
        self.ready = Gauge(
            "xkeymsg_ready", "Whether /readyz reports ready.", registry=self.registry
        )
        self.key_age = Gauge(
            "xkeymsg_key_age_seconds", "Age of the active key.", registry=self.registry
        )
        self.retired_senders = Gauge(
            "xkeymsg_retired_senders",
            "Senders of the last hour that seal with a key that is no longer current.",
            registry=self.registry,
        )
        self.reloads = Counter(
            "xkeymsg_reloads", "Reloads, by result.", ["result"], registry=self.registry
        )
        for result in ("changed", "same", "failed"):
            self.reloads.labels(result)
        self.received = Counter(
            "xkeymsg_received", "Messages received.", ["route"], registry=self.registry
        )
        self.opened = Counter(
            "xkeymsg_opened", "Messages opened.", ["route"], registry=self.registry
        )
        self.sealed = Counter(
            "xkeymsg_sealed", "Messages sealed.", ["route"], registry=self.registry
        )
        self.changed_numbers = Counter(
            "xkeymsg_changed_numbers",
            "Numbers in documents whose digits changed as floats.",
            ["route"],
            registry=self.registry,
        )
        self.headers_left_out = Counter(
            "xkeymsg_headers_left_out",
            "Headers of sources that could not be sealed with their message.",
            ["route"],
            registry=self.registry,
        )
        self.refused = Counter(
            "xkeymsg_refused",
            "Messages that could not be opened or sealed, by code.",
            ["route", "code"],
            registry=self.registry,
        )
        self.delivered = Counter(
            "xkeymsg_delivered",
            "Messages accepted at their destination.",
            ["route"],
            registry=self.registry,
        )
        self.failures = Counter(
            "xkeymsg_delivery_failures",
            "Failed delivery attempts.",
            ["route"],
            registry=self.registry,
        )
        self.lost = Counter(
            "xkeymsg_lost",
            "Messages given up after the last attempt.",
            ["route"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "xkeymsg_dropped",
            "Messages dropped because a buffer was full.",
            ["route"],
            registry=self.registry,
        )
        self.quarantined = Counter(
            "xkeymsg_quarantined",
            "Messages of streams given up, kept in quarantine or lost.",
            ["route", "kind"],
            registry=self.registry,
        )
        self.replays = Counter(
            "xkeymsg_replays",
            "Messages of streams redelivered after they were handled, and dropped.",
            ["route"],
            registry=self.registry,
        )
        self.replay_covers = Gauge(
            "xkeymsg_replay_covers_seconds",
            "Age up to which no message was refused for lack of replay memory.",
            ["route"],
            registry=self.registry,
        )
        self.max_age = Gauge(
            "xkeymsg_max_age_seconds",
            "Age up to which messages are accepted.",
            ["route"],
            registry=self.registry,
        )
        self.replay_dropped = Counter(
            "xkeymsg_replay_pages_dropped",
            "Pages of replay marks dropped for lack of memory.",
            ["route"],
            registry=self.registry,
        )
        self.replay_pending = Gauge(
            "xkeymsg_replay_pending",
            "Messages of a stream opened and not settled.",
            ["route"],
            registry=self.registry,
        )
        self.replay_bytes = Gauge(
            "xkeymsg_replay_bytes",
            "Bytes of replay marks.",
            ["route"],
            registry=self.registry,
        )
        self.blocked = Gauge(
            "xkeymsg_blocked",
            "Whether consuming is blocked because the quarantine stores nothing.",
            ["route"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "xkeymsg_in_flight",
            "Messages being processed.",
            ["route"],
            registry=self.registry,
        )
        self.open_time = Histogram(
            "xkeymsg_open_seconds",
            "Time to open a message.",
            ["route"],
            buckets=_FAST,
            registry=self.registry,
        )
        self.seal_time = Histogram(
            "xkeymsg_seal_seconds",
            "Time to seal a message.",
            ["route"],
            buckets=_FAST,
            registry=self.registry,
        )
        self.delivery_time = Histogram(
            "xkeymsg_delivery_seconds",
            "Time until a message was accepted at its destination.",
            ["route"],
            buckets=_SLOW,
            registry=self.registry,
        )

    def route(self, name: str) -> RouteMetrics:
        """Return the series of one route."""
        return RouteMetrics(self, name)

    def exposition(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self.registry)


class RouteMetrics:
    """The series of one route, each looked up once."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        of = self._of = metrics
        self._route = route
        self._dropped = 0
        self.received = of.received.labels(route)
        self.opened = of.opened.labels(route)
        self.sealed = of.sealed.labels(route)
        self.changed_numbers = of.changed_numbers.labels(route)
        self.headers_left_out = of.headers_left_out.labels(route)
        self.delivered = of.delivered.labels(route)
        self.failures = of.failures.labels(route)
        self.lost = of.lost.labels(route)
        self.dropped = of.dropped.labels(route)
        self.replays = of.replays.labels(route)
        self.blocked = of.blocked.labels(route)
        self.in_flight = of.in_flight.labels(route)
        self.open_time = of.open_time.labels(route)
        self.seal_time = of.seal_time.labels(route)
        self.delivery_time = of.delivery_time.labels(route)
        self._refused: dict[str, Callable[[], None]] = {
            code: of.refused.labels(route, code).inc for code in CODES
        }
        self._quarantined: dict[str, Callable[[], None]] = {
            kind: of.quarantined.labels(route, kind).inc for kind in ("kept", "lost")
        }

    def refused(self, code: str) -> None:
        """Count a refused message; an unknown code counts as `error`."""
        self._refused.get(code, self._refused[OTHER])()

    def quarantined(self, kind: str) -> None:
        """Count a message given up: `kept` in quarantine, or `lost` without a record."""
        self._quarantined[kind]()

    def replay(self, state: ReplayState, max_age: float) -> None:
        """Set the state of the replay memory; if it holds everything, it covers infinity."""
        of, route = self._of, self._route
        covers = math.inf if state.covers is None else state.covers
        of.replay_covers.labels(route).set(covers)
        of.max_age.labels(route).set(max_age)
        of.replay_pending.labels(route).set(state.pending)
        of.replay_bytes.labels(route).set(state.size)
        # A new scope counts from 0 again.
        more = state.dropped - self._dropped if state.dropped >= self._dropped else state.dropped
        of.replay_dropped.labels(route).inc(more)
        self._dropped = state.dropped
