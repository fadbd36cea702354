"""Memories of the reference: cases beyond the scenarios, and a comparison of whole and parts."""

from __future__ import annotations

import pytest

from tests.reference.head import Head
from tests.reference.limits import Limits
from tests.reference.refusal import RefusalError
from tests.reference.replay import LiveMemory, Position, StreamMemory

NOW = 1767225600000
LIMITS = Limits()
A, B = b"A" * 32, b"B" * 32


def head(
    counter: int, *, sender: bytes = A, session: int = 0, created: int = NOW, tail: bytes = b"n" * 8
) -> Head:
    nonce = counter.to_bytes(4, "big") + tail
    return Head(S=sender, E=bytes([session]) * 32, nonce=nonce, created_ms=created, subject="a")


def live(memory: LiveMemory, message: Head, *, admitted: bool = True, now: int = NOW) -> str:
    try:
        memory.fresh(message, now=now, position=None)
        memory.mark(message, admitted=admitted, now=now, position=None)
    except RefusalError as refused:
        return f"{refused.code} {refused.rule}"
    return "success"


def stream(memory: StreamMemory, message: Head, sequence: int, stored_at: int = NOW) -> str:
    position = Position("ORDERS", sequence, stored_at)
    try:
        memory.fresh(message, now=NOW, position=position)
        memory.mark(message, admitted=True, now=NOW, position=position)
    except RefusalError as refused:
        return f"{refused.code} {refused.rule} {refused.pending}"
    return "success"


def test_counters_come_in_any_order_and_once() -> None:
    memory = LiveMemory(started=NOW)
    for counter in (5, 2**20, 1, 4):
        assert live(memory, head(counter)) == "success"
        assert live(memory, head(counter)) == "replay E-76"
    assert live(memory, head(5, session=1)) == "success"
    assert live(memory, head(5, sender=B)) == "success"


def test_scopes_are_apart() -> None:
    # E-70
    assert live(LiveMemory(started=NOW), head(1)) == live(LiveMemory(started=NOW), head(1))
    first, second = StreamMemory(), StreamMemory()
    assert stream(first, head(1), 5) == stream(second, head(1), 6) == "success"


def test_a_memory_that_is_complete_takes_what_is_older_than_itself() -> None:
    old = head(1, created=NOW - LIMITS.skew - 1)
    assert live(LiveMemory(started=NOW), old) == "stale E-74"
    assert live(LiveMemory(started=NOW, complete=True), old) == "success"


def test_the_charge_of_a_page_ends_with_a_byte_for_each_counter() -> None:
    memory = LiveMemory(started=NOW)
    for counter, charge in ((1, 5), (2, 10), (204, 15)):
        assert live(memory, head(counter)) == "success"
        assert memory.marks.charge(A) == 600 + 320 + 440 + charge
    for counter in range(3, 400):
        live(memory, head(counter))
    assert memory.marks.charge(A) == 600 + 320 + 440 + 1024
    assert live(memory, head(1024)) == "success"
    assert memory.marks.charge(A) == 600 + 320 + 2 * 440 + 1024 + 5


def test_a_reader_that_sweeps_refuses_the_same_copies() -> None:
    for sweeps in (True, False):
        memory = LiveMemory(started=0, sweeps=sweeps)
        assert live(memory, head(1)) == "success"
        later = NOW + LIMITS.max_age + LIMITS.skew + 1
        assert live(memory, head(1, sender=B, created=later), now=later) == "success"
        assert len(memory.marks.pages) == (1 if sweeps else 2)
        assert live(memory, head(1)) == ("stale E-75" if sweeps else "replay E-76")


def test_a_refusal_says_whether_the_first_is_pending() -> None:
    memory = StreamMemory()
    assert stream(memory, head(1), 5) == "success"
    assert stream(memory, head(1), 5) == "success"
    assert stream(memory, head(1), 6) == "replay E-83 True"
    assert stream(memory, head(1, tail=b"other..."), 5) == "session_cloned E-71 None"
    memory.settle(head(1), handled=True)
    assert stream(memory, head(1), 5) == "replay E-83 False"
    assert stream(memory, head(1, tail=b"other..."), 5) == "session_cloned E-71 None"


@pytest.mark.parametrize("offset", [-LIMITS.max_age, LIMITS.skew])
def test_the_bounds_of_age_are_inclusive(offset: int) -> None:
    beyond = offset + (1 if offset > 0 else -1)
    assert live(LiveMemory(started=0), head(1, created=NOW + offset)) == "success"
    assert live(LiveMemory(started=0), head(1, created=NOW + beyond)) == "stale E-73"
    assert stream(StreamMemory(), head(1, created=NOW + offset), 1) == "success"
    assert stream(StreamMemory(), head(1, created=NOW + beyond), 1) == "stale E-81 None"
