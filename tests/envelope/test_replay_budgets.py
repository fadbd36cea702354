"""Replays behind what a reader had to forget: floors rise, and no copy gets in."""

from __future__ import annotations

import pytest

from tests.envelope.cast import (
    ALICE,
    BOB,
    NOW,
    Clock,
    code_of,
    pair,
    reader,
)
from tests.envelope.forge import Rogue
from xkeymsg import (
    ANYONE,
    Limits,
    Message,
    Opener,
    ReplayError,
    StaleError,
)
from xkeymsg.envelope import replay

MAX_AGE, SKEW = 300_000, 30_000


def take(opener: Opener, rogue: Rogue) -> Message:
    return opener.open(rogue.envelope(), subject=">")


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
        opener.open(rogue.envelope(), subject=">", senders=known if one.public in known else ANYONE)
    live = opener._live
    assert len(live._admitted) > 1
    for budget in (live._strangers, *live._admitted.values()):
        assert budget.cost == sum(each.cost for each in budget.sessions.values())
        for each in budget.sessions.values():
            tails = replay._TAIL_COST * len(each.tails)
            assert each.cost == replay._SESSION_COST + len(each.bits) + tails
    assert live._total == sum(budget.cost for budget in live._admitted.values())


def kept(opener: Opener) -> int:
    live = opener._live
    return sum(len(each.sessions) for each in (live._strangers, *live._admitted.values()))


def test_a_clock_that_is_set_back_makes_no_copy_fresh_again(clock: Clock) -> None:
    # E-78: the reader's clock goes wrong for a while, and what it has opened looks stale and is
    # forgotten. The attacker sends it all again once the clock is right.
    opener = small(clock)
    rogues = sessions(5)
    for rogue in rogues:
        take(opener, rogue)
    clock.ms += 12 * MAX_AGE
    take(opener, Rogue(ephemeral=pair(1), created_ms=clock.ms))
    assert kept(opener) == 1
    clock.ms = NOW
    assert [code_of(opener, rogue.envelope()) for rogue in rogues] == ["stale"] * 5
    for rogue in rogues:
        take(opener, rogue.but(counter=2, created_ms=NOW))


def test_what_is_forgotten_of_one_sender_makes_nothing_of_another_stale(clock: Clock) -> None:
    # E-75: a floor is its sender's own, also when the reader's clock was wrong meanwhile.
    opener = small(clock)
    one = pair(5)
    early = Rogue(S=one.public, secret=one, created_ms=NOW)
    opener.open(early.envelope(), subject=">", senders={one.public})
    clock.ms += 12 * MAX_AGE
    take(opener, Rogue(created_ms=clock.ms))
    clock.ms = NOW
    take(opener, Rogue(ephemeral=pair(1), created_ms=NOW - MAX_AGE))


def test_what_could_still_be_fresh_is_never_forgotten_for_its_age(clock: Clock) -> None:
    # E-73, E-78: to the millisecond, and whoever it is of.
    opener = small(clock)
    take(opener, Rogue(created_ms=NOW + SKEW))
    clock.ms = NOW + MAX_AGE + 2 * SKEW
    take(opener, Rogue(ephemeral=pair(1), created_ms=clock.ms))
    assert kept(opener) == 2
    assert opener._live._admitted[bytes(ALICE.public)].floor == 0
    clock.ms = NOW + MAX_AGE + SKEW
    assert code_of(opener, Rogue(created_ms=NOW + SKEW).envelope()) == "replay"


def test_a_reader_at_work_keeps_the_last_minutes_and_not_a_full_budget(clock: Clock) -> None:
    # A sender begins a session every ten seconds, for a day; strangers do as well.
    opener = small(clock)
    live, head = opener._live, take(opener, Rogue())._head
    for n in range(1, 24 * 360):
        now = NOW + n * 10_000
        session = head._replace(ephemeral=n.to_bytes(32, "big"), created_ms=now)
        live.mark(session, admitted=True, now_ms=now)
        live.mark(session._replace(sender=session.ephemeral), admitted=False, now_ms=now)
    minutes = (MAX_AGE + SKEW) // 10_000
    assert kept(opener) <= 2 * (minutes + 2)
    assert live._total == sum(budget.cost for budget in live._admitted.values())


def test_a_session_of_which_every_copy_is_stale_is_forgotten(clock: Clock) -> None:
    # E-78: and what is as old as it may be is still taken.
    opener = small(clock, live_sender=10_000)
    for rogue in sessions(10):
        take(opener, rogue)
    clock.ms += 2 * MAX_AGE
    take(opener, Rogue(ephemeral=pair(1), created_ms=clock.ms))
    assert kept(opener) == 1
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
    assert code_of(opener, rogues[0].envelope()) == "stale"


def test_a_floor_that_rises_between_check_and_mark_counts(clock: Clock) -> None:
    # E-75: another thread marks and forgets, while this one verifies a signature.
    opener = small(clock, live_sender=1)
    old, *others = sessions(3)
    live, head = opener._live, reader().open(old.envelope(), subject=">")._head
    live.check_fresh(head, now_ms=NOW)
    for rogue in others:
        take(opener, rogue)
    with pytest.raises(StaleError):
        live.mark(head, admitted=True, now_ms=NOW)
