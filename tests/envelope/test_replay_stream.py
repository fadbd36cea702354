"""Replays in a stream: a redelivery is honest, a second copy is not."""

from __future__ import annotations

import pytest

from tests.envelope.cast import ALICE, BOB, NOW, SUBJECT, Clock, pair
from tests.envelope.forge import Rogue
from tests.envelope.together import together
from xkeymsg import (
    AtRest,
    Limits,
    Message,
    Opener,
    ReplayError,
    SessionClonedError,
    StaleError,
    StreamPosition,
    XKeyMsgError,
)

MAX_AGE, SKEW = 300_000, 30_000


def at(sequence: int, stored_ms: int = NOW, stream: str = "ORDERS") -> StreamPosition:
    return StreamPosition(stream, sequence, stored_ms)


@pytest.fixture
def opener(clock: Clock) -> Opener:
    return Opener(BOB, {ALICE.public})


def take(opener: Opener, position: StreamPosition, rogue: Rogue | None = None) -> Message:
    return opener.open((rogue or Rogue()).envelope(), subject=">", position=position)


def code(opener: Opener, position: StreamPosition, rogue: Rogue | None = None) -> str:
    with pytest.raises(XKeyMsgError) as caught:
        take(opener, position, rogue)
    return caught.value.code


def test_a_redelivery_opens_again_until_its_message_is_settled(opener: Opener) -> None:
    # E-82, E-83: a lost acknowledgement also settles; the consumer acknowledges again.
    message = take(opener, at(7))
    take(opener, at(7))
    opener.release(message)
    take(opener, at(7))
    opener.settle(message)
    assert code(opener, at(7)) == "replay"


def test_a_message_that_was_not_handled_opens_wherever_it_comes(opener: Opener) -> None:
    # E-85
    opener.settle(take(opener, at(7)), handled=False)
    opener.settle(take(opener, at(8)))
    assert code(opener, at(7)) == "replay"


def test_a_redelivery_may_tell_another_time(opener: Opener) -> None:
    take(opener, at(7))
    take(opener, at(7, NOW + 1))


@pytest.mark.parametrize("other", [at(8), at(6), at(7, stream="COPIES")])
def test_a_copy_at_another_position_is_a_replay(opener: Opener, other: StreamPosition) -> None:
    # E-83: a publisher to the stream has stored it there a second time.
    take(opener, at(7))
    assert code(opener, other) == "replay"


def test_a_replay_says_whether_the_first_one_is_settled(opener: Opener) -> None:
    # E-83, E-84: the consumer answers with a delay, or drops the copy.
    message = take(opener, at(7))
    with pytest.raises(ReplayError) as caught:
        take(opener, at(8))
    assert caught.value.pending is True
    opener.settle(message)
    with pytest.raises(ReplayError) as caught:
        take(opener, at(8))
    assert caught.value.pending is False


def test_settling_twice_is_settling_once(opener: Opener) -> None:
    message = take(opener, at(7))
    for handled in (True, False, True):
        opener.settle(message, handled=handled)
    opener.release(message)
    with pytest.raises(ReplayError) as caught:
        take(opener, at(7))
    assert caught.value.pending is False


def test_a_late_handler_settles_no_other_message(opener: Opener) -> None:
    # The first is forgotten, a clone opens with its counter, and the first handler returns.
    first = take(opener, at(7), Rogue(tail=b"machine1"))
    opener.settle(first, handled=False)
    take(opener, at(8), Rogue(tail=b"machine2"))
    opener.settle(first)
    opener.settle(first, handled=False)
    take(opener, at(8), Rogue(tail=b"machine2"))


def test_another_message_with_the_number_shows_a_cloned_sender(opener: Opener) -> None:
    # E-71, at any position.
    take(opener, at(7), Rogue(tail=b"machine1"))
    for position in (at(7), at(8)):
        with pytest.raises(SessionClonedError):
            take(opener, position, Rogue(tail=b"machine2"))


@pytest.mark.parametrize("stored", [NOW - SKEW, NOW, NOW + MAX_AGE])
def test_the_bounds_around_the_time_of_storing_belong_to_it(
    opener: Opener, clock: Clock, stored: int
) -> None:
    # E-81
    clock.ms = stored
    take(opener, at(7, stored))


@pytest.mark.parametrize("stored", [NOW - SKEW - 1, NOW + MAX_AGE + 1])
def test_a_message_that_was_not_sealed_shortly_before_it_was_stored_is_stale(
    opener: Opener, clock: Clock, stored: int
) -> None:
    # E-81: the attacker withheld it, and stored it in the stream later.
    clock.ms = stored
    assert code(opener, at(7, stored)) == "stale"


def test_a_stream_that_stores_in_the_future_is_not_believed(opener: Opener, clock: Clock) -> None:
    # E-81: otherwise a broker could prolong the life of a message by years.
    late = NOW + SKEW
    take(opener, at(7, late), Rogue(created_ms=late))
    assert code(opener, at(8, late + 1), Rogue(created_ms=late, counter=2)) == "stale"


def test_a_rewind_opens_what_is_a_year_old(clock: Clock) -> None:
    # Age at opening does not count. A rewound consumer is a new scope (E-70).
    clock.ms = NOW + 365 * 86_400_000
    for _ in range(2):
        take(Opener(BOB, {ALICE.public}), at(7))


def test_an_opener_that_began_later_opens_what_was_stored_before(clock: Clock) -> None:
    clock.ms = NOW + 10 * MAX_AGE
    take(Opener(BOB, {ALICE.public}), at(7))


def test_a_refused_message_leaves_no_mark(opener: Opener) -> None:
    # E-72
    with pytest.raises(XKeyMsgError):
        opener.open(Rogue().envelope(), subject="other", position=at(7))
    take(opener, at(8))


def small(clock: Clock, **limits: int) -> Opener:
    return Opener(BOB, {ALICE.public}, limits=Limits(**limits))


def stored(n: int) -> tuple[StreamPosition, Rogue]:
    """Return message n of a busy stream, stored one millisecond after the previous one."""
    return at(n, NOW + n), Rogue(counter=n, created_ms=NOW + n)


def test_pending_messages_are_bounded_and_a_forgotten_one_opens_anywhere(clock: Clock) -> None:
    # E-86
    opener = small(clock, replay_pending=32)
    for n in range(1, 200):
        clock.ms = NOW + n
        opener.release(take(opener, *stored(n)))
        assert opener.replay_state().pending == min(n, 32)
    assert code(opener, at(500, NOW + 199), stored(199)[1]) == "replay"
    take(opener, at(501, NOW + 199), stored(1)[1])


def test_a_message_in_hand_is_forgotten_last(clock: Clock) -> None:
    # E-86: a handler is still working on the first message when its copy arrives.
    opener = small(clock, replay_pending=8)
    take(opener, *stored(1))
    for n in range(2, 41):
        opener.release(take(opener, *stored(n)))
    with pytest.raises(ReplayError) as caught:
        take(opener, at(100, NOW + 40), stored(1)[1])
    assert caught.value.pending is True


def test_a_caller_that_never_settles_gets_every_message(clock: Clock) -> None:
    # E-86: refusing at the bound would stop the route.
    opener = small(clock, replay_pending=1)
    for n in range(1, 50):
        take(opener, *stored(n))
    assert opener.replay_state().pending == 1


def test_a_copy_of_a_dropped_mark_is_stale(clock: Clock) -> None:
    # E-75, E-78: a session for each message, so that each has a page.
    opener = small(clock, replay_bytes=10_000)
    rogues = [Rogue(ephemeral=pair(n), created_ms=NOW + n) for n in range(40)]
    clock.ms = NOW + 40
    for n, rogue in enumerate(rogues):
        opener.settle(take(opener, at(n, NOW + 40), rogue))
    codes = [code(opener, at(100 + n, NOW + 40), rogue) for n, rogue in enumerate(rogues)]
    assert set(codes) == {"stale", "replay"}
    assert codes == sorted(codes, reverse=True), "the oldest are stale"


def test_a_pending_message_is_delivered_again_whatever_the_floors(clock: Clock) -> None:
    # E-82: its handler failed repeatedly while the memory was filled.
    opener = small(clock, replay_bytes=10_000)
    poison = take(opener, at(1), Rogue(created_ms=NOW - SKEW))
    opener.release(poison)
    for n in range(2, 42):
        rogue = Rogue(ephemeral=pair(n), counter=n, created_ms=NOW + n)
        opener.settle(take(opener, at(n), rogue))
    assert code(opener, at(50), Rogue(counter=2, created_ms=NOW - SKEW)) == "stale"
    opener.settle(take(opener, at(1), Rogue(created_ms=NOW - SKEW)))
    assert code(opener, at(1), Rogue(created_ms=NOW - SKEW)) == "replay"


def test_a_rewind_by_a_year_keeps_floors_as_well(clock: Clock) -> None:
    # E-78: nothing is compared with the clock.
    opener = small(clock, replay_bytes=10_000)
    clock.ms = NOW + 365 * 86_400_000
    for n in range(40):
        rogue = Rogue(ephemeral=pair(n), created_ms=NOW + n)
        opener.settle(take(opener, at(n), rogue))
    assert code(opener, at(100), Rogue(ephemeral=pair(0))) == "stale"


def test_settling_what_is_not_marked_does_nothing(opener: Opener) -> None:
    other = Opener(BOB, {ALICE.public}, replay=AtRest())
    opener.settle(other.open(Rogue().envelope(), subject=">"))
    take(opener, at(7))
    assert code(opener, at(8)) == "replay"


def test_one_opener_is_one_scope(opener: Opener) -> None:
    # E-70: a message opened live is also final in the stream. Two scopes need two openers.
    opener.open(Rogue().envelope(), subject=">")
    assert code(opener, at(7)) == "replay"
    take(opener, StreamPosition("", 0, NOW), Rogue(counter=2))
    with pytest.raises(ReplayError) as caught:
        opener.open(Rogue(counter=2).envelope(), subject=">")
    assert caught.value.pending is True


def test_live_messages_do_not_make_those_of_a_stream_stale(opener: Opener, clock: Clock) -> None:
    # A caller mixes the policies: under live, pages are swept with time, and their floors rise.
    opener.settle(take(opener, at(7), Rogue(counter=1)))
    for hours in range(1, 4):
        clock.ms = NOW + hours * 3_600_000
        rogue = Rogue(ephemeral=pair(hours), created_ms=clock.ms)
        opener.open(rogue.envelope(), subject=">")
    take(opener, at(8), Rogue(counter=9, created_ms=NOW - SKEW))


def test_of_eight_threads_with_copies_of_one_message_one_gets_it(opener: Opener) -> None:
    # E-72: eight positions, one message.
    envelope = Rogue().envelope()

    def work(sequence: int) -> str:
        return opener.open(envelope, subject=">", position=at(sequence)).subject

    assert sorted(together(8, work)) == [SUBJECT, *["replay"] * 7]


def test_sessions_and_senders_do_not_disturb_each_other(opener: Opener) -> None:
    take(opener, at(7))
    take(opener, at(8), Rogue(ephemeral=pair(1)))
    take(opener, at(9), Rogue(counter=2))


def test_a_stale_message_stays_stale_however_often_it_is_delivered(
    opener: Opener, clock: Clock
) -> None:
    clock.ms = NOW + 2 * MAX_AGE
    for _ in range(2):
        with pytest.raises(StaleError):
            take(opener, at(7, clock.ms))
