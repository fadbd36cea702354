"""Measuring contenders in turns, so that a busy machine slows all of them alike.

A *contender* runs an operation n times and says how many nanoseconds that took: a *batch*. In every
*round* each contender runs one batch; the order rotates and turns round, so that nobody always runs
after the same one. Python's cyclic garbage collector is off meanwhile and runs between rounds.

Two figures come of it: the minimum per operation, which a disturbance can only raise, and the
median. A ratio is given twice likewise: of the two minima, and the median over the rounds of the
ratio within a round.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import NamedTuple, TypeAlias

__all__ = (
    "Batch",
    "Contender",
    "Pace",
    "Ratio",
    "Run",
    "Series",
    "gc_off",
    "measure",
    "once_each",
    "repeated",
)

Batch: TypeAlias = Callable[[int], Sequence[int]]
"""Runs an operation n times; returns nanoseconds, one figure for each measure of the run. The first
one is the time on the clock, by which the length of a batch is chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """Something that is measured.

    `most` bounds the operations of a batch; `warm_up` operations run before anything counts.
    """

    name: str
    batch: Batch
    most: int = 1_000_000
    warm_up: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many batches each contender runs, and about how long one takes."""

    batches: int = 30
    milliseconds: float = 10


class Ratio(NamedTuple):
    """By how much one contender takes longer than another."""

    minima: float
    median: float


@dataclass(slots=True)
class Series:
    """What one contender's batches of `operations` took, in nanoseconds per batch and measure."""

    operations: int
    batches: list[Sequence[int]] = field(default_factory=list)

    def per_operation(self, measure: int = 0) -> list[float]:
        """Return microseconds per operation, batch by batch."""
        return [batch[measure] / self.operations / 1000 for batch in self.batches]


@dataclass(slots=True, kw_only=True)
class Run:
    """The contenders that took turns, what was measured, and whom they are compared with."""

    title: str
    baseline: str
    measures: Sequence[str]
    series: dict[str, Series]

    def ratio(self, name: str, baseline: str, measure: int = 0) -> Ratio:
        """Compare a contender with another."""
        ours = self.series[name].per_operation(measure)
        theirs = self.series[baseline].per_operation(measure)
        return Ratio(
            min(ours) / min(theirs),
            statistics.median(a / b for a, b in zip(ours, theirs, strict=True)),
        )


def repeated(operation: Callable[[], object]) -> Batch:
    """Make a batch of calls of one function."""

    def batch(n: int) -> tuple[int]:
        calls = repeat(None, n)
        start = time.perf_counter_ns()
        for _ in calls:
            operation()
        return (time.perf_counter_ns() - start,)

    return batch


def once_each(make: Callable[[], Callable[[], object]]) -> Batch:
    """Make a batch of calls of a new function each time; making it is not measured."""

    def batch(n: int) -> tuple[int]:
        operations = [make() for _ in range(n)]
        start = time.perf_counter_ns()
        for operation in operations:
            operation()
        return (time.perf_counter_ns() - start,)

    return batch


@contextmanager
def gc_off() -> Iterator[None]:
    """Collect cyclic garbage now, and not again within the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(
    title: str,
    contenders: Sequence[Contender],
    *,
    baseline: str,
    pace: Pace,
    measures: Sequence[str] = ("time",),
) -> Run:
    """Let the contenders take turns."""
    run = Run(title=title, baseline=baseline, measures=measures, series={})
    for contender in contenders:
        _warm_up(contender)
        with gc_off():
            run.series[contender.name] = Series(_calibrate(contender, pace))
    for turn in range(pace.batches):
        with gc_off():
            for contender in _order(contenders, turn):
                series = run.series[contender.name]
                series.batches.append(contender.batch(series.operations))
    return run


def _order(contenders: Sequence[Contender], turn: int) -> list[Contender]:
    first = turn // 2 % len(contenders)
    rotated = [*contenders[first:], *contenders[:first]]
    return rotated[::-1] if turn % 2 else rotated


def _warm_up(contender: Contender) -> None:
    left = contender.warm_up
    while left > 0:
        n = min(left, contender.most)
        contender.batch(n)
        left -= n


def _calibrate(contender: Contender, pace: Pace) -> int:
    """Return the number of operations with which a batch takes about as long as it should."""
    target = pace.milliseconds * 1e6
    n = 1
    while True:
        factor = target / max(1, contender.batch(n)[0])
        if factor < 3 or n == contender.most:
            return max(1, min(contender.most, round(n * factor)))
        n = min(contender.most, round(n * min(factor, 10)))
