"""What a daemon counts and times, in the form that Prometheus scrapes.

No label has values from outside: they are names of the configuration, and our own codes. All series
of a route are there from the beginning, so that a rate is known from the first event on.
"""

from __future__ import annotations

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

__all__ = ("CODES", "OTHER", "Metrics", "RouteMetrics")

OTHER: Final = "error"
"""The code of what is no error of ours."""

CODES: Final = frozenset(
    {code for name in errors.__all__ if (code := getattr(errors, name).code)} | {OTHER}
)

_FAST: Final = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0)
_SLOW: Final = (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began: twice the text for nobody
        self.registry = CollectorRegistry()
        self.connected = Gauge(
            "xkeymsg_connected", "Whether there is a connection to NATS.", registry=self.registry
        )
        self.reconnects = Counter(
            "xkeymsg_reconnects", "Connections made after the first.", registry=self.registry
        )
        self.ready = Gauge("xkeymsg_ready", "Whether /readyz says so.", registry=self.registry)
        self.key_age = Gauge(
            "xkeymsg_key_age_seconds", "How old the active key is.", registry=self.registry
        )
        self.reloads = Counter(
            "xkeymsg_reloads", "Reloads, by how they ended.", ["result"], registry=self.registry
        )
        for result in ("changed", "same", "failed"):
            self.reloads.labels(result)
        self.received = Counter(
            "xkeymsg_received", "Messages that came.", ["route"], registry=self.registry
        )
        self.opened = Counter(
            "xkeymsg_opened", "Messages that opened.", ["route"], registry=self.registry
        )
        self.sealed = Counter(
            "xkeymsg_sealed", "Messages that were sealed.", ["route"], registry=self.registry
        )
        self.changed_numbers = Counter(
            "xkeymsg_changed_numbers",
            "Numbers in documents whose digits changed, as floats.",
            ["route"],
            registry=self.registry,
        )
        self.refused = Counter(
            "xkeymsg_refused",
            "Messages that did not open, or were not sealed, by why.",
            ["route", "code"],
            registry=self.registry,
        )
        self.delivered = Counter(
            "xkeymsg_delivered",
            "Messages that were taken where they go.",
            ["route"],
            registry=self.registry,
        )
        self.failures = Counter(
            "xkeymsg_delivery_failures",
            "Attempts to deliver that failed.",
            ["route"],
            registry=self.registry,
        )
        self.lost = Counter(
            "xkeymsg_lost",
            "Messages that were given up for good.",
            ["route"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "xkeymsg_dropped", "Messages that found no room.", ["route"], registry=self.registry
        )
        self.quarantined = Counter(
            "xkeymsg_quarantined",
            "Messages of streams that were given up.",
            ["route", "kind"],
            registry=self.registry,
        )
        self.replays = Counter(
            "xkeymsg_replays", "Replays that were dropped.", ["route"], registry=self.registry
        )
        self.blocked = Gauge(
            "xkeymsg_blocked",
            "Whether the quarantine takes nothing, and all waits.",
            ["route"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "xkeymsg_in_flight",
            "Messages that are being worked on.",
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
            "Time until it was taken.",
            ["route"],
            buckets=_SLOW,
            registry=self.registry,
        )

    def route(self, name: str) -> RouteMetrics:
        """Return the series of one route."""
        return RouteMetrics(self, name)

    def exposition(self) -> bytes:
        """Return all of it as text."""
        return generate_latest(self.registry)


class RouteMetrics:
    """The series of one route, each looked up once."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        of = metrics
        self.received = of.received.labels(route)
        self.opened = of.opened.labels(route)
        self.sealed = of.sealed.labels(route)
        self.changed_numbers = of.changed_numbers.labels(route)
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
        """Count a message that did not open; a code that is none of ours is `error`."""
        self._refused.get(code, self._refused[OTHER])()

    def quarantined(self, kind: str) -> None:
        """Count a message that was given up: `kept` in quarantine, or `lost` without a record."""
        self._quarantined[kind]()
