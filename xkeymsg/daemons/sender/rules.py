"""Usage counts of policy rules: a rule that never decides about a field is probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from xkeymsg.fields.matching import State
from xkeymsg.fields.policy import Policy, Rule

__all__ = ("RuleCounts", "deciding_rules")

_MOST: Final = 256
"""Maximum number of rules per policy with their own series."""


def deciding_rules(policy: Policy, document: Any) -> set[int]:
    """Return the numbers, from 1, of the rules that decide about a field of a document."""
    found: set[int] = set()
    open_: list[tuple[Any, State]] = [(document, policy.start)]
    while open_:
        value, state = open_.pop()
        if state.tested:
            state = state.settle(value)
        kind = type(value)
        if state.below_set is not None or not value or (kind is not dict and kind is not list):
            found.add(state.rule)
        elif kind is dict:
            names = tuple(value)
            states = state.members.get(names) or map(state.child, names)
            open_ += zip(value.values(), states, strict=True)
        else:
            open_ += zip(value, state.items(len(value), careful=False), strict=False)
    return {policy.decide((), pattern).rule for pattern in found}


class RuleCounts(Collector):
    """Counts documents by the rules that decided about a field in them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = Lock()
        self._policies: dict[str, tuple[Rule, ...]] = {}
        self._counts: dict[str, list[int]] = {}
        registry.register(self)

    def watch(self, route: str, policy: Policy) -> None:
        """Start counting for a policy; counts restart at 0 if its rules changed."""
        with self._lock:
            if self._policies.get(route) != policy.rules:
                self._policies[route] = policy.rules
                self._counts[route] = [0] * min(len(policy.rules), _MOST)

    def count(self, route: str, rules: set[int]) -> None:
        """Count a sealed document."""
        with self._lock:
            counts = self._counts[route]
            for rule in rules:
                if rule <= len(counts):
                    counts[rule - 1] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the series, for the registry."""
        family = CounterMetricFamily(
            "xkeymsg_rule_documents",
            "Sealed documents in which a rule of the policy decided about a field.",
            labels=["route", "rule"],
        )
        with self._lock:
            for route, counts in self._counts.items():
                for rule, number in enumerate(counts, 1):
                    family.add_metric([route, str(rule)], number)
        yield family
