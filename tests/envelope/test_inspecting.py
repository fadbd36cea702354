"""The parts of an envelope that are visible without any key."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import for_each
from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, NOW, SUBJECT, Clock, reader
from tests.envelope.forge import Pieces, Rogue, head_of
from tests.envelope.inside import seal_parts
from xkeymsg import LimitExceededError, Limits, MalformedError, Sealer, XKeyMsgError
from xkeymsg.envelope.inspect import InspectedPart, inspect, message_id, sender_of


def test_an_outsider_sees_who_when_what_for_and_how_much(clock: Clock) -> None:
    envelope = Sealer(ALICE, signer=ALICE_USER).seal(
        b"secret", to=[BOB.public, CAROL.public], subject=SUBJECT, expires=86_400, revision=7
    )
    seen = inspect(envelope)
    assert (seen.sender, seen.subject, seen.counter) == (ALICE.public, SUBJECT, 1)
    assert seen.created == datetime(2026, 1, 1, tzinfo=UTC)
    assert seen.expires == datetime(2026, 1, 2, tzinfo=UTC)
    assert (seen.identity, seen.signed, seen.revision) == (ALICE_USER.public, True, 7)
    assert (seen.size, len(seen.tags)) == (len(envelope), 2)
    assert seen.parts == [InspectedPart("payload", padded=False, size=6)]
    assert bytes(seen.session) == head_of(envelope).E
    assert (sender_of(envelope), message_id(envelope).hex()) == (
        bytes(ALICE.public),
        seen.message_id,
    )


def test_an_outsider_and_the_reader_give_a_message_the_same_id() -> None:
    envelope = Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT)
    assert inspect(envelope).message_id == reader().open(envelope, subject=">").message_id.hex()


def test_an_outsider_sees_how_many_parts_each_group_of_readers_may_open() -> None:
    envelope = seal_parts(
        Sealer(ALICE, padding=True),
        [b"a", b"b"],
        grants={BOB.public: [0], CAROL.public: [0, 1]},
        subject=SUBJECT,
    )
    seen = inspect(envelope)
    assert seen.views == [1, 2]
    assert seen.parts == [InspectedPart("fields", padded=True, size=2)] * 2
    assert (seen.signed, seen.identity, seen.expires, seen.revision) == (False, None, None, None)


def test_what_is_seen_is_what_the_bytes_say_and_not_what_is_true() -> None:
    # Without a key nothing is verified: anybody in transit may have written all of it.
    envelope = Rogue().envelope(b"x")
    forged = Pieces.of(envelope)._replace(wraps=bytes(49)).join()
    forged = forged.replace(SUBJECT.encode(), b"orders.old")
    assert inspect(forged).subject == "orders.old"


@for_each("envelope", ["xkm1", [120], None])
def test_an_envelope_is_bytes(envelope: object) -> None:
    with pytest.raises(TypeError):
        inspect(envelope)  # type: ignore[arg-type]


def test_what_is_malformed_is_not_shown() -> None:
    for envelope in (b"", b"hello", Rogue().envelope()[:-1], Rogue().envelope(parts=[])):
        with pytest.raises(MalformedError):
            inspect(envelope)
    with pytest.raises(LimitExceededError):
        inspect(Rogue().envelope(), Limits(envelope=100))


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 250))
def test_whatever_comes_is_shown_or_refused_with_an_error_of_ours(data: bytes, cut: int) -> None:
    genuine = Rogue(created_ms=NOW, expires_ms=2**53 - 1, revision=2**53 - 1).envelope()
    for envelope in (data, genuine[:cut] + data, genuine[:cut] + data + genuine[cut + len(data) :]):
        for look in (sender_of, message_id):
            with contextlib.suppress(XKeyMsgError):
                assert look(envelope)
        try:
            assert inspect(envelope).size == len(envelope)
        except XKeyMsgError:
            continue
