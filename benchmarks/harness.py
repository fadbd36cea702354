"""Measuring contenders in turns, so that a busy machine slows all of them alike.

A *contender* runs an operation n times and says how many nanoseconds that took: a *batch*. In every
*round* each contender runs one batch; the order rotates and turns round, so that nobody always runs
after the same one. Python's cyclic garbage collector is off meanwhile and runs between rounds.

A contender whose operation is slow sits out most rounds, and one that needs seconds runs once, so
that nobody takes a multiple of the time of all others.

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


_PATIENCE = 4
"""How many times the usual time a slow contender may take, unless that is below the least."""

_LEAST = 3

_ENDLESS = 3_000_000_000
"""Nanoseconds of one operation from which on a contender runs it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many batches each contender runs, and about how long one takes."""

    batches: int = 30
    milliseconds: float = 10
    quick: bool = False
    """Whether suites may leave out what takes long."""

    @property
    def nanoseconds(self) -> float:
        """Of one batch."""
        return self.milliseconds * 1e6

    def rounds(self, nanoseconds: int) -> list[int]:
        """Return the rounds of a contender whose batches take so long, evenly spread."""
        affordable = int(_PATIENCE * self.batches * self.nanoseconds / max(1, nanoseconds))
        count = min(self.batches, max(_LEAST, affordable))
        return sorted({number * self.batches // count for number in range(count)})


class Ratio(NamedTuple):
    """By how much one contender takes longer than another."""

    minima: float
    median: float


@dataclass(slots=True)
class Series:
    """What one contender's batches of `operations` took, in nanoseconds per batch and measure."""

    operations: int
    rounds: list[int]
    """In which rounds the batches ran."""
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
        rounds = self.in_rounds(name, baseline, measure=measure)
        return Ratio(min(ours) / min(theirs), statistics.median(a / b for a, b in rounds))

    def in_rounds(self, *names: str, measure: int = 0) -> list[tuple[float, ...]]:
        """Return microseconds per operation of several, for each round that all took part in.

        The first round is one that everybody takes part in.
        """
        figures = [
            dict(zip(series.rounds, series.per_operation(measure), strict=True))
            for series in (self.series[name] for name in names)
        ]
        common = sorted(set.intersection(*(set(each) for each in figures)))
        return [tuple(each[number] for each in figures) for number in common]


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
            run.series[contender.name] = _calibrate(contender, pace)
    for turn in range(pace.batches):
        with gc_off():
            for contender in _order(contenders, turn):
                series = run.series[contender.name]
                if turn in series.rounds[len(series.batches) :]:
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


def _calibrate(contender: Contender, pace: Pace) -> Series:
    """Choose the operations with which a batch takes about as long as it should, and the rounds."""
    n = 1
    while True:
        batch = _undisturbed(contender, n, pace)
        took = batch[0]
        factor = pace.nanoseconds / max(1, took)
        if took >= _ENDLESS:
            return Series(n, [0], [batch])  # that was its batch
        if factor < 3 or n == contender.most:
            operations = max(1, min(contender.most, round(n * factor)))
            return Series(operations, pace.rounds(took * operations // n))
        n = min(contender.most, round(n * min(factor, 10)))


def _undisturbed(contender: Contender, n: int, pace: Pace) -> Sequence[int]:
    """Return the fastest of three batches; a long one runs once, as disturbances are short."""
    batch = contender.batch(n)
    if batch[0] > 20 * pace.nanoseconds:
        return batch
    return min(batch, contender.batch(n), contender.batch(n), key=lambda each: each[0])
