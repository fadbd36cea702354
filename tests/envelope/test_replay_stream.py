"""Replays in a stream: a redelivery is honest, a second copy is not."""

from __future__ import annotations

import pytest

from tests.envelope.cast import ALICE, BOB, NOW, SUBJECT, Clock, pair
from tests.envelope.forge import Rogue
from tests.envelope.together import together
from xkeymsg import (
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


def test_a_redelivery_opens_again_before_and_behind_its_acknowledgement(opener: Opener) -> None:
    # E-82: the acknowledgement may have been lost.
    message = take(opener, at(7))
    take(opener, at(7))
    opener.settle(message)
    take(opener, at(7))


def test_a_redelivery_may_tell_another_time(opener: Opener) -> None:
    take(opener, at(7))
    take(opener, at(7, NOW + 1))


@pytest.mark.parametrize("other", [at(8), at(6), at(7, stream="COPIES")])
def test_a_copy_at_another_position_is_a_replay(opener: Opener, other: StreamPosition) -> None:
    # E-83: whoever can publish to the stream has put it there a second time.
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


def test_a_redelivery_does_not_make_a_settled_message_pending_again(opener: Opener) -> None:
    opener.settle(take(opener, at(7)))
    take(opener, at(7))
    with pytest.raises(ReplayError) as caught:
        take(opener, at(8))
    assert caught.value.pending is False


def test_another_message_with_the_number_shows_a_cloned_sender(opener: Opener) -> None:
    # E-71, at whatever position.
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
    # E-81: the attacker kept it, and put it into the stream later.
    clock.ms = stored
    assert code(opener, at(7, stored)) == "stale"


def test_a_stream_that_stores_in_the_future_is_not_believed(opener: Opener, clock: Clock) -> None:
    # E-81: otherwise a broker could prolong the life of a message by years.
    late = NOW + SKEW
    take(opener, at(7, late), Rogue(created_ms=late))
    assert code(opener, at(8, late + 1), Rogue(created_ms=late, counter=2)) == "stale"


def test_a_rewind_opens_what_is_a_year_old(clock: Clock) -> None:
    # Age at opening does not count. A consumer that is rewound is a new scope (E-70).
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


def small(clock: Clock, marks: int) -> Opener:
    return Opener(BOB, {ALICE.public}, limits=Limits(stream_marks=marks))


def stored(n: int) -> tuple[StreamPosition, Rogue]:
    """Message n of a busy stream, stored one millisecond behind the one before."""
    return at(n, NOW + n), Rogue(counter=n, created_ms=NOW + n)


def test_the_number_of_marks_is_bounded(clock: Clock) -> None:
    # E-85
    opener = small(clock, 32)
    for n in range(1, 200):
        clock.ms = NOW + n
        take(opener, *stored(n))
        assert sum(map(len, opener._stream._shards)) == opener._stream._count <= 32


def test_a_copy_of_what_was_forgotten_is_stale(clock: Clock) -> None:
    # E-85, E-86
    opener = small(clock, 16)
    for n in range(1, 41):
        clock.ms = NOW + n
        opener.settle(take(opener, *stored(n)))
    for n in range(1, 41):
        assert code(opener, at(100 + n, NOW + 40), stored(n)[1]) in ("stale", "replay")
    assert code(opener, at(100, NOW + 40), stored(1)[1]) == "stale"
    assert code(opener, at(140, NOW + 40), stored(40)[1]) == "replay"


def test_settled_marks_are_forgotten_before_pending_ones(clock: Clock) -> None:
    # E-85: a handler is still busy with the first message when its copy comes.
    opener = small(clock, 16)
    take(opener, *stored(1))
    for n in range(2, 41):
        clock.ms = NOW + n
        opener.settle(take(opener, *stored(n)))
    with pytest.raises(ReplayError) as caught:
        take(opener, at(100, NOW + 40), stored(1)[1])
    assert caught.value.pending is True
    assert code(opener, at(101, NOW + 40), stored(2)[1]) == "stale"


def test_what_was_forgotten_long_ago_raises_no_floor(clock: Clock) -> None:
    # E-85: a copy of it, stored behind all that was marked, would be stale by its own age.
    opener = small(clock, 4)
    for n in range(1, 5):
        opener.settle(take(opener, *stored(n)))
    later = NOW + 2 * MAX_AGE
    clock.ms = later
    for n in range(5, 9):
        opener.settle(take(opener, at(n, later), Rogue(counter=n, created_ms=later)))
    assert opener._stream._floor == 0
    assert code(opener, at(100, later), stored(1)[1]) == "stale"


def test_a_catch_up_that_forgets_still_refuses_copies(clock: Clock) -> None:
    # E-85: measured against the newest message marked, and not against the clock: a reader that
    # rewinds by a year would otherwise raise no floor at all.
    opener = small(clock, 4)
    clock.ms = NOW + 365 * 86_400_000
    for n in range(1, 9):
        opener.settle(take(opener, *stored(n)))
    assert code(opener, at(100, NOW + 9), stored(1)[1]) == "stale"


def test_settling_what_is_not_marked_does_nothing(opener: Opener) -> None:
    other = Opener(BOB, {ALICE.public}, replay="file")
    opener.settle(other.open(Rogue().envelope(), subject=">"))
    take(opener, at(7))
    assert code(opener, at(8)) == "replay"


def test_the_policies_remember_apart(opener: Opener) -> None:
    opener.open(Rogue().envelope(), subject=">")
    take(opener, at(7))
    with pytest.raises(ReplayError):
        opener.open(Rogue().envelope(), subject=">")


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


def test_a_stale_message_may_be_redelivered_for_ever_and_stays_stale(
    opener: Opener, clock: Clock
) -> None:
    clock.ms = NOW + 2 * MAX_AGE
    for _ in range(2):
        with pytest.raises(StaleError):
            take(opener, at(7, clock.ms))
