"""The metrics of the daemons, from the registries that the daemons fill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry

from xkeymsg.daemons.common.directory import DirectoryMetrics
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.daemons.common.rotation import RotationMetrics
from xkeymsg.daemons.common.trust import TrustMetrics
from xkeymsg.daemons.sender.rules import RuleCounts

__all__ = ("Metric", "families", "metrics")


class Metric(NamedTuple):
    """A family of series."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def _of(made: Callable[[CollectorRegistry], object]) -> CollectorRegistry:
    registry = CollectorRegistry()
    made(registry)
    return registry


_GROUPS: Final[dict[str, Callable[[], CollectorRegistry]]] = {
    "all": lambda: Metrics().registry,
    "rules": lambda: _of(RuleCounts),
    "trust": lambda: _of(TrustMetrics),
    "directory": lambda: _of(DirectoryMetrics),
    "rotation": lambda: _of(RotationMetrics),
}


def families(group: str) -> Iterator[Metric]:
    """Yield the metrics of a group."""
    registry = _GROUPS[group]()
    labels = {
        name: tuple(getattr(each, "_labelnames", ("route", "rule")))
        for each, names in registry._collector_to_names.items()
        for name in names
    }
    for family in registry.collect():
        suffix = "_total" if family.type == "counter" else ""
        yield Metric(
            family.name + suffix, family.type, labels.get(family.name, ()), family.documentation
        )


def metrics(group: str) -> str:
    """Return a description of each metric of a group."""
    return "\n\n".join(
        f":::{{metric}} {each.name}\n\n*{each.kind}*"
        + (f", by `{'`, `'.join(each.labels)}`" if each.labels else "")
        + f". {each.text}\n:::"
        for each in families(group)
    )
