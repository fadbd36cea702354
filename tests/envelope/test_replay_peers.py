"""The memories of the package and of the reference, given the same messages, say the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envelope.cast import NOW
from tests.reference import LiveMemory as ReferenceLive
from tests.reference import Position, RefusalError
from tests.reference import StreamMemory as ReferenceStream
from tests.reference.head import Head as ReferenceHead
from xkeymsg import Limits, StreamPosition, XKeyMsgError
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.replay import LiveMemory, StreamMemory

MAX_AGE, SKEW = 300_000, 30_000
EDGES = [0, 1, -1, SKEW, SKEW + 1, -SKEW, -SKEW - 1, MAX_AGE, MAX_AGE + 1, -MAX_AGE, -MAX_AGE - 1]
TIMES = st.sampled_from(EDGES) | st.integers(-2 * MAX_AGE, 2 * MAX_AGE)
COUNTERS = [1, 2, 3, 4, 512, 513, 4096, 2**20]
MESSAGES = st.tuples(
    st.sampled_from([b"S" * 32, b"T" * 32]),
    st.sampled_from([b"E" * 32, b"F" * 32]),
    st.sampled_from(COUNTERS),
    st.sampled_from([b"machine1", b"machine1", b"machine2"]),
)
AGES = st.lists(TIMES, min_size=len(COUNTERS), max_size=len(COUNTERS))
"""A message was sealed once: when, depends on its number."""
Message = tuple[bytes, bytes, int, bytes]


def heads(message: Message, ages: list[int]) -> tuple[Head, ReferenceHead]:
    sender, ephemeral, counter, tail = message
    nonce, created = counter.to_bytes(4, "big") + tail, NOW + ages[COUNTERS.index(counter)]
    ours = Head(sender, ephemeral, nonce, created, "a", None, None, None)
    theirs = ReferenceHead(S=sender, E=ephemeral, nonce=nonce, created_ms=created, subject="a")
    return ours, theirs


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(MESSAGES, TIMES, st.booleans()), max_size=30), TIMES, AGES)
def test_live_memories_agree(
    events: list[tuple[Message, int, bool]], started: int, ages: list[int]
) -> None:
    # The clock does not go back: the reference forgets at once what has become stale.
    ours, theirs = LiveMemory(Limits(), NOW + started), ReferenceLive(NOW + started)
    clock = sorted(NOW + offset for _, offset, _ in events)
    for (message, _, admitted), now in zip(events, clock, strict=True):
        head, reference = heads(message, ages)
        expected = "marked"
        try:
            theirs.fresh(reference, admitted=admitted, now=now, position=None)
            theirs.mark(reference, admitted=admitted, now=now, position=None)
        except RefusalError as refused:
            expected = refused.code
        got = "marked"
        try:
            ours.check_fresh(head, now_ms=now)
            ours.mark(head, admitted=admitted, now_ms=now)
        except XKeyMsgError as error:
            got = error.code
        assert got == expected


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(MESSAGES, TIMES, st.booleans()), max_size=30), st.booleans(), AGES)
def test_nothing_opens_twice_whatever_the_clock_does(
    events: list[tuple[Message, int, bool]], cramped: bool, ages: list[int]
) -> None:
    limits = Limits(live_sender=1, live_total=1, live_unadmitted=1) if cramped else Limits()
    live, opened = LiveMemory(limits, NOW - 10 * MAX_AGE), set[tuple[bytes, bytes, int]]()
    for (sender, ephemeral, counter, tail), offset, admitted in events:
        head, _ = heads((sender, ephemeral, counter, tail), ages)
        try:
            live.check_fresh(head, now_ms=NOW + offset)
            live.mark(head, admitted=admitted, now_ms=NOW + offset)
        except XKeyMsgError:
            continue
        assert (sender, ephemeral, counter) not in opened
        opened.add((sender, ephemeral, counter))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.tuples(MESSAGES, TIMES, TIMES, st.sampled_from("AB"), st.integers(1, 4), st.booleans()),
        max_size=30,
    ),
    AGES,
)
def test_stream_memories_agree(
    events: list[tuple[Message, int, int, str, int, bool]], ages: list[int]
) -> None:
    ours, theirs = StreamMemory(Limits()), ReferenceStream()
    for message, offset, stored, stream, sequence, settle in events:
        head, reference = heads(message, ages)
        now, at = NOW + offset, Position(stream, sequence, NOW + stored)
        expected: object = "marked"
        try:
            theirs.fresh(reference, admitted=True, now=now, position=at)
            theirs.mark(reference, admitted=True, now=now, position=at)
        except RefusalError as refused:
            expected = refused.code, refused.pending if refused.code == "replay" else None
        got: object = "marked"
        try:
            ours.check_fresh(head, StreamPosition(*at), now_ms=now)
            ours.mark(head, StreamPosition(*at))
        except XKeyMsgError as error:
            got = error.code, getattr(error, "pending", None) if error.code == "replay" else None
        assert got == expected
        if settle and got == "marked":
            ours.settle(head)
            theirs.answered(reference)
