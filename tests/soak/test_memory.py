"""What counts as growth of a receiver's memory, and what does not."""

from __future__ import annotations

from tests.soak.memory import LARGEST, Growth, rise, slope

MB = 1 << 20
SECONDS = 540


def judged(samples: list[int]) -> list[str]:
    taken = slope(samples), rise(samples)
    return Growth(600, 1, 1, 0, samples[0], max(samples), *taken, samples).errors()


def busy(base: int, per_second: float = 0) -> list[int]:
    """A receiver on a machine that pauses: messages wait for it, are gone, and wait again."""
    bursts = [second * 7919 % 97 * MB // 25 * (second % 3 == 0) for second in range(SECONDS)]
    return [base + burst + int(second * per_second) for second, burst in enumerate(bursts)]


def test_a_leak_of_two_bytes_a_message_is_seen_behind_bursts() -> None:
    assert judged(busy(60 * MB, per_second=2 * 5000)) == ["it grows"]


def test_bursts_are_no_leak() -> None:
    assert judged(busy(60 * MB)) == []


def test_a_step_up_that_stays_is_growth() -> None:
    samples = [60 * MB if second < SECONDS / 2 else 65 * MB for second in range(SECONDS)]
    assert judged(samples) == ["it grows"]


def test_more_than_may_be_resident_is_wrong_however_shortly() -> None:
    samples = [60 * MB] * SECONDS
    samples[7] = LARGEST
    assert judged(samples) == ["80.0 MB are resident, and 80 may be"]


def test_both_are_a_minute() -> None:
    samples = [second * 1000 for second in range(SECONDS)]
    assert round(slope(samples)) == round(rise(samples)) == 60_000
