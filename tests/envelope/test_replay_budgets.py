"""Replays of messages whose marks were dropped: floors rise, and no copy opens."""

from __future__ import annotations

from contextlib import suppress
from random import Random  # noqa: TID251 - a run has to be repeatable

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
from tests.envelope.inside import (
    admitted_in,
    charged_for_admitted,
    decoded_head,
    memory_of,
    strangers_in,
)
from xkeymsg import (
    ANYONE,
    Limits,
    Message,
    Opener,
    ReplayError,
    StaleError,
)
from xkeymsg.envelope.replay import ReplayMemory

MAX_AGE, SKEW = 300_000, 30_000


def take(opener: Opener, rogue: Rogue) -> Message:
    return opener.open(rogue.envelope(), subject=">")


def small(clock: Clock, **budgets: int) -> Opener:
    """Return an opener with room for a few sessions."""
    clock.ms = NOW - 10 * MAX_AGE
    opener = Opener(BOB, {ALICE.public}, limits=Limits(**budgets))
    clock.ms = NOW
    return opener


def sessions(count: int, **changes: object) -> list[Rogue]:
    return [
        Rogue(ephemeral=pair(10_000 + n), created_ms=NOW - MAX_AGE + n).but(**changes)
        for n in range(count)
    ]


def test_what_had_to_be_forgotten_is_stale_and_no_copy_opens(clock: Clock) -> None:
    # E-75, E-78: the attacker makes the sender open many sessions, then replays the first.
    opener = small(clock, replay_bytes=10_000)
    rogues = sessions(60)
    for rogue in rogues:
        take(opener, rogue)
    codes = {code_of(opener, rogue.envelope()) for rogue in rogues}
    assert codes == {"stale", "replay"}
    assert code_of(opener, rogues[0].envelope()) == "stale"
    assert code_of(opener, rogues[-1].envelope()) == "replay"


def test_the_floor_holds_in_sessions_that_are_met_again(clock: Clock) -> None:
    # E-75: a later message of a forgotten session brings it back, but not its old marks.
    opener = small(clock, replay_bytes=10_000)
    for rogue in sessions(60):
        take(opener, rogue)
    old = sessions(1)[0]
    take(opener, old.but(counter=2, created_ms=NOW))
    assert code_of(opener, old.envelope()) == "stale"


def test_the_session_just_marked_is_not_the_one_to_go(clock: Clock) -> None:
    # There is room for less than one session. Dropped marks raise the floor above the kept ones.
    opener = small(clock, replay_bytes=1)
    old, middle, new = sessions(3)
    take(opener, new)
    take(opener, middle)
    assert code_of(opener, old.envelope()) == "stale"
    assert code_of(opener, new.envelope()) == "stale"
    take(opener, new.but(counter=2, created_ms=NOW))


def test_one_senders_flood_makes_only_its_own_messages_stale(clock: Clock) -> None:
    opener = small(clock, replay_bytes=10_000)
    other = {pair(5).public, ALICE.public}
    honest = Rogue(S=pair(5).public, secret=pair(5), created_ms=NOW - MAX_AGE)
    opener.open(honest.envelope(), subject=">", senders=other)
    for rogue in sessions(60):
        take(opener, rogue)
    opener.open(honest.but(counter=2).envelope(), subject=">", senders=other)
    assert code_of(opener, Rogue(created_ms=NOW - MAX_AGE).envelope()) == "stale"


def test_all_admitted_senders_together_have_a_budget_as_well(clock: Clock) -> None:
    opener = small(clock, replay_bytes=10_000)
    senders = [pair(20_000 + n) for n in range(60)]
    rogues = [
        Rogue(S=one.public, secret=one, created_ms=NOW - MAX_AGE + n)
        for n, one in enumerate(senders)
    ]
    admitted = {one.public for one in senders}
    for rogue in rogues:
        opener.open(rogue.envelope(), subject=">", senders=admitted)
    assert opener.replay_state().size <= 10_000 + 1000
    for rogue in rogues:
        with pytest.raises((ReplayError, StaleError)):
            opener.open(rogue.envelope(), subject=">", senders=admitted)


@pytest.mark.parametrize("seed", range(4))
def test_the_charge_is_what_the_pages_cost(clock: Clock, seed: int) -> None:
    draw, head = Random(seed), decoded_head(take(small(clock), Rogue()))
    limits = Limits(replay_bytes=20_000, replay_bytes_unadmitted=5000)
    memory, admitted = ReplayMemory(limits, 0), set[int]()
    for n in range(2000):
        sender = draw.randrange(6)
        admitted |= {sender} if draw.random() < 0.01 else set()
        mark = head._replace(
            sender=bytes([sender]) * 32,
            ephemeral=bytes([draw.randrange(8)]) * 32,
            nonce=draw.randrange(1, 4000).to_bytes(4, "big") + b"random..",
            created_ms=NOW + n,
        )
        with suppress(ReplayError, StaleError):
            memory.mark(mark, None, admitted=sender in admitted, now_ms=NOW + 20 * n)
    for owner in (strangers_in(memory), *admitted_in(memory).values()):
        pages = sum(page.cost for page in owner.pages.values())
        assert owner.cost == 600 + 320 * len(owner.sessions) + pages
        for name, session in owner.sessions.items():
            assert session.pages == sum(page.startswith(name) for page in owner.pages) > 0
    assert charged_for_admitted(memory) == sum(owner.cost for owner in admitted_in(memory).values())


def kept(opener: Opener) -> int:
    memory = memory_of(opener)
    owners = strangers_in(memory), *admitted_in(memory).values()
    return sum(len(each.sessions) for each in owners)


def test_a_clock_that_is_set_back_makes_no_copy_fresh_again(clock: Clock) -> None:
    # E-78: the reader's clock is wrong for a while, so that opened messages look stale and are
    # forgotten. The attacker replays them all once the clock is right.
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
    # E-75: each sender has its own floor, even if the reader's clock was wrong for a while.
    opener = small(clock)
    one = pair(5)
    early = Rogue(S=one.public, secret=one, created_ms=NOW)
    opener.open(early.envelope(), subject=">", senders={one.public})
    clock.ms += 12 * MAX_AGE
    take(opener, Rogue(created_ms=clock.ms))
    clock.ms = NOW
    take(opener, Rogue(ephemeral=pair(1), created_ms=NOW - MAX_AGE))


def test_what_could_still_be_fresh_is_never_forgotten_for_its_age(clock: Clock) -> None:
    # E-73, E-78: to the millisecond, for every sender.
    opener = small(clock)
    take(opener, Rogue(created_ms=NOW + SKEW))
    clock.ms = NOW + MAX_AGE + 2 * SKEW
    take(opener, Rogue(ephemeral=pair(1), created_ms=clock.ms))
    assert kept(opener) == 2
    assert admitted_in(memory_of(opener))[bytes(ALICE.public)].floor == 0
    clock.ms = NOW + MAX_AGE + SKEW
    assert code_of(opener, Rogue(created_ms=NOW + SKEW).envelope()) == "replay"


def test_a_reader_at_work_keeps_the_last_minutes_and_not_a_full_budget(clock: Clock) -> None:
    # A sender begins a session every ten seconds, for a day; so do strangers.
    opener = small(clock)
    memory, head = memory_of(opener), decoded_head(take(opener, Rogue()))
    for n in range(1, 24 * 360):
        now = NOW + n * 10_000
        session = head._replace(ephemeral=n.to_bytes(32, "big"), created_ms=now)
        memory.mark(session, None, admitted=True, now_ms=now)
        stranger = session._replace(sender=session.ephemeral)
        memory.mark(stranger, None, admitted=False, now_ms=now)
    minutes = (MAX_AGE + SKEW) // 10_000
    assert kept(opener) <= 2 * (minutes + 2)
    assert opener.replay_state().covers is None, "no page was dropped for lack of room"


def test_a_session_of_which_every_copy_is_stale_is_forgotten(clock: Clock) -> None:
    # E-78: a message of the maximum age still opens.
    opener = small(clock, replay_bytes=10_000)
    for rogue in sessions(10):
        take(opener, rogue)
    clock.ms += 2 * MAX_AGE
    take(opener, Rogue(ephemeral=pair(1), created_ms=clock.ms))
    assert kept(opener) == 1
    take(opener, Rogue(created_ms=clock.ms - MAX_AGE))


def test_a_sender_that_was_admitted_keeps_its_floor_where_anyone_may_send(clock: Clock) -> None:
    # E-75: the reader has forgotten Alice's first session and raised her floor. The attacker sends
    # the old message to a subject on which the same reader accepts anyone.
    opener = small(clock, replay_bytes=10_000)
    rogues = sessions(60)
    for rogue in rogues:
        take(opener, rogue)
    with pytest.raises(StaleError):
        opener.open(rogues[0].envelope(), subject=">", senders=ANYONE)


def test_strangers_do_not_make_the_messages_of_an_admitted_sender_stale(clock: Clock) -> None:
    # E-79
    opener = small(clock, replay_bytes_unadmitted=10_000)
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
    # Its marks that were forgotten among the strangers must not open now.
    opener = small(clock, replay_bytes_unadmitted=10_000)
    rogues = sessions(60)
    for rogue in rogues:
        opener.open(rogue.envelope(), subject=">", senders=ANYONE)
    assert code_of(opener, rogues[0].envelope()) == "stale"
    take(opener, rogues[0].but(counter=2, created_ms=NOW))
    assert code_of(opener, rogues[0].envelope()) == "stale"


def test_a_floor_that_rises_between_check_and_mark_counts(clock: Clock) -> None:
    # E-75: another thread marks and forgets while this one verifies a signature.
    opener = small(clock, replay_bytes=1)
    old, *others = sessions(3)
    memory = memory_of(opener)
    head = decoded_head(reader().open(old.envelope(), subject=">"))
    memory.check_fresh(head, None, now_ms=NOW)
    for rogue in others:
        take(opener, rogue)
    with pytest.raises(StaleError):
        memory.mark(head, None, admitted=True, now_ms=NOW)
