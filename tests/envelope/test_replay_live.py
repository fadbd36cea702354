"""Replays over core NATS: whoever can publish has a copy of everything, and all the time."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tests.envelope.cast import (
    ALICE,
    BOB,
    NOW,
    SUBJECT,
    Clock,
    code_of,
    pair,
)
from tests.envelope.forge import Rogue
from xkeymsg import (
    ANYONE,
    Limits,
    Message,
    Opener,
    ReplayError,
    Sealer,
    SessionClonedError,
    StaleError,
    XKeyMsgError,
)

MAX_AGE, SKEW = 300_000, 30_000
SECOND = 1000


@pytest.fixture
def opener(clock: Clock) -> Opener:
    """An opener that has been there for long: nothing is from before it began."""
    clock.ms = NOW - 10 * MAX_AGE
    opener = Opener(BOB, {ALICE.public})
    clock.ms = NOW
    return opener


def take(opener: Opener, rogue: Rogue) -> Message:
    return opener.open(rogue.envelope(), subject=">")


def test_a_copy_is_refused_however_often_it_comes(opener: Opener) -> None:
    take(opener, Rogue())
    for _ in range(3):
        assert code_of(opener, Rogue().envelope()) == "replay"


def test_a_copy_is_refused_under_another_wire_subject_too(opener: Opener) -> None:
    envelope = Rogue(subject=SUBJECT).envelope()
    opener.open(envelope, subject=">", wire_subject=SUBJECT)
    with pytest.raises(ReplayError):
        opener.open(envelope, subject=SUBJECT)


def test_messages_may_come_in_any_order_and_each_once(opener: Opener) -> None:
    # E-77: the broker may reorder; and a session's other messages went elsewhere.
    counters = [2**20, 1, 500_000, 2, 499_999, 8, 7, 9, 4096, 4095]
    for counter in counters:
        take(opener, Rogue(counter=counter))
    for counter in sorted(counters):
        assert code_of(opener, Rogue(counter=counter).envelope()) == "replay"
    take(opener, Rogue(counter=3))


def test_the_same_counter_of_another_session_or_sender_is_another_message(opener: Opener) -> None:
    take(opener, Rogue())
    take(opener, Rogue(ephemeral=pair(1)))
    other = Rogue(S=pair(2).public, secret=pair(2))
    opener.open(other.envelope(), subject=">", senders={pair(2).public})


def test_another_message_with_a_counter_that_was_used_shows_a_cloned_sender(
    opener: Opener,
) -> None:
    # E-71: a virtual machine was copied while it ran, and both go on counting.
    take(opener, Rogue(tail=b"machine1"))
    with pytest.raises(SessionClonedError):
        take(opener, Rogue(tail=b"machine2"))


def test_what_is_not_kept_any_more_is_still_a_replay(opener: Opener) -> None:
    # E-76: the random bytes of the last 1,024 counters are kept, the counters of all.
    take(opener, Rogue(counter=1, tail=b"machine1"))
    for counter in range(2, 1025):
        take(opener, Rogue(counter=counter))
    assert code_of(opener, Rogue(counter=1, tail=b"machine2").envelope()) == "session_cloned"
    for counter in range(1025, 1030):
        take(opener, Rogue(counter=counter))
    assert code_of(opener, Rogue(counter=1, tail=b"machine2").envelope()) == "replay"
    assert code_of(opener, Rogue(counter=1, tail=b"machine1").envelope()) == "replay"
    assert code_of(opener, Rogue(counter=6, tail=b"machine2").envelope()) == "session_cloned"
    take(opener, Rogue(counter=1030))


@pytest.mark.parametrize("age", [MAX_AGE, 0, -SKEW])
def test_the_bounds_of_freshness_belong_to_it(opener: Opener, age: int) -> None:
    # E-73
    take(opener, Rogue(created_ms=NOW - age))


@pytest.mark.parametrize("age", [MAX_AGE + 1, -SKEW - 1, 10**9, -(10**9)])
def test_what_is_older_or_newer_than_the_bounds_is_stale(opener: Opener, age: int) -> None:
    # E-73: the attacker kept it for six minutes, or the sender's clock is ahead.
    assert code_of(opener, Rogue(created_ms=NOW - age).envelope()) == "stale"


def test_stale_says_which_policy_would_open_it(opener: Opener) -> None:
    with pytest.raises(StaleError, match="position in a stream, or the replay policy 'file'"):
        take(opener, Rogue(created_ms=NOW - MAX_AGE - 1))


def test_after_a_restart_what_was_sealed_before_it_is_stale(clock: Clock) -> None:
    # E-74: the new process knows nothing of what the old one has opened.
    envelope = Rogue(created_ms=NOW - SKEW - 1).envelope()
    assert code_of(Opener(BOB, {ALICE.public}), envelope) == "stale"


def test_after_a_restart_the_last_seconds_before_it_may_open_twice(clock: Clock) -> None:
    # The limit that the specification states: clocks differ by up to `skew`.
    envelope = Rogue(created_ms=NOW - SKEW).envelope()
    for _ in range(2):
        Opener(BOB, {ALICE.public}).open(envelope, subject=">")


def test_another_worker_opens_a_copy(clock: Clock) -> None:
    # The limit that the specification states: workers share no memory, so each may accept one copy.
    envelope = Rogue().envelope()
    workers = [Opener(BOB, {ALICE.public}) for _ in range(2)]
    for worker in workers:
        worker.open(envelope, subject=">")
    assert [code_of(worker, envelope) for worker in workers] == ["replay", "replay"]


def test_overlapping_subscriptions_each_get_their_copy(clock: Clock) -> None:
    # E-70
    envelope = Rogue().envelope()
    for _ in range(2):
        assert Opener(BOB, {ALICE.public}).open(envelope, subject=">").subject == SUBJECT


def test_a_refused_message_leaves_no_mark(opener: Opener) -> None:
    # E-72: it was asked for under a wrong subject first; the right one still gets it.
    envelope = Rogue().envelope()
    with pytest.raises(XKeyMsgError):
        opener.open(envelope, subject="something.else")
    with pytest.raises(XKeyMsgError):
        opener.open(envelope, subject=">", wire_subject="something.else")
    assert opener.open(envelope, subject=SUBJECT).subject == SUBJECT


def small(clock: Clock, **budgets: int) -> Opener:
    """An opener with room for a few sessions."""
    clock.ms = NOW - 10 * MAX_AGE
    opener = Opener(BOB, {ALICE.public}, limits=Limits(**budgets))  # type: ignore[arg-type]
    clock.ms = NOW
    return opener


def sessions(count: int, **changes: object) -> list[Rogue]:
    return [
        Rogue(ephemeral=pair(10_000 + n), created_ms=NOW - MAX_AGE + n).but(**changes)
        for n in range(count)
    ]


def test_what_had_to_be_forgotten_is_stale_and_no_copy_opens(clock: Clock) -> None:
    # E-75, E-78: the attacker has the sender open many sessions, and then sends the first again.
    opener = small(clock, live_sender=10_000)
    rogues = sessions(60)
    for rogue in rogues:
        take(opener, rogue)
    codes = {code_of(opener, rogue.envelope()) for rogue in rogues}
    assert codes == {"stale", "replay"}
    assert code_of(opener, rogues[0].envelope()) == "stale"
    assert code_of(opener, rogues[-1].envelope()) == "replay"


def test_the_floor_holds_in_sessions_that_are_met_again(clock: Clock) -> None:
    # E-75: a later message of a forgotten session brings it back, but not its old marks.
    opener = small(clock, live_sender=10_000)
    for rogue in sessions(60):
        take(opener, rogue)
    old = sessions(1)[0]
    take(opener, old.but(counter=2, created_ms=NOW))
    assert code_of(opener, old.envelope()) == "stale"


def test_the_session_just_marked_is_not_the_one_to_go(clock: Clock) -> None:
    # There is room for less than one. What is forgotten raises the floor above what is kept.
    opener = small(clock, live_sender=1)
    old, middle, new = sessions(3)
    take(opener, new)
    take(opener, middle)
    assert code_of(opener, old.envelope()) == "stale"
    assert code_of(opener, new.envelope()) == "stale"
    take(opener, new.but(counter=2, created_ms=NOW))


def test_one_senders_flood_makes_only_its_own_messages_stale(clock: Clock) -> None:
    opener = small(clock, live_sender=10_000)
    other = {pair(5).public, ALICE.public}
    honest = Rogue(S=pair(5).public, secret=pair(5), created_ms=NOW - MAX_AGE)
    opener.open(honest.envelope(), subject=">", senders=other)
    for rogue in sessions(60):
        take(opener, rogue)
    opener.open(honest.but(counter=2).envelope(), subject=">", senders=other)
    assert code_of(opener, Rogue(created_ms=NOW - MAX_AGE).envelope()) == "stale"


def test_all_admitted_senders_together_have_a_budget_as_well(clock: Clock) -> None:
    opener = small(clock, live_total=10_000)
    senders = [pair(20_000 + n) for n in range(60)]
    rogues = [
        Rogue(S=one.public, secret=one, created_ms=NOW - MAX_AGE + n)
        for n, one in enumerate(senders)
    ]
    admitted = {one.public for one in senders}
    for rogue in rogues:
        opener.open(rogue.envelope(), subject=">", senders=admitted)
    assert sum(budget.cost for budget in opener._live._admitted.values()) <= 10_000
    for rogue in rogues:
        with pytest.raises((ReplayError, StaleError)):
            opener.open(rogue.envelope(), subject=">", senders=admitted)


def test_the_account_of_all_budgets_is_right(clock: Clock) -> None:
    opener = small(clock, live_sender=4000, live_total=20_000, live_unadmitted=5000)
    senders = [pair(30_000 + n) for n in range(12)]
    for n in range(150):
        one = senders[n * n % 12]
        rogue = Rogue(S=one.public, secret=one, ephemeral=pair(n % 40), counter=n + 1)
        rogue = rogue.but(created_ms=NOW - MAX_AGE + n)
        known = {each.public for each in senders[: n % 12]}
        opener.open(rogue.envelope(), subject=">", senders=known if one in known else ANYONE)
    live = opener._live
    for budget in (live._strangers, *live._admitted.values()):
        assert budget.cost == sum(each.cost for each in budget.sessions.values())
    assert live._total == sum(budget.cost for budget in live._admitted.values())


def test_a_session_of_which_every_copy_is_stale_is_forgotten_without_a_trace(
    clock: Clock,
) -> None:
    # E-78
    opener = small(clock, live_sender=10_000)
    for rogue in sessions(10):
        take(opener, rogue)
    clock.ms += 2 * MAX_AGE
    for n in range(10):
        take(opener, Rogue(ephemeral=pair(n), created_ms=clock.ms))
    assert len(opener._live._admitted[bytes(ALICE.public)].sessions) < 20
    take(opener, Rogue(created_ms=clock.ms - MAX_AGE))


def test_a_sender_that_was_admitted_keeps_its_floor_where_anyone_may_send(clock: Clock) -> None:
    # E-75: the reader has forgotten Alice's first session and raised her floor. The attacker sends
    # the old message to where the same reader takes anyone.
    opener = small(clock, live_sender=10_000)
    rogues = sessions(60)
    for rogue in rogues:
        take(opener, rogue)
    with pytest.raises(StaleError):
        opener.open(rogues[0].envelope(), subject=">", senders=ANYONE)


def test_strangers_do_not_make_the_messages_of_an_admitted_sender_stale(clock: Clock) -> None:
    # E-79
    opener = small(clock, live_unadmitted=10_000)
    take(opener, Rogue(created_ms=NOW - MAX_AGE))
    for n in range(60):
        one = pair(40_000 + n)
        stranger = Rogue(S=one.public, secret=one, created_ms=NOW + n)
        opener.open(stranger.envelope(), subject=">", senders=ANYONE)
    take(opener, Rogue(created_ms=NOW - MAX_AGE, counter=2))
    assert code_of(opener, Rogue(created_ms=NOW - MAX_AGE).envelope()) == "replay"


def test_what_came_while_anyone_could_send_is_remembered_when_the_sender_is_admitted(
    clock: Clock,
) -> None:
    opener = small(clock)
    opener.open(Rogue().envelope(), subject=">", senders=ANYONE)
    assert code_of(opener, Rogue().envelope()) == "replay"
    with pytest.raises(ReplayError):
        opener.open(Rogue().envelope(), subject=">", senders=ANYONE)


def test_who_becomes_admitted_starts_with_the_floor_of_all_the_others(clock: Clock) -> None:
    # What was forgotten of it among the strangers must not open now.
    opener = small(clock, live_unadmitted=10_000)
    rogues = sessions(60)
    for rogue in rogues:
        opener.open(rogue.envelope(), subject=">", senders=ANYONE)
    assert code_of(opener, rogues[0].envelope()) == "stale"
    take(opener, rogues[0].but(counter=2, created_ms=NOW))


def test_of_eight_threads_with_the_same_message_one_gets_it() -> None:
    # E-72
    opener, sealer = Opener(BOB, {ALICE.public}), Sealer(ALICE)
    for _ in range(40):
        envelope = sealer.seal(b"pay", to=[BOB.public], subject=SUBJECT)
        barrier, results = threading.Barrier(8), list[str]()

        def work(
            envelope: bytes = envelope,
            barrier: threading.Barrier = barrier,
            results: list[str] = results,
        ) -> None:
            barrier.wait(20)
            try:
                results.append(opener.open(envelope, subject=SUBJECT).data.decode())
            except XKeyMsgError as error:
                results.append(error.code)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted(results) == ["pay", *["replay"] * 7]


def test_a_shorter_max_age_shortens_what_is_remembered(clock: Clock) -> None:
    opener = Opener(BOB, {ALICE.public}, max_age=timedelta(seconds=1))
    take(opener, Rogue(created_ms=NOW))
    clock.ms += SECOND + 1
    assert code_of(opener, Rogue(created_ms=NOW).envelope()) == "stale"
