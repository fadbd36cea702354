"""The replay memories of the package and of the reference agree on the same messages.

Budgets are tiny, so that pages and sessions are dropped all the time. Both follow the order of
dropping in the specification, and the charges of its scenarios.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envelope.cast import NOW
from tests.examples import examples
from tests.reference import Limits as ReferenceLimits
from tests.reference import LiveMemory as ReferenceLive
from tests.reference import Position, RefusalError
from tests.reference import StreamMemory as ReferenceStream
from tests.reference.head import Head as ReferenceHead
from xkeymsg import Limits, ReplayError, StreamPosition, XKeyMsgError
from xkeymsg.envelope import replay
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.replay import ReplayMemory

MAX_AGE, SKEW = 300_000, 30_000
EDGES = [0, 1, -1, SKEW, SKEW + 1, -SKEW, -SKEW - 1, MAX_AGE, MAX_AGE + 1, -MAX_AGE, -MAX_AGE - 1]
TIMES = st.sampled_from(EDGES) | st.integers(-2 * MAX_AGE, 2 * MAX_AGE)
SENDERS = [bytes([n]) * 32 for n in b"STU"]
COUNTERS = [1, 2, 1023, 1024, 1025, 2**20 - 1, 2**20]
BUDGETS = st.sampled_from([1, 1500, 3000, 6000, 12_000, 1 << 20])


class Message(NamedTuple):
    sender: int
    session: int
    counter: int
    tail: int
    created: int

    def heads(self) -> tuple[Head, ReferenceHead]:
        sender, ephemeral = SENDERS[self.sender], bytes([self.session]) * 32
        nonce = self.counter.to_bytes(4, "big") + self.tail.to_bytes(8, "big")
        created = NOW + self.created
        ours = Head(sender, ephemeral, nonce, created, "a", None, None, None)
        theirs = ReferenceHead(S=sender, E=ephemeral, nonce=nonce, created_ms=created, subject="a")
        return ours, theirs


MESSAGES = st.builds(
    Message,
    sender=st.integers(0, len(SENDERS) - 1),
    session=st.integers(0, 5),
    counter=st.sampled_from(COUNTERS) | st.integers(1, 8),
    tail=st.sampled_from([7, 7, 7, 8, 7 + 255]),
    created=st.integers(-20, 20) | TIMES,
)


class Step(NamedTuple):
    """An arriving message by its number, its handler's action, and the time that passes before."""

    message: int
    admitted: bool
    place: int
    then: str
    seconds: int


STEPS = st.builds(
    Step,
    message=st.integers(0, 39),
    admitted=st.booleans() | st.just(True),
    place=st.integers(0, 2),
    then=st.sampled_from(["settle", "settle", "settle", "otherwise", "release", "nothing"]),
    seconds=st.sampled_from([0, 0, 0, 1, 1800, 3600]),
)
SCRIPTS = st.tuples(st.lists(MESSAGES, min_size=1, max_size=40), st.lists(STEPS, max_size=80))


def limits_of(budget: int, strangers: int, pending: int) -> tuple[Limits, ReferenceLimits]:
    ours = Limits(replay_bytes=budget, replay_bytes_unadmitted=strangers, replay_pending=pending)
    theirs = ReferenceLimits(replay=budget, replay_unadmitted=strangers, pending=pending)
    return ours, theirs


class Seconds:
    """The monotonic clock of the package's memory."""

    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def seconds() -> Iterator[Seconds]:
    clock = Seconds()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replay, "monotonic", clock)
        patch.setattr(replay, "SWEEP", 0)  # with each message, as in the reference
        yield clock


@settings(deadline=None, max_examples=examples(100))
@given(SCRIPTS, BUDGETS, BUDGETS, st.lists(TIMES, max_size=80), TIMES)
def test_live_memories_agree(
    seconds: Seconds,
    script: tuple[list[Message], list[Step]],
    budget: int,
    strangers: int,
    times: list[int],
    started: int,
) -> None:
    # Also if the clock is set back: a message that looks stale now may be fresh again.
    ours_limits, theirs_limits = limits_of(budget, strangers, 1)
    ours = ReplayMemory(ours_limits, NOW + started)
    theirs = ReferenceLive(NOW + started, theirs_limits, sweeps=True, at=seconds.now)
    messages, steps = script
    for n, step in enumerate(steps):
        now = NOW + (times[n] if n < len(times) else 0)
        seconds.now += step.seconds
        theirs.at = seconds.now
        head, reference = messages[step.message % len(messages)].heads()
        expected = got = "opens"
        try:
            theirs.fresh(reference, now=now, position=None)
            theirs.mark(reference, admitted=step.admitted, now=now, position=None)
        except RefusalError as refused:
            expected = refused.code
        try:
            ours.check_fresh(head, None, now_ms=now)
            ours.mark(head, None, admitted=step.admitted, now_ms=now)
        except XKeyMsgError as error:
            got = error.code
        assert got == expected


@settings(deadline=None, max_examples=examples(100))
@given(SCRIPTS, BUDGETS, BUDGETS, st.sampled_from([1, 2, 5, 100]))
def test_stream_memories_agree(
    seconds: Seconds,
    script: tuple[list[Message], list[Step]],
    budget: int,
    strangers: int,
    pending: int,
) -> None:
    ours_limits, theirs_limits = limits_of(budget, strangers, pending)
    ours, theirs = ReplayMemory(ours_limits, NOW), ReferenceStream(theirs_limits)
    messages, steps = script
    for step in steps:
        seconds.now += step.seconds
        theirs.at = seconds.now
        head, reference = messages[step.message % len(messages)].heads()
        at = Position("AB"[step.place % 2], step.place, reference.created_ms)
        expected: object = "opens"
        got: object = "opens"
        try:
            theirs.fresh(reference, now=NOW + MAX_AGE, position=at)
            theirs.mark(reference, admitted=step.admitted, now=NOW + MAX_AGE, position=at)
        except RefusalError as refused:
            expected = refused.code, bool(refused.pending)
        try:
            ours.check_fresh(head, StreamPosition(*at), now_ms=NOW + MAX_AGE)
            ours.mark(head, StreamPosition(*at), admitted=step.admitted, now_ms=NOW + MAX_AGE)
        except XKeyMsgError as error:
            first_is_pending = isinstance(error, ReplayError) and error.pending
            got = error.code, first_is_pending
        assert got == expected
        if step.then == "release":
            ours.release(head)
            theirs.release(reference)
        elif step.then != "nothing":
            ours.settle(head, handled=step.then == "settle")
            theirs.settle(reference, handled=step.then == "settle")
        assert ours.state(NOW).pending == len(theirs.pending)


@settings(deadline=None, max_examples=examples(100))
@given(SCRIPTS, st.booleans(), st.lists(TIMES, max_size=80))
def test_nothing_opens_twice_whatever_the_clock_does(
    script: tuple[list[Message], list[Step]], cramped: bool, times: list[int]
) -> None:
    limits = limits_of(1, 1, 1)[0] if cramped else Limits()
    memory, opened = ReplayMemory(limits, NOW - 10 * MAX_AGE), set[Head]()
    messages, steps = script
    for n, step in enumerate(steps):
        now = NOW + (times[n] if n < len(times) else 0)
        head, _ = messages[step.message % len(messages)].heads()
        try:
            memory.check_fresh(head, None, now_ms=now)
            memory.mark(head, None, admitted=step.admitted, now_ms=now)
        except XKeyMsgError:
            continue
        assert head not in opened
        opened.add(head)
