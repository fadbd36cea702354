"""Memories whose state no single vector can reach: budgets, floors, marks that were dropped."""

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
        memory.fresh(message, admitted=admitted, now=now, position=None)
        memory.mark(message, admitted=admitted, now=now, position=None)
    except RefusalError as refused:
        return f"{refused.code} {refused.rule}"
    return "success"


def stream(memory: StreamMemory, message: Head, sequence: int, stored_at: int = NOW) -> str:
    position = Position("ORDERS", sequence, stored_at)
    try:
        memory.fresh(message, admitted=True, now=NOW, position=position)
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
    assert live(LiveMemory(started=NOW), head(1)) == live(LiveMemory(started=NOW), head(1))


def test_a_nonce_that_is_no_longer_kept_makes_a_replay_not_a_clone() -> None:
    memory = LiveMemory(started=NOW)
    for counter in range(1, 1026):
        assert live(memory, head(counter)) == "success"
    other = b"other..."
    assert live(memory, head(1, tail=other)) == "replay E-76"
    assert live(memory, head(2, tail=other)) == "session_cloned E-71"


def test_a_memory_that_is_complete_takes_what_is_older_than_itself() -> None:
    old = head(1, created=NOW - LIMITS.skew - 1)
    assert live(LiveMemory(started=NOW), old) == "stale E-74"
    assert live(LiveMemory(started=NOW, complete=True), old) == "success"


def test_a_dropped_session_raises_the_floor_of_its_sender_only() -> None:
    memory = LiveMemory(started=0, per_sender=2)
    first = head(1, session=1, created=NOW - 10)
    assert live(memory, first) == "success"
    assert live(memory, head(1, session=2, created=NOW)) == "success"
    assert live(memory, head(1, session=3, created=NOW - 20)) == "success"
    assert live(memory, first) == "stale E-75"
    assert live(memory, head(9, session=3, created=NOW - 10)) == "stale E-75"
    assert live(memory, head(1, sender=B, created=NOW - 20)) == "success"


def test_the_total_drops_the_least_recent_of_all_admitted() -> None:
    memory = LiveMemory(started=0, total=1)
    assert live(memory, head(1, sender=A, created=NOW - 5)) == "success"
    assert live(memory, head(1, sender=B, created=NOW - 9)) == "success"
    assert live(memory, head(1, sender=A, created=NOW - 5)) == "stale E-75"


def test_strangers_share_a_budget_and_push_out_nobody_else() -> None:
    memory = LiveMemory(started=0, of_unadmitted=1)
    assert live(memory, head(1, sender=A, created=NOW - 9)) == "success"
    for session in range(5):
        stranger = head(1, sender=B, session=session, created=NOW - 5 + session)
        assert live(memory, stranger, admitted=False) == "success"
    assert live(memory, head(1, sender=A, created=NOW - 9)) == "replay E-76"
    late = head(7, sender=b"C" * 32, created=NOW - 5)
    assert live(memory, late, admitted=False) == "stale E-75"


def test_who_becomes_admitted_keeps_its_marks_and_the_floor() -> None:
    memory = LiveMemory(started=0, of_unadmitted=1)
    assert live(memory, head(1, sender=A, created=NOW - 9), admitted=False) == "success"
    assert live(memory, head(1, sender=B, created=NOW - 5), admitted=False) == "success"
    assert live(memory, head(1, sender=B, created=NOW - 5)) == "replay E-76"
    assert live(memory, head(2, sender=B, created=NOW - 9)) == "stale E-75"


def test_what_is_stale_anyway_is_forgotten_without_a_floor() -> None:
    memory = LiveMemory(started=0)
    assert live(memory, head(1)) == "success"
    later = NOW + LIMITS.max_age + LIMITS.skew + 1
    assert live(memory, head(1, sender=B, created=later), now=later) == "success"
    assert list(memory.sessions) == [(B, bytes(32))]
    assert not memory.floors.get(A)
    assert live(memory, head(1), now=later) == "stale E-73"


def test_a_redelivery_opens_and_a_copy_says_whether_the_first_is_pending() -> None:
    memory = StreamMemory()
    assert stream(memory, head(1), 5) == "success"
    assert stream(memory, head(1), 5) == "success"
    assert stream(memory, head(1), 6) == "replay E-83 True"
    memory.answered(head(1))
    assert stream(memory, head(1), 6) == "replay E-83 False"
    assert stream(memory, head(1, tail=b"other..."), 5) == "session_cloned E-71 None"


def test_final_marks_go_before_pending_ones_and_raise_the_floor() -> None:
    memory = StreamMemory(bound=2)
    for counter in (1, 2):
        message = head(counter, created=NOW + counter)
        assert stream(memory, message, counter, NOW + counter) == "success"
    memory.answered(head(2))
    assert stream(memory, head(3, created=NOW + 3), 3, NOW + 3) == "success"
    assert memory.floor == NOW + 2
    assert stream(memory, head(1, created=NOW + 1), 1, NOW + 1) == "success"
    assert stream(memory, head(4, created=NOW + 2), 4, NOW + 4) == "stale E-86 None"
    assert stream(memory, head(2, created=NOW + 2), 2, NOW + 2) == "stale E-86 None"


def test_a_mark_that_is_old_is_dropped_without_a_floor() -> None:
    memory = StreamMemory(bound=1)
    age = LIMITS.max_age + LIMITS.skew
    old = NOW - age - 1
    assert stream(memory, head(1, created=old), 1, old) == "success"
    assert stream(memory, head(2), 2) == "success"
    assert memory.floor == 0


@pytest.mark.parametrize("offset", [-LIMITS.max_age, LIMITS.skew])
def test_the_bounds_of_age_are_inclusive(offset: int) -> None:
    beyond = offset + (1 if offset > 0 else -1)
    assert live(LiveMemory(started=0), head(1, created=NOW + offset)) == "success"
    assert live(LiveMemory(started=0), head(1, created=NOW + beyond)) == "stale E-73"
    assert stream(StreamMemory(), head(1, created=NOW + offset), 1) == "success"
    assert stream(StreamMemory(), head(1, created=NOW + beyond), 1) == "stale E-81 None"
