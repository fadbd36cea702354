"""Replays over core NATS: any publisher can hold a copy of every message, at any time."""

from __future__ import annotations

import time

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
from tests.envelope.inside import slow_down_marking
from tests.envelope.together import together
from xkeymsg import (
    Limits,
    Live,
    Message,
    Opener,
    ReplayError,
    Sealer,
    SessionClonedError,
    StaleError,
    StreamPosition,
    XKeyMsgError,
)

MAX_AGE, SKEW = 300_000, 30_000
SECOND = 1000


@pytest.fixture
def opener(clock: Clock) -> Opener:
    """Return an opener that began long ago, before every message."""
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
    # E-77: the broker may reorder, and other messages of the session went elsewhere.
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
    # E-71: a virtual machine was copied while it ran, and both copies continue to count.
    take(opener, Rogue(tail=b"machine1"))
    with pytest.raises(SessionClonedError):
        take(opener, Rogue(tail=b"machine2"))


@pytest.mark.parametrize("step", [1, 3, 500])
def test_a_clone_is_told_from_a_replay_however_many_messages_follow(
    opener: Opener, step: int
) -> None:
    # E-71, E-76: a tag is kept of every counter, in pages with few marks and in full ones.
    counters = [1 + step * n for n in range(400)]
    for counter in counters:
        take(opener, Rogue(counter=counter, tail=b"machine1"))
    for counter in counters:
        first, second = (Rogue(counter=counter, tail=b"machine%d" % n) for n in (1, 2))
        assert code_of(opener, first.envelope()) == "replay"
        assert code_of(opener, second.envelope()) == "session_cloned"


def test_only_one_clone_in_255_has_the_tag_of_the_first(opener: Opener) -> None:
    # E-71: one byte is kept of a marked message.
    take(opener, Rogue(tail=bytes(8)))
    codes = [code_of(opener, Rogue(tail=n.to_bytes(8, "big")).envelope()) for n in range(511)]
    assert [n for n, code in enumerate(codes) if code == "replay"] == [0, 255, 510]
    assert set(codes) == {"replay", "session_cloned"}


@pytest.mark.parametrize("age", [MAX_AGE, 0, -SKEW])
def test_the_bounds_of_freshness_belong_to_it(opener: Opener, age: int) -> None:
    # E-73
    take(opener, Rogue(created_ms=NOW - age))


@pytest.mark.parametrize("age", [MAX_AGE + 1, -SKEW - 1, 10**9, -(10**9)])
def test_what_is_older_or_newer_than_the_bounds_is_stale(opener: Opener, age: int) -> None:
    # E-73: the attacker delayed it for six minutes, or the sender's clock is ahead.
    assert code_of(opener, Rogue(created_ms=NOW - age).envelope()) == "stale"


def test_stale_names_its_cause_and_does_not_advise_to_switch_protection_off(
    opener: Opener, clock: Clock
) -> None:
    began = Opener(BOB, {ALICE.public}, replay=Live(max_age=3600))
    dropping = Opener(BOB, {ALICE.public}, limits=Limits(replay_bytes=1))
    take(dropping, Rogue())
    take(dropping, Rogue(ephemeral=pair(1)))
    stored = StreamPosition("ORDERS", 7, NOW + 2 * MAX_AGE)
    causes = [
        (opener, Rogue(created_ms=NOW - MAX_AGE - 1), None, "outside the freshness window"),
        (opener, Rogue(), stored, "outside the freshness window"),
        (began, Rogue(created_ms=NOW - SKEW - 1), None, "before this reader began"),
        (dropping, Rogue(), None, "older than what the replay memory covers"),
    ]
    for reader, rogue, position, cause in causes:
        with pytest.raises(StaleError, match=cause) as caught:
            reader.open(rogue.envelope(), subject=">", position=position)
        assert "AtRest" not in str(caught.value)


def test_after_a_restart_what_was_sealed_before_it_is_stale(clock: Clock) -> None:
    # E-74: the new process does not know which messages the old one has opened.
    envelope = Rogue(created_ms=NOW - SKEW - 1).envelope()
    assert code_of(Opener(BOB, {ALICE.public}), envelope) == "stale"


def test_after_a_restart_the_last_seconds_before_it_may_open_twice(clock: Clock) -> None:
    # The limit stated in the specification: clocks differ by up to `skew`.
    envelope = Rogue(created_ms=NOW - SKEW).envelope()
    for _ in range(2):
        Opener(BOB, {ALICE.public}).open(envelope, subject=">")


def test_another_worker_opens_a_copy(clock: Clock) -> None:
    # The limit stated in the specification: workers share no memory, so each may accept one copy.
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
    # E-72: it was opened with a wrong subject first; the right subject still gets it.
    envelope = Rogue().envelope()
    with pytest.raises(XKeyMsgError):
        opener.open(envelope, subject="something.else")
    with pytest.raises(XKeyMsgError):
        opener.open(envelope, subject=">", wire_subject="something.else")
    assert opener.open(envelope, subject=SUBJECT).subject == SUBJECT


def test_of_eight_threads_with_the_same_message_one_gets_it() -> None:
    # E-72
    opener, sealer = Opener(BOB, {ALICE.public}), Sealer(ALICE)

    def work(_: int) -> str:
        return opener.open(envelope, subject=SUBJECT).subject

    for _ in range(40):
        envelope = sealer.seal(b"pay", to=[BOB.public], subject=SUBJECT)
        assert sorted(together(8, work)) == [SUBJECT, *["replay"] * 7]


def test_a_shorter_max_age_shortens_what_is_remembered(clock: Clock) -> None:
    opener = Opener(BOB, {ALICE.public}, replay=Live(max_age=1))
    take(opener, Rogue(created_ms=NOW))
    clock.ms += SECOND + 1
    assert code_of(opener, Rogue(created_ms=NOW).envelope()) == "stale"


@pytest.mark.parametrize("position", [None, StreamPosition("ORDERS", 7, NOW)])
def test_test_and_mark_are_one_step_for_the_worst_of_schedulers(
    monkeypatch: pytest.MonkeyPatch, opener: Opener, position: StreamPosition | None
) -> None:
    # E-72: each thread stops between test and mark, long enough for all the others.
    slow_down_marking(monkeypatch, lambda: time.sleep(0.1))
    envelope = Rogue().envelope()

    def work(number: int) -> str:
        at = position and position._replace(sequence=number)
        return opener.open(envelope, subject=">", position=at).subject

    assert sorted(together(4, work)) == [SUBJECT, "replay", "replay", "replay"]
