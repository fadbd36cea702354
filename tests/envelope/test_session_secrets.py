"""The secrets of a session: mixed into all drawn bytes, dropped at its end, never copied."""

from __future__ import annotations

import copy
import gc
import pickle  # noqa: TID251 - to show that a sealer does not go in
import sys
import time
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, CAROL, SUBJECT, Clock
from tests.envelope.inside import (
    alarms,
    ephemeral_of,
    is_empty,
    running,
    seal,
    secret_in_memory,
    skip_to,
)
from tests.envelope.together import together
from tests.running import DEADLINE
from xkeymsg import Sealer, ambient, primitives
from xkeymsg import sealer as sealing
from xkeymsg.envelope import derive, session
from xkeymsg.envelope.session import SessionEndedError


def until(condition: Callable[[], bool]) -> bool:
    """Wait for another thread; only a failed test reaches the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_the_timer_drops_the_secrets_of_a_sealer_that_has_nothing_to_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # E-21: the last message of the day must not leave its keys in memory all night.
    monkeypatch.setattr(sealing, "LIFETIME", 0.05)
    sealer = Sealer(ALICE)
    first = seal(sealer)
    assert until(lambda: is_empty(running(sealer)))
    assert seal(sealer).E != first.E


@pytest.mark.usefixtures("only_young_garbage", "pure")
def test_the_ephemeral_secret_is_released_with_the_session() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    secret = secret_in_memory(ephemeral_of(running(sealer)))
    held = sys.getrefcount(secret)
    sealer.close()
    gc.collect()
    assert sys.getrefcount(secret) <= 2 < held, "only this test holds a reference"


@pytest.mark.usefixtures("only_young_garbage")
def test_neither_the_timer_nor_a_cache_keeps_a_closed_session_alive() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    alive = weakref.ref(running(sealer))
    sealer.close()
    gc.collect()
    assert alive() is None


@pytest.mark.usefixtures("only_young_garbage")
def test_a_sealer_that_is_let_go_takes_its_session_along() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    alive = weakref.ref(running(sealer))
    del sealer
    gc.collect()
    assert alive() is None


def test_keys_that_are_computed_while_the_session_ends_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
    pure: None,
) -> None:
    # The timer fires in another thread, at any moment: here, during the X25519 with a recipient.
    sealer = Sealer(ALICE)
    seal(sealer)
    ended = running(sealer)
    wrap_key = derive.wrap_key

    def ending(*arguments: object) -> bytes:
        ended.end()
        return wrap_key(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(derive, "wrap_key", ending)
    sealer.seal(b"", to=[CAROL.public], subject=SUBJECT)
    assert is_empty(ended)


def test_nothing_is_drawn_without_the_sessions_secret(
    monkeypatch: pytest.MonkeyPatch, pure: None
) -> None:
    # E-27: the session ends between the check and the draw; an empty key would mix nothing in.
    sealer = Sealer(ALICE)
    first = seal(sealer)
    ended = running(sealer)
    random_bytes = ambient.random_bytes

    def ending(size: int) -> bytes:
        ended.end()
        return random_bytes(size)

    monkeypatch.setattr(session, "random_bytes", ending)
    with pytest.raises(SessionEndedError):
        ended.next_nonce(0)
    assert seal(sealer).E != first.E


def test_a_generator_that_repeats_still_gives_other_nonces_and_keys(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, pure: None
) -> None:
    # E-27: a virtual machine is restored from a snapshot, and the kernel's randomness repeats. Only
    # the clock differs.
    sealer = Sealer(ALICE)
    seal(sealer)
    restored = running(sealer)
    monkeypatch.setattr(session, "random_bytes", bytes)
    drawn = []
    for ms in (1, 2):
        skip_to(monkeypatch, restored, 7)
        clock.ms += ms
        drawn.append(restored.next_nonce(clock()))
    assert drawn[0][0][:4] == drawn[1][0][:4]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_what_the_clock_says_alone_does_not_give_the_keys(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, pure: None
) -> None:
    # E-27: the secret of the session is mixed in as well.
    sealers = [Sealer(ALICE), Sealer(ALICE)]
    for sealer in sealers:
        seal(sealer)
    monkeypatch.setattr(session, "random_bytes", bytes)
    drawn = {running(sealer).next_nonce(clock())[1] for sealer in sealers}
    assert len(drawn) == 2


def test_a_generator_that_is_stuck_still_gives_each_key_of_a_message_other_bytes(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, pure: None
) -> None:
    # Two parts must not have one key: the position is mixed in.
    sealer = Sealer(ALICE)
    seal(sealer)
    monkeypatch.setattr(session, "random_bytes", bytes)
    [_, first], more = running(sealer).next_nonce(clock()), running(sealer).draw_keys(319, clock())
    assert len({first, *more}) == 320
    assert {len(first), *map(len, more)} == {32}


def test_what_is_mixed_does_not_depend_on_what_was_mixed_before() -> None:
    # Nor on what other threads mix at the same time: each works on its own copy.
    begun, label = primitives.keyed_hash(b"label", b"k" * 32), b"label"

    def mix(data: bytes) -> bytes:
        mixed = begun.copy()
        mixed.update(data)
        return mixed.digest()

    data = [bytes([number]) * 52 for number in range(200)]
    expected = [primitives.digest(label, each, key=b"k" * 32, size=64) for each in data]
    assert [mix(each) for each in data] == expected
    assert together(4, lambda _: [mix(each) for each in data]) == [expected] * 4


PICKLES = [partial(pickle.dumps, protocol=each) for each in range(pickle.HIGHEST_PROTOCOL + 1)]


@for_each("take", [copy.copy, copy.deepcopy, *PICKLES])
def test_a_sealer_and_its_session_cannot_be_copied_or_pickled(
    take: Callable[[object], object],
) -> None:
    # E-25: both copies would continue from the same counter, under the same keys.
    sealer = Sealer(ALICE)
    seal(sealer)
    for thing in (sealer, running(sealer)):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            take(thing)


def test_a_sealer_for_each_message_does_not_fill_the_timer() -> None:
    # Each session is due to end in an hour; most are gone long before.
    kept = Sealer(ALICE)
    seal(kept)
    for _ in range(3000):
        seal(Sealer(ALICE))
    assert len(alarms()) < 2000
    assert running(kept).end in alarms()


def test_a_sealer_that_closes_after_each_message_does_not_fill_the_timer() -> None:
    sealer = Sealer(ALICE)
    for _ in range(3000):
        seal(sealer)
        sealer.close()
    assert len(alarms()) < 2000
