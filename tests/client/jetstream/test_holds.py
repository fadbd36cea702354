"""When a consumer holds: an outage, or a wrong key; the rules alone, with time as an argument."""

from __future__ import annotations

import errno
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.cases import for_each
from tests.client.jetstream.inside import attempts_kept, is_trying
from tests.examples import examples
from xkeymsg.client.jetstream.holds import Outage, Proof, is_shortage, is_temporary
from xkeymsg.errors import ConnectionFailedError, DeliveryError, PayloadTooLargeError, StaleError

DELIVERIES = 5


# --- outages --------------------------------------------------------------------------------------


class Outages(RuleBasedStateMachine):
    """Messages are tried and fail or not, in any order; a model counts what that proves."""

    def __init__(self) -> None:
        super().__init__()
        self.outage = Outage()
        self.now = 0.0
        self.flying: set[int] = set()
        self.failed: dict[int, bool] = {}
        self.proved: dict[int, int] = {}
        self.tried_at: float | None = None

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.outage.wait(self.now) == 0)
    @rule(sequence=st.integers(1, 8))
    def one_is_tried(self, sequence: int) -> None:
        if sequence in self.flying:
            return
        if self.outage.is_on and self.tried_at is not None:
            assert self.now - self.tried_at >= 60  # one at a time, unless it hangs
        self.outage.begin(sequence, self.now)
        self.flying.add(sequence)
        self.tried_at = self.now if self.outage.is_on else None

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), ours=st.booleans())
    def one_fails(self, data: st.DataObject, ours: bool) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.flying)))
        self.flying.discard(sequence)
        was, before = self.outage.is_on, self.outage.attempts(sequence)
        self.outage.failed(sequence, self.now, counts=not ours)
        assert self.outage.attempts(sequence) == before  # alone, it proves nothing
        if not was:
            self.failed[sequence] = not ours
            assert self.outage.is_on == (len(self.failed) >= 3)
        if self.outage.is_on:
            self.failed.clear()
            self.tried_at = self.tried_at if is_trying(self.outage) else None

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def one_is_taken(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.flying)))
        self.flying.discard(sequence)
        self.outage.taken(sequence)
        assert not self.outage.is_on
        self.failed.pop(sequence, None)
        self.proved.pop(sequence, None)
        for other, counts in self.failed.items():
            self.proved[other] = self.proved.get(other, 0) + counts
        self.failed.clear()
        self.tried_at = None

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def one_ends_without_a_result(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.flying)))
        self.flying.discard(sequence)
        self.outage.ended(sequence, self.now)
        self.tried_at = self.tried_at if is_trying(self.outage) else None

    @invariant()
    def only_failures_while_others_pass_count(self) -> None:
        for sequence in range(1, 9):
            assert self.outage.attempts(sequence) == self.proved.get(sequence, 0)

    @invariant()
    def the_next_attempt_is_near(self) -> None:
        assert 0 <= self.outage.wait(self.now) <= 60.001
        if not self.outage.is_on:
            assert self.outage.wait(self.now) == 0


TestOutages = Outages.TestCase
TestOutages.settings = settings(max_examples=examples(100), stateful_step_count=40, deadline=None)


class Line:
    """Messages that are tried in turn, some at once; `bad` ones never pass, others after `down`."""

    def __init__(self, bad: set[int], down: float) -> None:
        self.bad, self.down = bad, down
        self.outage, self.now = Outage(), 0.0
        self.queue, self.retried = deque(range(40)), deque[int]()
        self.next = 40
        self.was_new = False
        self.taken: set[int] = set()
        self.given_up: set[int] = set()

    def step(self, workers: int) -> None:
        self.now += self.outage.wait(self.now) or 0.01
        batch = [self._get() for _ in range(1 if self.outage.is_on else workers)]
        for each in batch:
            self.outage.begin(each, self.now)
        for each in batch:
            self._end(each)

    def _get(self) -> int:
        """As `KeyedQueue`."""
        new = self.queue and (self.outage.is_on or not self.was_new or not self.retried)
        self.was_new = bool(new)
        return (self.queue if new else self.retried).popleft()

    def _end(self, each: int) -> None:
        if self.outage.attempts(each) >= DELIVERIES:
            self.outage.ended(each, self.now)
            self.outage.settle(each)
            self.given_up.add(each)
        elif self.now < self.down or each in self.bad:
            self.outage.failed(each, self.now)
            self.retried.append(each)
        else:
            self.outage.taken(each)
            self.taken.add(each)
            self.queue.append(self.next)  # others keep arriving
            self.next += 1


@settings(max_examples=examples(25), deadline=None)
@given(
    bad=st.sets(st.integers(0, 39), max_size=30),
    workers=st.integers(1, 6),
    down=st.integers(0, 300),
)
def test_everything_good_passes_after_an_outage_and_what_never_passes_is_given_up(
    bad: set[int], workers: int, down: int
) -> None:
    """However many fail each time: they stop nothing, and no good message is given up."""
    line, good = Line(bad, down), set(range(40)) - bad
    while not (line.taken >= good and line.given_up == bad):
        line.step(workers)
        assert line.now < down + 600
        assert line.given_up <= bad


@given(st.lists(st.integers(0, 100), max_size=60))
def test_an_outage_of_any_length_counts_for_no_message(order: list[int]) -> None:
    outage, now = Outage(), 0.0
    for each in order:
        now += outage.wait(now)
        outage.begin(each, now)
        outage.failed(each, now)
    assert {outage.attempts(each) for each in range(101)} == {0}
    assert outage.is_on == (len(set(order)) >= 3)


def test_the_pauses_grow_from_one_second_to_thirty() -> None:
    outage = Outage()
    for each in (1, 2, 3):
        outage.failed(each, 0.0)
    pauses, now = [outage.wait(0.0)], 0.0
    for each in range(8):
        now += outage.wait(now)
        outage.begin(each, now)
        outage.failed(each, now)
        pauses.append(outage.wait(now))
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30]
    outage.taken(9)
    assert outage.wait(now) == 0


def test_one_message_alone_is_tried_again_and_never_given_up() -> None:
    outage = Outage()
    for _ in range(100):
        outage.failed(1, 0.0)
    assert not outage.is_on
    assert outage.attempts(1) == 0


def test_attempts_take_bounded_memory() -> None:
    outage = Outage()
    for sequence in range(30_000):
        outage.failed(sequence, 0.0)
        outage.taken(-1)
    assert attempts_kept(outage) == 10_000


# --- the key and the peers ------------------------------------------------------------------------


class Proofs(RuleBasedStateMachine):
    """Messages that open or not, and records that fill the ring."""

    def __init__(self) -> None:
        super().__init__()
        self.proof = Proof()
        self.now = 0.0
        self.opened = False
        self.sequence = 0
        self.failed = 0
        self.filled = 0.0

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 60), code=st.sampled_from(["not_a_recipient", "malformed"]))
    def some_do_not_open(self, count: int, code: str) -> None:
        for _ in range(count):
            self.sequence += 1
            self.proof.failed(self.sequence, code)
        self.failed += count * (code != "malformed") * (not self.opened)

    @rule(share=st.floats(0, 0.3))
    def a_record_is_written(self, share: float) -> None:
        self.proof.recorded(share)
        self.filled += share * (not self.opened)

    @rule()
    def one_opens(self) -> None:
        self.proof.opened()
        self.opened = True

    @rule()
    def key_or_peers_change(self) -> None:
        self.proof.reset()
        self.filled *= not self.opened
        self.opened, self.failed = False, 0

    @precondition(lambda self: self.proof.wait(self.now) == 0)
    @rule()
    def some_are_requested(self) -> None:
        self.proof.begin(self.now)

    @invariant()
    def strangers_alone_hold_nothing_until_half_of_the_ring_is_full(self) -> None:
        assert self.proof.is_full == (not self.opened and self.filled >= 0.5)
        suspect = not self.opened and (self.failed >= 100 or self.filled >= 0.5)
        assert self.proof.is_suspect == suspect
        assert 0 <= self.proof.wait(self.now) <= 30.001
        if not self.proof.is_full:
            assert self.proof.wait(self.now) == 0


TestProofs = Proofs.TestCase
TestProofs.settings = settings(max_examples=examples(50), stateful_step_count=40, deadline=None)


def test_the_cause_is_the_most_frequent_one() -> None:
    proof = Proof()
    for sequence in range(90):
        proof.failed(sequence, "not_a_recipient")
    for sequence in range(90, 100):
        proof.failed(sequence, "sender_not_admitted")
    said = "none of 100 messages has opened; 90 are sealed to other keys: check the seed file"
    assert proof.why() == said


def test_retries_of_one_message_are_one_message() -> None:
    proof = Proof()
    for _ in range(1000):
        proof.failed(7, "not_a_recipient")
    assert not proof.is_suspect


def test_senders_revoked_by_mistake_are_suspect_too() -> None:
    proof = Proof()
    for sequence in range(100):
        proof.failed(sequence, "sender_revoked")
    assert proof.is_suspect
    assert proof.why().endswith("100 have senders that are revoked: check trust")


def test_messages_given_back_leave_room_for_others() -> None:
    assert Proof.delay(1000, 100) == 240
    assert Proof.delay(1, 1) == 30


# --- errors ---------------------------------------------------------------------------------------


@for_each(
    ("error", "for_now", "ours"),
    [
        (MemoryError(), True, True),
        (RuntimeError("can't start new thread"), True, True),
        (OSError(errno.EMFILE, "too many"), True, True),
        (BlockingIOError(errno.EAGAIN, "fork"), True, True),
        (OSError(errno.ENOSPC, "no space"), True, False),
        (ConnectionRefusedError(), True, False),
        (TimeoutError(), True, False),
        (DeliveryError("x"), True, False),
        (ConnectionFailedError("x"), True, False),
        (PayloadTooLargeError(2, 1), False, False),
        (StaleError("x"), False, False),
        (RuntimeError("x"), False, False),
        (FileNotFoundError(errno.ENOENT, "x"), False, False),
        (ValueError(), False, False),
    ],
)
def test_which_errors_are_temporary(error: Exception, for_now: bool, ours: bool) -> None:
    assert (is_temporary(error), is_shortage(error)) == (for_now, ours)
