"""What a call of the benchmarks gathers: tables for people, one JSON file for programs.

A table has a line per contender. The ratios say how many times as long as the baseline it took: the
ratio of the minima, and the median of the ratios within a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from benchmarks.harness import Contender, Pace, Ratio, Run, measure

__all__ = ("Promise", "Report", "Suite", "human")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A ratio that the project promises: between two contenders' times in the run `title`."""

    title: str
    of: str
    against: str
    target: str

    def __str__(self) -> str:
        return f"{self.title}: {self.of} / {self.against}"


class Report:
    """Runs, and what was left out of them."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._runs: dict[str, Run] = {}
        self._peers: dict[str, str] = {}
        self._left_out: dict[str, str] = {}

    def measure(
        self,
        title: str,
        contenders: Sequence[Contender],
        *,
        baseline: str,
        measures: Sequence[str] = ("time",),
        longer: float = 1,
    ) -> None:
        """Let contenders take turns, with batches so many times `longer`, and print the tables."""
        pace = replace(self._pace, milliseconds=self._pace.milliseconds * longer)
        run = measure(title, contenders, baseline=baseline, pace=pace, measures=measures)
        self._runs[title] = run
        for index in range(len(measures)):
            print(*_table(run, index), sep="\n", end="\n\n", flush=True)

    def take_part(self, name: str, version: str) -> None:
        """Note that a peer of another language takes part, and what it says it is."""
        self._peers[name] = version
        print(f"{name}: {version}\n", flush=True)

    def leave_out(self, name: str, why: str) -> None:
        """Note that a contender takes no part, and say why."""
        self._left_out[name] = why
        print(f"{name}: left out: {why}\n", flush=True)

    def ratio(self, promise: Promise) -> Ratio | None:
        """Return the ratio of a promise, if both sides took part."""
        run = self._runs.get(promise.title)
        if run is None or not {promise.of, promise.against} <= run.series.keys():
            return None
        return run.ratio(promise.of, promise.against)

    def print_ratios(self, promises: Sequence[Promise]) -> None:
        """Print the closing section."""
        line = "{:<56}{:>12}{:>12}{:>14}".format
        print(line("Ratios", "promised", "min ratio", "median ratio"))
        for promise in promises:
            ratio = self.ratio(promise)
            figures = ("not", "measured") if ratio is None else (f"{x:.2f}" for x in ratio)
            print(line(f"  {promise}", promise.target, *figures))

    def as_json(self, promises: Sequence[Promise]) -> dict[str, Any]:
        """Return everything, raw figures included, for a JSON file."""
        ratios = {str(promise): self.ratio(promise) for promise in promises}
        return {
            "peers": self._peers,
            "left_out": self._left_out,
            "ratios": {text: ratio and ratio._asdict() for text, ratio in ratios.items()},
            "runs": [_run_as_json(run) for run in self._runs.values()],
        }


Suite: TypeAlias = Callable[[Report], None]


def human(size: int) -> str:
    """Write a size as people do: 128 B, 64 KiB, 1 MiB."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def _table(run: Run, index: int) -> Iterator[str]:
    """Lay out one measure of a run; a rate only for the first, which is the time on the clock."""
    line = "{:<46}{:>12}{:>12}{:>14}{:>12}{:>14}".format
    title = run.title if len(run.measures) == 1 else f"{run.title}: {run.measures[index]}"
    rate = "" if index else "per second"
    yield line(title, "min µs", "median µs", rate, "min ratio", "median ratio").rstrip()
    for name, series in run.series.items():
        figures = series.per_operation(index)
        middle = statistics.median(figures)
        ratio = run.ratio(name, run.baseline, index)
        yield line(
            f"  {name}",
            f"{min(figures):,.2f}",
            f"{middle:,.2f}",
            "" if index else f"{1e6 / middle:,.0f}",
            f"{ratio.minima:,.2f}",
            f"{ratio.median:,.2f}",
        )


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "title": run.title,
        "baseline": run.baseline,
        "contenders": [
            {
                "name": name,
                "operations_per_batch": series.operations,
                "nanoseconds_per_batch": {
                    measure: [batch[index] for batch in series.batches]
                    for index, measure in enumerate(run.measures)
                },
            }
            for name, series in run.series.items()
        ],
    }
