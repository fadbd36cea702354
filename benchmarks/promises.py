"""What the project promises of a measured figure, beside the figure.

Nothing is asserted: a shared machine must not fail a build. Where the minimum and the median say
different things, the machine was too busy to tell: "unclear".
"""

from __future__ import annotations

import operator
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from benchmarks.harness import Run

__all__ = ("Bound", "Figure", "Measured", "Outcome", "Promise", "Table", "verdict")

Table: TypeAlias = Mapping[str, Mapping[str, float | None]]
"""Figures that are counted and not timed: line by line, column by column."""


class Measured(Protocol):
    """What was measured so far."""

    @property
    def runs(self) -> Mapping[str, Run]:
        """By title."""

    @property
    def tables(self) -> Mapping[str, Table]:
        """By title."""


class Outcome(NamedTuple):
    """What was measured; the median is None for what is counted."""

    minimum: float
    median: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A ratio between two contenders' times in the run `title`.

    With `less`, of the time by which `of` takes longer than that one; `per` divides it.
    """

    title: str
    of: str
    against: str
    target: str
    less: str = ""
    per: int = 1

    def outcome(self, measured: Measured) -> Outcome | None:
        """Return the ratio of the minima and the median ratio, if all sides took part."""
        run = measured.runs.get(self.title)
        names = [self.of, self.against, *filter(None, [self.less])]
        if run is None or not set(names) <= run.series.keys():
            return None
        minima = tuple(min(run.series[name].per_operation()) for name in names)
        rounds = run.in_rounds(*names)
        return Outcome(self._ratio(minima), statistics.median(map(self._ratio, rounds)))

    def _ratio(self, times: tuple[float, ...]) -> float:
        of, against, *less = times
        return (of - sum(less)) / self.per / against

    def __str__(self) -> str:
        of = f"({self.of} - {self.less}) / {self.per}" if self.less else self.of
        return f"{self.title}: {of} / {self.against}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound on the microseconds of one contender in the run `title`."""

    title: str
    of: str
    target: str

    def outcome(self, measured: Measured) -> Outcome | None:
        """Return microseconds, if it took part."""
        run = measured.runs.get(self.title)
        if run is None or self.of not in run.series:
            return None
        times = run.series[self.of].per_operation()
        return Outcome(min(times), statistics.median(times))

    def __str__(self) -> str:
        return f"{self.title}: {self.of}, µs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A bound on one figure of the table `title`."""

    title: str
    of: str
    column: str
    target: str

    def outcome(self, measured: Measured) -> Outcome | None:
        """Return the figure, if there is one."""
        figure = measured.tables.get(self.title, {}).get(self.of, {}).get(self.column)
        return None if figure is None else Outcome(figure, None)

    def __str__(self) -> str:
        return f"{self.title}: {self.of}, {self.column}"


_COMPARE = {"≤": operator.le, "<": operator.lt, "≥": operator.ge, ">": operator.gt}


def verdict(target: str, outcome: Outcome) -> str:
    """Tell whether a target like `≥ 6` is met, by both figures or by none."""
    sign, number = target.split()
    limit = float(number.replace(",", ""))
    met = {_COMPARE[sign](value, limit) for value in outcome if value is not None}
    return "unclear" if len(met) > 1 else "met" if met == {True} else "missed"
