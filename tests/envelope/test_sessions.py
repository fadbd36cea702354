"""Sessions: a counter that never repeats, and secrets that do not outlive them."""

from __future__ import annotations

import sys

import pytest

from tests.envelope.cast import ALICE, BOB, CAROL, SUBJECT, Clock, pair, reader
from tests.envelope.forge import Pieces, head_of
from tests.envelope.inside import cached_in_session, is_empty, running, seal, set_monotonic, skip_to
from tests.envelope.together import together
from tests.reference.head import Head
from xkeymsg import MalformedError, Recipient, Sealer, XKey
from xkeymsg.envelope import derive, session


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
    # E-26: the same plaintext twice gives two ciphertexts and two commitments.
    sealer = Sealer(ALICE)
    envelopes = [sealer.seal(b"yes", to=[BOB.public], subject=SUBJECT) for _ in range(50)]
    parts = [Pieces.of(envelope).parts[0] for envelope in envelopes]
    assert len({head_of(envelope).nonce_tail for envelope in envelopes}) == 50
    assert len({part[1:33] for part in parts}) == len({part[33:] for part in parts}) == 50


def test_a_subject_that_is_refused_takes_no_number_of_the_session() -> None:
    sealer = Sealer(ALICE)
    seal(sealer)
    with pytest.raises(MalformedError):
        sealer.seal(b"", to=[BOB.public], subject="a b")
    assert seal(sealer).counter == 2


def test_two_sealers_of_one_key_have_two_sessions() -> None:
    assert seal(Sealer(ALICE)).E != seal(Sealer(ALICE)).E


def test_a_session_ends_with_message_2_to_the_20(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-22
    sealer = Sealer(ALICE)
    first = seal(sealer)
    ended = running(sealer)
    skip_to(monkeypatch, ended, 2**20 - 1)
    assert [seal(sealer).counter for _ in range(2)] == [2**20 - 1, 2**20]
    after = [seal(sealer) for _ in range(2)]
    assert [head.counter for head in after] == [1, 2]
    assert after[0].E != first.E
    assert is_empty(ended)


def test_a_session_ends_after_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-22
    now = 1000.0
    set_monotonic(monkeypatch, lambda: now)
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
    set_monotonic(monkeypatch, lambda: now)
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


@pytest.mark.parametrize("keep", ["AUDIENCES", "RECIPIENTS"])
def test_a_session_remembers_a_bounded_number_of_recipients(
    monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    monkeypatch.setattr(session, keep, 3)
    sealer = Sealer(ALICE)
    for number in range(20):
        envelope = sealer.seal(b"x", to=[pair(number).public], subject=SUBJECT)
        assert reader(pair(number)).open(envelope, subject=SUBJECT).data == b"x"
        assert cached_in_session(running(sealer))[keep] <= 3


def test_eight_threads_take_4000_different_nonces() -> None:
    # E-23
    sealer = Sealer(ALICE)
    readers = [pair(number).public for number in range(8)]
    heads = list[Head]()

    def work(number: int) -> None:
        to: list[XKey | Recipient] = [readers[number], Recipient(readers[(number + 1) % 8])]
        heads.extend(head_of(sealer.seal(b"", to=to, subject=SUBJECT)) for _ in range(500))

    together(8, work)
    assert len(heads) == len({head.nonce for head in heads}) == 4000
    assert len({(head.E, head.counter) for head in heads}) == 4000
    assert len({head.E for head in heads}) == 1


def test_threads_that_seal_while_sessions_end_lose_nothing_and_repeat_nothing() -> None:
    sealer = Sealer(ALICE)
    envelopes = list[bytes]()

    def work(number: int) -> None:
        for _ in range(100):
            if number == 0:
                sealer.close()
            else:
                envelopes.append(sealer.seal(b"x", to=[BOB.public], subject=SUBJECT))

    together(4, work)
    heads = [head_of(envelope) for envelope in envelopes]
    assert len({(head.E, head.counter) for head in heads}) == len(heads) == 300
    opener = reader()
    assert {opener.open(envelope, subject=SUBJECT).data for envelope in envelopes} == {b"x"}


def test_a_message_goes_to_its_own_readers_whatever_other_threads_seal_meanwhile() -> None:
    # Another thread seals to Carol between two reads of the plan that this one is about to use:
    # Bob's message must not go to her.
    sealer = Sealer(ALICE)

    class Meanwhile(Recipient):
        def __eq__(self, other: object) -> bool:
            sealer.seal(b"for Carol", to=[CAROL.public], subject=SUBJECT)
            return super().__eq__(other)

        __hash__ = Recipient.__hash__

    sealer.seal(b"1", to=[Recipient(BOB.public)], subject=SUBJECT)
    for _ in range(2):
        envelope = sealer.seal(b"2", to=[Meanwhile(BOB.public)], subject=SUBJECT)
        assert reader(BOB).open(envelope, subject=SUBJECT).data == b"2"


def test_threads_with_readers_of_their_own_do_not_mix_them_up() -> None:
    sealer, readers = Sealer(ALICE), [pair(number) for number in range(4)]
    openers = [reader(own) for own in readers]

    def work(number: int) -> set[bytes]:
        to = [readers[number].public]
        sealed = [sealer.seal(b"x", to=to, subject=SUBJECT) for _ in range(1000)]
        return {openers[number].open(envelope, subject=SUBJECT).data for envelope in sealed}

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert together(4, work) == [{b"x"}] * 4
    finally:
        sys.setswitchinterval(interval)
