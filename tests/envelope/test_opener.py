"""What an opener accepts, and what it reports about a message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    DAVE,
    EVE,
    NOW,
    SUBJECT,
    Clock,
    code_of,
    pair,
    reader,
)
from tests.envelope.forge import Pieces, Rogue
from xkeymsg import (
    ANYONE,
    AtRest,
    AuthenticationError,
    ExpiredError,
    Keyring,
    Limits,
    Live,
    MalformedError,
    NotARecipientError,
    Opener,
    ReplayError,
    Sealer,
    SenderNotAdmittedError,
    StaleError,
    Stream,
    StreamPosition,
    UnsupportedVersionError,
)


def sealed(subject: str = SUBJECT, data: bytes = b"data") -> bytes:
    return Sealer(ALICE).seal(data, to=[BOB.public], subject=subject)


def test_a_message_tells_who_when_and_what_for(clock: Clock) -> None:
    envelope = Sealer(ALICE).seal(b"data", to=[BOB.public], subject=SUBJECT, expires=9)
    message = Opener(BOB, {ALICE.public}).open(envelope, subject=SUBJECT)
    assert message.data == b"data"
    assert message.sender == ALICE.public
    assert message.subject == SUBJECT
    assert message.created == datetime(2026, 1, 1, tzinfo=UTC)
    assert message.expires == datetime(2026, 1, 1, 0, 0, 9, tzinfo=UTC)
    assert message.admitted is True
    assert message.signer is None
    assert message.revision is None
    assert message.headers.pairs == ()
    assert message.content_type is None


def test_a_message_id_is_16_bytes_and_its_own() -> None:
    sealer = Sealer(ALICE)
    ids = {
        reader().open(sealer.seal(b"", to=[BOB.public], subject="a"), subject="a").message_id
        for _ in range(20)
    }
    assert {len(one) for one in ids} == {16}
    assert len(ids) == 20


def test_a_message_that_does_not_expire_says_so() -> None:
    assert reader().open(sealed(), subject=SUBJECT).expires is None


def test_the_last_second_of_the_calendar_stands_for_all_behind_it() -> None:
    rogue = Rogue(expires_ms=2**53 - 1)
    assert reader().open(rogue.envelope(), subject=">").expires == datetime.max.replace(tzinfo=UTC)


def test_senders_of_the_call_take_the_place_of_the_openers() -> None:
    opener, envelope = reader(senders={EVE.public}), sealed()
    with pytest.raises(SenderNotAdmittedError):
        opener.open(envelope, subject=SUBJECT)
    assert opener.open(envelope, subject=SUBJECT, senders={ALICE.public}).admitted
    with pytest.raises(SenderNotAdmittedError):
        opener.open(envelope, subject=SUBJECT)


def test_an_opener_may_leave_the_senders_to_the_calls() -> None:
    message = Opener(BOB).open(sealed(), subject=SUBJECT, senders={ALICE.public})
    assert message.data == b"data"


def test_a_set_without_members_admits_nobody() -> None:
    assert code_of(Opener(BOB, set()), sealed()) == "sender_not_admitted"


def test_senders_may_come_in_any_iterable() -> None:
    opener = Opener(BOB, (key for key in (EVE.public, ALICE.public)), replay=AtRest())
    for _ in range(2):
        assert opener.open(sealed(), subject=SUBJECT).admitted


def test_anyone_is_said_aloud_and_shows() -> None:
    message = Opener(BOB, ANYONE).open(sealed(), subject=SUBJECT)
    assert message.admitted is False
    assert message.sender == ALICE.public
    assert repr(ANYONE) == "ANYONE"


def test_a_retired_key_still_opens_what_was_sealed_to_it() -> None:
    keyring = Keyring(CAROL, retired=[DAVE, BOB])
    opener = Opener(keyring, {ALICE.public}, replay=AtRest())
    for own in (BOB, CAROL, DAVE):
        envelope = Sealer(ALICE).seal(b"x", to=[own.public], subject=SUBJECT)
        assert opener.open(envelope, subject=SUBJECT).data == b"x"


def test_a_retired_key_that_was_erased_opens_nothing_more() -> None:
    assert code_of(Opener(Keyring(CAROL), {ALICE.public}), sealed()) == "not_a_recipient"


def test_the_active_key_is_tried_first_and_the_next_one_where_it_fails() -> None:
    # E-37: an attacker in transit damaged the wrap of one of a reader's two keys.
    envelope = Sealer(ALICE).seal(b"x", to=[BOB.public, CAROL.public], subject=SUBJECT)
    pieces = Pieces.of(envelope)
    for place in (0, 1):
        wraps = bytearray(pieces.wraps)
        wraps[49 * place] ^= 1
        opener = Opener(Keyring(BOB, retired=[CAROL]), {ALICE.public}, replay=AtRest())
        damaged = pieces._replace(wraps=bytes(wraps)).join()
        assert opener.open(damaged, subject=SUBJECT).data == b"x"
    both = bytes(byte ^ 1 for byte in pieces.wraps)
    with pytest.raises(AuthenticationError):
        opener.open(pieces._replace(wraps=both).join(), subject=SUBJECT)


def test_a_message_opens_once(clock: Clock) -> None:
    opener, envelope = Opener(BOB, {ALICE.public}), sealed()
    opener.open(envelope, subject=SUBJECT)
    with pytest.raises(ReplayError):
        opener.open(envelope, subject=SUBJECT)


def test_at_rest_a_message_opens_as_often_and_as_late_as_one_likes(clock: Clock) -> None:
    opener, envelope = reader(), sealed()
    for _ in range(3):
        clock.ms += 10**12
        assert opener.open(envelope, subject=SUBJECT).data == b"data"


def test_at_rest_a_message_expires_all_the_same(clock: Clock) -> None:
    # E-69: from this exact millisecond on.
    envelope = Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT, expires=1)
    clock.ms = NOW + 999
    reader().open(envelope, subject=SUBJECT)
    clock.ms = NOW + 1000
    with pytest.raises(ExpiredError):
        reader().open(envelope, subject=SUBJECT)


def test_max_age_takes_the_place_of_the_limits_value(clock: Clock) -> None:
    envelope = sealed()
    clock.ms += 2000
    with pytest.raises(StaleError):
        Opener(BOB, {ALICE.public}, replay=Live(max_age=1)).open(envelope, subject=SUBJECT)
    limits = Limits(max_age=1)
    with pytest.raises(StaleError):
        Opener(BOB, {ALICE.public}, limits=limits).open(envelope, subject=SUBJECT)
    wide = Opener(BOB, {ALICE.public}, limits=limits, replay=Live(max_age=2))
    assert wide.open(envelope, subject=SUBJECT).data == b"data"


@pytest.mark.parametrize("policy", [Live(), Stream()])
def test_a_position_makes_it_the_policy_of_streams(clock: Clock, policy: Live | Stream) -> None:
    opener, envelope = Opener(BOB, {ALICE.public}, replay=policy), sealed()
    position = StreamPosition("ORDERS", 7, NOW)
    for _ in range(3):
        message = opener.open(envelope, subject=SUBJECT, position=position)
        opener.release(message)
    opener.settle(message)
    for sequence in (7, 8):
        with pytest.raises(ReplayError):
            opener.open(envelope, subject=SUBJECT, position=position._replace(sequence=sequence))


def test_who_is_not_a_recipient_learns_how_many_there_are() -> None:
    # E-35
    keys = [pair(number).public for number in range(1, 8)]
    envelope = Sealer(ALICE).seal(b"", to=keys, subject=SUBJECT)
    with pytest.raises(NotARecipientError) as caught:
        reader().open(envelope, subject=SUBJECT)
    assert caught.value.recipients == 7


def test_a_reader_with_a_user_also_opens_what_was_sealed_to_the_bare_key() -> None:
    keyring = Keyring(BOB, user=BOB_USER.public)
    assert Opener(keyring, {ALICE.public}).open(sealed(), subject=SUBJECT).data == b"data"
    strict = Keyring(BOB, user=BOB_USER.public, accept_unbound=False)
    assert code_of(Opener(strict, {ALICE.public}), sealed()) == "not_a_recipient"


@for_each("data", [b"", b"x", b"xkm", b"xkv1" + bytes(60), b"hello world", b"\x96"])
def test_bytes_other_than_an_envelope_are_malformed(data: bytes) -> None:
    # E-12
    with pytest.raises(MalformedError):
        reader().open(data, subject=">")


@for_each("data", [b"xkm2", b"xkm0" + bytes(300), b"xkm\0", b"xkmm", b"xkm\xff\x96"])
def test_another_version_is_said_to_be_one(data: bytes) -> None:
    # E-11
    with pytest.raises(UnsupportedVersionError):
        reader().open(data, subject=">")


def test_a_message_shows_its_id_and_size_and_nothing_of_itself() -> None:
    message = reader().open(sealed(data=b"secret"), subject=SUBJECT)
    assert str(message) == repr(message) == f"<Message {message.message_id.hex()} of 6 bytes>"


def test_an_opener_shows_its_public_key_and_nothing_else() -> None:
    assert repr(reader()) == str(reader()) == f"<Opener for {BOB.public}>"


def test_the_opener_of_a_mapping_tells_the_signer() -> None:
    opener = Opener(BOB, {ALICE.public: ALICE_USER.public})
    envelope = Sealer(ALICE, signer=ALICE_USER).seal(b"", to=[BOB.public], subject=SUBJECT)
    assert opener.open(envelope, subject=SUBJECT).signer == ALICE_USER.public


def test_other_keys_of_the_same_reader_keep_its_memory() -> None:
    opener = Opener(BOB, senders={ALICE.public})
    once = Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT)
    opener.open(once, subject=SUBJECT)
    opener.rekey(Keyring(CAROL, retired=[BOB]))
    with pytest.raises(ReplayError):
        opener.open(once, subject=SUBJECT)
    opener.open(Sealer(ALICE).seal(b"", to=[CAROL.public], subject=SUBJECT), subject=SUBJECT)
    opener.rekey(DAVE)
    with pytest.raises(NotARecipientError):
        opener.open(Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT), subject=SUBJECT)
    with pytest.raises(TypeError):
        opener.rekey(DAVE.public)  # type: ignore[arg-type]
