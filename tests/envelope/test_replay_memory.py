"""The replay memory under attack: hostile senders, arbitrary redeliveries, tiny budgets.

Four promises: a handled message never opens again; a pending message opens again at its place; a
sender below its share of the budget loses no mark; and no sender makes a mark expensive.
"""

from __future__ import annotations

import sys
from collections import Counter
from random import Random  # noqa: TID251 - a run has to be repeatable
from types import FrameType

import pytest

from tests.cases import for_each
from tests.envelope.cast import NOW
from tests.envelope.inside import admitted_in, as_after_a_fork
from xkeymsg import Limits, ReplayError, SessionClonedError, StaleError, StreamPosition
from xkeymsg.envelope import replay
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.replay import ReplayMemory

SKEW, MAX_AGE = 30_000, 300_000


def name(text: str) -> bytes:
    return text.encode().ljust(32, b".")


def head(
    sender: str = "alice",
    session: str = "one",
    counter: int = 1,
    created: int = NOW,
    tail: bytes = b"random..",
) -> Head:
    nonce = counter.to_bytes(4, "big") + tail
    return Head(name(sender), name(session), nonce, created, "a", None, None, None)


def deliver(memory: ReplayMemory, message: Head, place: int = 0, *, admitted: bool = True) -> None:
    memory.mark(message, StreamPosition("S", place, NOW), admitted=admitted, now_ms=NOW)


def handle(memory: ReplayMemory, message: Head, place: int = 0, *, admitted: bool = True) -> None:
    deliver(memory, message, place, admitted=admitted)
    memory.settle(message, handled=True)


def outcome(memory: ReplayMemory, message: Head, place: int = 0, *, admitted: bool = True) -> str:
    try:
        deliver(memory, message, place, admitted=admitted)
    except ReplayError as error:
        return "pending" if error.pending else error.code
    except StaleError as error:
        return error.code
    return "opens"


@for_each("seed", range(12))
def test_promises_hold_under_attack(seed: int) -> None:
    draw = Random(seed)
    senders, budget = draw.choice((2, 5)), draw.choice((8_000, 20_000, 100_000))
    most = draw.choice((3, 50, 1000))
    memory = ReplayMemory(Limits(replay_bytes=budget, replay_pending=most), 0)
    clock, counters, made = 10_000, Counter[str](), list[Head]()
    handled, pending = set[Head](), dict[Head, int]()
    above = set[bytes]()
    for _ in range(6_000):
        clock += draw.randint(0, 3)
        hostile = (who := draw.randrange(senders)) == 0
        if not made or draw.random() < 0.5:
            session = f"{who}/{draw.choice((clock // 4000, 0, draw.randrange(100) * hostile))}"
            counters[session] += 1
            counter = draw.randint(1, 2**20) if hostile else counters[session]
            created = clock + (draw.randint(-clock, SKEW) if hostile else draw.randint(-100, 30))
            made.append(head(f"{who}", session, counter, created, draw.randbytes(8)))
            message, place = made[-1], len(made) - 1
        else:
            number = draw.randrange(len(made))
            message, place = made[number], draw.choice((number, draw.randrange(10**6)))
        got = outcome(memory, message, place)
        if got == "opens":
            assert message not in handled, "a handled message opened again"
            pending[message] = place
        elif got == "stale":
            assert message.sender in above, "a sender below its share lost a mark"
            assert message not in pending or len(pending) > most
        elif got == "pending" and message in pending:
            assert pending[message] != place or len(pending) > most, "a redelivery was refused"
        if got == "opens" and (luck := draw.random()) < 0.9:
            memory.settle(message, handled=luck < 0.7)
            handled |= {message} if luck < 0.7 else set()
            pending.pop(message)
        elif got == "opens":
            memory.release(message)
        share = budget * 15 // 16 // len(admitted_in(memory) or "1") - 2000
        above |= {key for key, each in admitted_in(memory).items() if each.cost >= share}
        assert memory.state(clock).size <= budget + 2 * 2000
    assert memory.state(clock).dropped > 0
    assert len(handled) > 1000


def test_a_flood_dated_ahead_affects_no_other_sender() -> None:
    # 20,000 sessions and 20,000 random counters of one sender, 29 s ahead, against 50 messages of
    # quiet senders, 25 s behind.
    memory = ReplayMemory(Limits(replay_bytes=1 << 20), 0)
    quiet = [f"quiet {n}" for n in range(50)]
    for n, sender in enumerate(quiet):
        handle(memory, head(sender, created=NOW - 25_000), n)
    for n in range(40_000):
        session = "x" if n % 2 else f"x{n}"
        handle(memory, head("mallory", session, 1 + n * 7919 % 2**20, NOW + 29_000 + n), n)
    assert memory.state(NOW).dropped > 10_000
    for n, sender in enumerate(quiet):
        assert outcome(memory, head(sender, created=NOW - 25_000), 7) == "replay"
        for counter in range(2, 22):
            handle(memory, head(sender, counter=counter, created=NOW - 25_000), n)


def test_a_late_message_opens_after_a_hundred_thousand_others() -> None:
    # No attack: one sender is busy, and a message of another was in transit for a while.
    memory = ReplayMemory(Limits(), 0)
    for n in range(100_000):
        handle(memory, head("busy", counter=1 + n, created=NOW + n), n)
    handle(memory, head("slow", created=NOW), 100_000)
    handle(memory, head("busy", "another session of the busy one", created=NOW), 100_001)
    state = memory.state(NOW)
    assert (state.covers, state.dropped) == (None, 0)
    assert state.size < 200_000


@for_each("kind", ["sessions", "pages", "counters", "strangers", "senders"])
def test_a_mark_costs_a_bounded_number_of_steps_whatever_came_before(kind: str) -> None:
    # Counted in lines, not in seconds: twice the budget, and so twice the pages, must not slow down
    # a mark of a sender that is over its budget.
    steps = [lines_for_each_mark(kind, budget) for budget in (1 << 18, 1 << 20)]
    assert steps[1] < 1.5 * steps[0]
    assert steps[1] < 1000


def lines_for_each_mark(kind: str, budget: int) -> float:
    memory = ReplayMemory(Limits(replay_bytes=budget, replay_bytes_unadmitted=budget), 0)
    draw, number = Random(2), 0

    def mark() -> None:
        nonlocal number
        number += 1
        session = {"sessions": f"{number}", "pages": "one", "counters": f"{number // 64}"}
        counter = {"sessions": 1, "pages": 1 + 1024 * number % 2**20}
        message = head(
            f"{number}" if kind in ("senders", "strangers") else "mallory",
            session.get(kind, "one") + f"/{number // 1024}",
            counter.get(kind, draw.randint(1, 2**20)),
            NOW + number,
            draw.randbytes(8),
        )
        memory.mark(message, None, admitted=kind != "strangers", now_ms=NOW)

    while memory.state(NOW).dropped == 0:
        mark()
    lines, most = 0, budget // 4 // 440

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal lines
        if frame.f_code.co_filename == replay.__file__:
            lines += 1
            return trace
        return None

    traced = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        for _ in range(most):
            mark()
    finally:
        sys.settrace(traced)
    return lines / most


def test_pending_messages_over_the_bound_cost_no_search() -> None:
    memory = ReplayMemory(Limits(replay_pending=2000), 0)
    for n in range(20_000):
        deliver(memory, head(counter=1 + n), n)
        if n % 2:
            memory.release(head(counter=1 + n))
    assert memory.state(NOW).pending == 2000
    assert outcome(memory, head(counter=20_000), 7) == "pending"


def test_senders_that_are_forgotten_keep_their_floor() -> None:
    # Trust admits whole accounts, and one of them makes a key for each message.
    memory = ReplayMemory(Limits(replay_bytes=20_000), 0)
    marked = [head(f"{n}", created=NOW + n) for n in range(300)]
    for n, message in enumerate(marked):
        handle(memory, message, n)
    assert memory.state(NOW).size <= 20_000 + 2000
    assert len(admitted_in(memory)) < 40
    for message in marked:
        assert outcome(memory, message, 7) in ("stale", "replay")
        assert outcome(memory, message, 7, admitted=False) in ("stale", "replay")


def test_the_state_says_what_the_memory_covers() -> None:
    memory = ReplayMemory(Limits(replay_bytes=10_000, replay_bytes_unadmitted=3_000), 0)
    for n in range(10):
        handle(memory, head("stranger", f"{n}", created=NOW + n), n, admitted=False)
    state = memory.state(NOW)
    assert (state.covers, state.pending, state.budget) == (None, 0, 13_000)
    assert state.dropped > 0, "strangers' pages are counted"
    marked = [head("alice", f"{n}", created=NOW + 1000 * n) for n in range(1, 31)]
    for n, message in enumerate(marked):
        handle(memory, message, n)
    deliver(memory, head("alice", "new", created=NOW + 60_000), 99)
    state = memory.state(NOW + 60_000)
    assert state.pending == 1
    dropped = [outcome(memory, message) for message in marked].count("stale")
    assert 0 < dropped < 30
    assert state.covers == 60 - dropped
    assert memory.state(NOW).covers == 0, "not negative: the message was dated ahead"


@pytest.mark.parametrize("handled", [True, False])
def test_a_message_that_was_settled_by_another_number_is_not_touched(*, handled: bool) -> None:
    memory = ReplayMemory(Limits(), 0)
    deliver(memory, head(counter=1))
    memory.settle(head(counter=2), handled=handled)
    memory.settle(head(counter=1, tail=b"another."), handled=handled)
    memory.release(head(counter=2))
    assert outcome(memory, head(counter=1)) == "opens"
    assert memory.state(NOW).pending == 1


def test_two_messages_with_one_number_raise_the_floor_above_both() -> None:
    # A sender and a broker together: another time of sealing under the same nonce, at one place.
    memory = ReplayMemory(Limits(replay_bytes=3000), 0)
    early, late = head(created=NOW), head(created=NOW + 500)
    deliver(memory, early)
    deliver(memory, late)
    memory.settle(early, handled=True)
    for n in range(3):
        handle(memory, head(session=f"{n}", created=NOW + 1 + n), n)
    assert outcome(memory, early) == "stale"
    assert outcome(memory, late) == "stale"


class Stop(BaseException):
    """The moment of a fork: the child continues from here, without the working thread."""


@for_each("admitted", [True, False])
@for_each("kind", ["settle", "adopt", "live"])
def test_nothing_handled_opens_in_a_child_forked_in_the_middle_of_a_change(
    kind: str, *, admitted: bool
) -> None:
    # The change is stopped after each of its lines in turn. Handled messages stay closed, and the
    # memory keeps working.
    stops = 0
    while True:
        memory, handled = filled(kind, admitted=admitted)
        last = head("mallory" if kind == "adopt" else "alice", "last", 7, NOW + 100)
        if not stopped(memory, last, kind, stops, admitted=admitted):
            break
        stops += 1
        as_after_a_fork(memory)
        if kind != "live":
            assert outcome(memory, last, 54) != "opens", "neither pending nor marked"
        for message in handled:
            assert outcome(memory, message, 55) in ("stale", "replay"), stops
        for n in range(12):
            handle(memory, head("alice", f"later {n}", 1, NOW + 1000 + n), n)
            handle(memory, head("mallory", f"later {n}", 1, NOW + 1000 + n), n)
        for message in handled:
            assert outcome(memory, message, 56) in ("stale", "replay"), stops
    assert stops > 10


def filled(kind: str, *, admitted: bool) -> tuple[ReplayMemory, list[Head]]:
    """Return a full memory: the next mark drops a page."""
    memory = ReplayMemory(Limits(replay_bytes=6000, replay_bytes_unadmitted=6000), 0)
    alice = [head("alice", f"{n}", 1 + 1024 * n, NOW + n) for n in range(6)]
    mallory = [head("mallory", f"{n}", 1, NOW + n) for n in range(6)]
    for message in (*alice, *mallory):
        known = admitted and message in alice
        if kind == "live":  # only live marks sweep
            memory.mark(message, None, admitted=known, now_ms=NOW)
        else:
            handle(memory, message, admitted=known)
    return memory, [*alice, *mallory]


def stopped(memory: ReplayMemory, last: Head, kind: str, stop: int, *, admitted: bool) -> bool:
    """Mark a message and stop after `stop` lines; return False if marking completed."""
    if kind != "live":
        deliver(memory, last, admitted=admitted or kind == "adopt")
    left = stop

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal left
        if frame.f_code.co_filename != replay.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                raise Stop
        return trace

    traced = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        if kind == "live":
            memory.mark(last, None, admitted=admitted, now_ms=NOW + MAX_AGE + 10 * SKEW)
        else:
            memory.settle(last, handled=True)
    except Stop:
        return True
    finally:
        sys.settrace(traced)
    return False


def test_a_clone_of_a_pending_message_is_told_by_all_eight_bytes() -> None:
    memory = ReplayMemory(Limits(), 0)
    deliver(memory, head(tail=bytes(8)))
    with pytest.raises(SessionClonedError):
        deliver(memory, head(tail=(255).to_bytes(8, "big")))
