"""Sessions: a counter that never repeats, and secrets that do not outlive them."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle  # noqa: TID251 - to show that a sealer does not go in
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import pytest

from tests.envelope.cast import ALICE, BOB, CAROL, SUBJECT, Clock, pair, reader
from tests.envelope.forge import Pieces, session_of
from tests.reference.head import Head, decode_head
from tests.reference.limits import Limits
from xkeymsg import Recipient, Sealer, XKey, ambient
from xkeymsg.envelope import derive, sealing, session
from xkeymsg.envelope.session import Session, SessionEndedError

DEADLINE = 20.0


def head_of(envelope: bytes) -> Head:
    return decode_head(Pieces.of(envelope).head, Limits())


def seal(sealer: Sealer, data: bytes = b"") -> Head:
    return head_of(sealer.seal(data, to=[BOB.public], subject=SUBJECT))


def running(sealer: Sealer) -> Session:
    assert sealer._session is not None
    return sealer._session


def until(condition: Callable[[], bool]) -> bool:
    """Wait for what another thread does; the deadline only ends a test that has failed."""
    end = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_a_session_serves_many_messages_and_counts_them() -> None:
    # E-23
    sealer = Sealer(ALICE)
    heads = [seal(sealer) for _ in range(5)]
    assert [head.counter for head in heads] == [1, 2, 3, 4, 5]
    assert len({head.E for head in heads}) == 1


def test_every_recipient_and_subject_shares_the_counter() -> None:
    sealer = Sealer(ALICE)
    first = head_of(sealer.seal(b"", to=[BOB.public], subject="a"))
    second = head_of(sealer.seal(b"", to=[CAROL.public], subject="b"))
    assert (first.E, first.counter, second.counter) == (second.E, 1, 2)


def test_every_message_has_random_bytes_and_a_content_key_of_its_own() -> None:
    # E-26: the same plaintext twice is two ciphertexts, and two commitments.
    sealer = Sealer(ALICE)
    envelopes = [sealer.seal(b"yes", to=[BOB.public], subject=SUBJECT) for _ in range(50)]
    parts = [Pieces.of(envelope).parts[0] for envelope in envelopes]
    assert len({head_of(envelope).nonce_tail for envelope in envelopes}) == 50
    assert len({part[1:33] for part in parts}) == len({part[33:] for part in parts}) == 50


def test_two_sealers_of_one_key_have_two_sessions() -> None:
    assert seal(Sealer(ALICE)).E != seal(Sealer(ALICE)).E


def test_a_session_ends_with_message_2_to_the_20(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-22
    sealer = Sealer(ALICE)
    first = seal(sealer)
    ended = running(sealer)
    monkeypatch.setattr(ended, "_counter", itertools.count(2**20 - 1))
    assert [seal(sealer).counter for _ in range(2)] == [2**20 - 1, 2**20]
    after = [seal(sealer) for _ in range(2)]
    assert [head.counter for head in after] == [1, 2]
    assert after[0].E != first.E
    assert is_empty(ended)


def test_a_session_ends_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-22
    now = 1000.0
    monkeypatch.setattr(session, "monotonic", lambda: now)
    sealer = Sealer(ALICE)
    first = seal(sealer)
    now += 3599.9
    assert seal(sealer).E == first.E
    ended = running(sealer)
    now += 0.1
    after = seal(sealer)
    assert after.E != first.E
    assert after.counter == 1
    assert is_empty(ended)


def test_setting_the_clock_back_does_not_prolong_a_session(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    now = 1000.0
    monkeypatch.setattr(session, "monotonic", lambda: now)
    sealer = Sealer(ALICE)
    first = seal(sealer)
    clock.ms -= 10**9
    now += 3600
    assert seal(sealer).E != first.E


def test_close_ends_the_session_and_the_next_message_begins_another() -> None:
    sealer = Sealer(ALICE)
    first = seal(sealer)
    ended = running(sealer)
    sealer.close()
    sealer.close()
    assert is_empty(ended)
    after = seal(sealer)
    assert after.E != first.E
    assert after.counter == 1


def test_what_was_sealed_before_the_end_opens_behind_it() -> None:
    sealer = Sealer(ALICE)
    envelope = sealer.seal(b"late", to=[BOB.public], subject=SUBJECT)
    sealer.close()
    assert reader().open(envelope, subject=SUBJECT).data == b"late"


def is_empty(ended: Session) -> bool:
    """Whether a session holds no secret any more."""
    return (ended._ephemeral, ended._hedge, ended._recipients, ended._audiences) == (
        None, b"", {}, {},
    )  # fmt: skip


def test_the_timer_drops_the_secrets_of_a_sealer_that_has_nothing_to_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # E-21: the last message of the day must not leave its keys in memory all night.
    monkeypatch.setattr(sealing, "LIFETIME", 0.05)
    sealer = Sealer(ALICE)
    first = seal(sealer)
    assert until(lambda: is_empty(running(sealer)))
    assert seal(sealer).E != first.E


def test_the_ephemeral_secret_is_released_with_the_session() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    secret = session_of(sealer)._secret
    held = sys.getrefcount(secret)
    sealer.close()
    gc.collect()
    assert sys.getrefcount(secret) <= 2 < held, "nobody but this test has it"


def test_neither_the_timer_nor_a_cache_keeps_a_closed_session_alive() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    alive = weakref.ref(running(sealer))
    sealer.close()
    gc.collect()
    assert alive() is None


def test_a_sealer_that_is_let_go_takes_its_session_along() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    alive = weakref.ref(running(sealer))
    del sealer
    gc.collect()
    assert alive() is None


def test_keys_that_are_computed_while_the_session_ends_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The timer comes from another thread, at any moment: here, amid the X25519 with a recipient.
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


def test_nothing_is_drawn_without_the_sessions_secret(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    # E-27: a virtual machine is restored from a snapshot, and the kernel's randomness repeats.
    # The clock is all that differs.
    sealer = Sealer(ALICE)
    seal(sealer)
    restored = running(sealer)
    monkeypatch.setattr(session, "random_bytes", bytes)
    drawn = []
    for ms in (1, 2):
        monkeypatch.setattr(restored, "_counter", itertools.count(7))
        clock.ms += ms
        drawn.append(restored.next_nonce(clock()))
    assert drawn[0][0][:4] == drawn[1][0][:4]
    assert drawn[0][0] != drawn[1][0]
    assert drawn[0][1] != drawn[1][1]


def test_what_the_clock_says_alone_does_not_give_the_keys(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    # E-27: the secret of the session is mixed in as well.
    sealers = [Sealer(ALICE), Sealer(ALICE)]
    for sealer in sealers:
        seal(sealer)
    monkeypatch.setattr(session, "random_bytes", bytes)
    drawn = {running(sealer).next_nonce(clock())[1] for sealer in sealers}
    assert len(drawn) == 2


def test_two_recipients_with_one_tag_begin_a_new_session(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-29
    sealer = Sealer(ALICE)
    first = seal(sealer)
    tag = derive.PairKeys.tag

    def colliding(keys: derive.PairKeys, ephemeral: bytes) -> bytes:
        return bytes(8) if ephemeral == first.E else tag(keys, ephemeral)

    monkeypatch.setattr(derive.PairKeys, "tag", colliding)
    envelope = sealer.seal(b"x", to=[pair(1).public, pair(2).public], subject=SUBJECT)
    assert head_of(envelope).E != first.E
    for number in (1, 2):
        assert reader(pair(number)).open(envelope, subject=SUBJECT).data == b"x"


@pytest.mark.parametrize("keep", ["_AUDIENCES", "_RECIPIENTS"])
def test_a_session_remembers_a_bounded_number_of_recipients(
    monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    monkeypatch.setattr(session, keep, 3)
    sealer = Sealer(ALICE)
    for number in range(20):
        envelope = sealer.seal(b"x", to=[pair(number).public], subject=SUBJECT)
        assert reader(pair(number)).open(envelope, subject=SUBJECT).data == b"x"
        remembered = {
            "_AUDIENCES": len(running(sealer)._audiences),
            "_RECIPIENTS": len(running(sealer)._recipients),
        }
        assert remembered[keep] <= 3


PICKLES = [partial(pickle.dumps, protocol=each) for each in range(pickle.HIGHEST_PROTOCOL + 1)]


@pytest.mark.parametrize("take", [copy.copy, copy.deepcopy, *PICKLES])
def test_a_sealer_and_its_session_cannot_be_copied_or_pickled(
    take: Callable[[object], object],
) -> None:
    # E-25: two of them would count on from the same number, under the same keys.
    sealer = Sealer(ALICE)
    seal(sealer)
    for thing in (sealer, running(sealer)):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            take(thing)


def test_eight_threads_take_4000_different_nonces() -> None:
    # E-23
    sealer = Sealer(ALICE)
    readers = [pair(number).public for number in range(8)]
    barrier, heads = threading.Barrier(8), list[Head]()

    def work(number: int) -> None:
        barrier.wait()
        to: list[XKey | Recipient] = [readers[number], Recipient(readers[(number + 1) % 8])]
        heads.extend(head_of(sealer.seal(b"", to=to, subject=SUBJECT)) for _ in range(500))

    run_threads(work, 8)
    assert len(heads) == len({head.nonce for head in heads}) == 4000
    assert len({(head.E, head.counter) for head in heads}) == 4000
    assert len({head.E for head in heads}) == 1


def test_threads_that_seal_while_sessions_end_lose_nothing_and_repeat_nothing() -> None:
    sealer = Sealer(ALICE)
    envelopes, stop = list[bytes](), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            while not stop.is_set():
                sealer.close()
            return
        for _ in range(100):
            envelopes.append(sealer.seal(b"x", to=[BOB.public], subject=SUBJECT))
        if number == 1:
            stop.set()

    run_threads(work, 4)
    heads = [head_of(envelope) for envelope in envelopes]
    assert len({(head.E, head.counter) for head in heads}) == len(heads) == 300
    opener = reader()
    assert {opener.open(envelope, subject=SUBJECT).data for envelope in envelopes} == {b"x"}


def run_threads(work: Callable[[int], None], count: int) -> None:
    failures = list[BaseException]()

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - reported by the test's thread
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert failures == []
