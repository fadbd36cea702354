"""What a call of the benchmarks gathers: tables for people, one JSON file for programs.

A table of a run has a line per contender. The ratios say how many times as long as the baseline it
took: the ratio of the minima, and the median of the ratios within a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from benchmarks.harness import Contender, Pace, Run, measure
from benchmarks.promises import Bound, Figure, Outcome, Promise, Table, verdict

__all__ = ("AnyPromise", "Promise", "Report", "Suite", "human")

AnyPromise: TypeAlias = Promise | Bound | Figure


class Report:
    """Runs, tables of what is not timed, and what was left out."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.runs: dict[str, Run] = {}
        self.tables: dict[str, Table] = {}
        self._peers: dict[str, str] = {}
        self._left_out: dict[str, str] = {}

    @property
    def quick(self) -> bool:
        """Whether suites may leave out what takes long."""
        return self._pace.quick

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
        self.runs[title] = run
        for index in range(len(measures)):
            print(*_table(run, index), sep="\n", end="\n\n", flush=True)

    def add_table(self, title: str, table: Table) -> None:
        """Take figures that are counted and not timed, and print them."""
        self.tables[title] = table
        print(*_counted(title, table), sep="\n", end="\n\n", flush=True)

    def take_part(self, name: str, version: str) -> None:
        """Note that a peer of another language takes part, and what it says it is."""
        self._peers[name] = version
        print(f"{name}: {version}\n", flush=True)

    def leave_out(self, name: str, why: str) -> None:
        """Note that a contender takes no part, and say why."""
        self._left_out[name] = why
        print(f"{name}: left out: {why}\n", flush=True)

    def leave_out_server(self) -> None:
        """Note that no nats-server can be started."""
        self.leave_out("nats-server", "it cannot be started; install the extra `server`")

    def print_promises(self, promises: Sequence[AnyPromise]) -> None:
        """Print the closing sections."""
        ratios = [promise for promise in promises if isinstance(promise, Promise)]
        bounds = [promise for promise in promises if not isinstance(promise, Promise)]
        self._print_section("Ratios", ratios, ("min ratio", "median ratio"))
        self._print_section("Bounds", bounds, ("minimum", "median"))

    def _print_section(
        self, title: str, promises: Sequence[AnyPromise], columns: tuple[str, str]
    ) -> None:
        line = "{:<72}{:>9}{:>12}{:>14}{:>9}".format
        if promises:
            print(line(title, "promised", *columns, ""))
        for promise in promises:
            outcome = promise.outcome(self)
            print(line(f"  {promise}", promise.target, *_outcome(promise.target, outcome)).rstrip())

    def as_json(self, promises: Sequence[AnyPromise]) -> dict[str, Any]:
        """Return everything, raw figures included, for a JSON file."""
        outcomes = [(promise, promise.outcome(self)) for promise in promises]
        return {
            "peers": self._peers,
            "left_out": self._left_out,
            "promises": {
                str(promise): {"promised": promise.target} | (outcome._asdict() if outcome else {})
                for promise, outcome in outcomes
            },
            "tables": self.tables,
            "runs": [_run_as_json(run) for run in self.runs.values()],
        }


Suite: TypeAlias = Callable[[Report], None]


def human(size: int) -> str:
    """Write a size as people do: 128 B, 64 KiB, 1 MiB."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def _outcome(target: str, outcome: Outcome | None) -> tuple[str, str, str]:
    if outcome is None:
        return "not", "measured", ""
    minimum, median = outcome
    return _number(minimum), "" if median is None else _number(median), verdict(target, outcome)


def _number(value: float) -> str:
    """Write what is whole without decimals, and what is large without too many."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def _table(run: Run, index: int) -> Iterator[str]:
    """Lay out one measure of a run; a rate only for the first, which is the time on the clock."""
    line = "{:<46}{:>14}{:>14}{:>14}{:>12}{:>14}".format
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


def _counted(title: str, table: Table) -> Iterator[str]:
    columns = list(dict.fromkeys(column for line in table.values() for column in line))
    width = max(14, *(len(column) + 2 for column in columns))
    yield f"{title:<46}" + "".join(f"{column:>{width}}" for column in columns)
    for name, line in table.items():
        figures = (line.get(column) for column in columns)
        texts = ("" if figure is None else _number(figure) for figure in figures)
        yield f"  {name:<44}" + "".join(f"{text:>{width}}" for text in texts)


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "title": run.title,
        "baseline": run.baseline,
        "contenders": [
            {
                "name": name,
                "operations_per_batch": series.operations,
                "rounds": series.rounds,
                "nanoseconds_per_batch": {
                    measure: [batch[index] for batch in series.batches]
                    for index, measure in enumerate(run.measures)
                },
            }
            for name, series in run.series.items()
        ],
    }
