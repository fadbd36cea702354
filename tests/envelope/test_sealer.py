"""What a sealer accepts, what it produces, and what it refuses."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.cases import for_each
from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    DAVE,
    MALLORY_USER,
    NOW,
    SUBJECT,
    Clock,
    pair,
    raw_user,
    reader,
)
from tests.envelope.forge import Pieces, head_of
from xkeymsg import (
    AtRest,
    BadKeyError,
    ConfigurationError,
    ExpiredError,
    KeyFormatError,
    LimitExceededError,
    Limits,
    MalformedError,
    Opener,
    Recipient,
    Sealer,
    SignatureInvalidError,
    XKey,
    XKeyPair,
    primitives,
)


def recipients_of(envelope: bytes) -> int:
    return len(Pieces.of(envelope).tags) // 8


def test_a_message_opens_for_each_of_its_recipients() -> None:
    envelope = Sealer(ALICE).seal(b"hello", to=[BOB.public, CAROL.public], subject=SUBJECT)
    for own in (BOB, CAROL):
        assert reader(own).open(envelope, subject=SUBJECT).data == b"hello"


def test_recipients_may_come_in_any_iterable() -> None:
    envelope = Sealer(ALICE).seal(b"", to=(key for key in (BOB.public,)), subject=SUBJECT)
    assert reader().open(envelope, subject=SUBJECT).data == b""


def test_the_smallest_envelope_is_221_bytes_long() -> None:
    assert len(Sealer(ALICE).seal(b"", to=[BOB.public], subject="a")) == 221


def test_a_further_recipient_costs_57_bytes() -> None:
    sealer = Sealer(ALICE)
    keys = [pair(number).public for number in range(1, 4)]
    sizes = [len(sealer.seal(b"", to=keys[:n], subject="a")) for n in (1, 2, 3)]
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] == 57


def test_a_recipient_named_twice_is_one() -> None:
    # E-28: two wraps under one key and nonce would let the recipient forge wraps.
    named: list[XKey | Recipient] = [
        BOB.public,
        Recipient(BOB.public),
        BOB.public,
        XKey.parse(str(BOB.public)),
    ]
    assert recipients_of(Sealer(ALICE).seal(b"", to=named, subject=SUBJECT)) == 1


def test_a_key_with_a_user_and_the_bare_key_are_two_recipients() -> None:
    named: list[XKey | Recipient] = [BOB.public, Recipient(BOB.public, BOB_USER.public)]
    assert recipients_of(Sealer(ALICE).seal(b"", to=named, subject=SUBJECT)) == 2


def test_tags_are_in_ascending_order_whatever_the_order_of_recipients() -> None:
    # The order of the tags must not reveal the order of the recipients.
    sealer = Sealer(ALICE)
    keys = [pair(number).public for number in range(1, 33)]
    there = Pieces.of(sealer.seal(b"", to=keys, subject=SUBJECT)).tags
    back = Pieces.of(sealer.seal(b"", to=keys[::-1], subject=SUBJECT)).tags
    assert there == back
    assert there == b"".join(sorted(there[at : at + 8] for at in range(0, len(there), 8)))


def test_escrow_opens_every_message() -> None:
    sealer = Sealer(ALICE, always_to=[DAVE.public])
    for to in ([BOB.public], [CAROL.public]):
        envelope = sealer.seal(b"x", to=to, subject=SUBJECT)
        assert reader(DAVE).open(envelope, subject=SUBJECT).data == b"x"


def test_escrow_that_is_named_as_well_counts_once() -> None:
    sealer = Sealer(ALICE, always_to=[BOB.public])
    assert recipients_of(sealer.seal(b"", to=[BOB.public], subject=SUBJECT)) == 1


def test_a_sender_may_seal_to_itself() -> None:
    envelope = Sealer(ALICE).seal(b"note", to=[ALICE.public], subject=SUBJECT)
    assert reader(ALICE).open(envelope, subject=SUBJECT).data == b"note"


def test_a_message_without_recipients_is_refused() -> None:
    with pytest.raises(MalformedError, match="no recipients"):
        Sealer(ALICE).seal(b"", to=[], subject=SUBJECT)


def test_1024_recipients_are_sealed_to_and_1025_are_not() -> None:
    keys = [pair(number).public for number in range(1, 1026)]
    sealer = Sealer(ALICE)
    envelope = sealer.seal(b"all", to=keys[:1024] * 2, subject=SUBJECT)
    assert recipients_of(envelope) == 1024
    assert reader(pair(1024)).open(envelope, subject=SUBJECT).data == b"all"
    with pytest.raises(LimitExceededError, match="1025"):
        sealer.seal(b"all", to=keys, subject=SUBJECT)


def test_escrow_counts_against_the_limit_of_recipients() -> None:
    sealer = Sealer(ALICE, limits=Limits(recipients=1), always_to=[DAVE.public])
    with pytest.raises(LimitExceededError):
        sealer.seal(b"", to=[BOB.public], subject=SUBJECT)


def test_an_envelope_beyond_the_local_limit_is_not_handed_out() -> None:
    sealer = Sealer(ALICE, limits=Limits(envelope=1000))
    assert len(sealer.seal(bytes(500), to=[BOB.public], subject=SUBJECT)) < 1000
    with pytest.raises(LimitExceededError, match="envelope"):
        sealer.seal(bytes(1000), to=[BOB.public], subject=SUBJECT)


@for_each(
    "subject",
    ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\x7f", "a.*", "*", "a*", ">", "a.>", "\n", "\0"],
)
def test_what_is_not_a_subject_is_not_sealed(subject: str) -> None:
    # E-9, E-20
    with pytest.raises(MalformedError):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject=subject)


def test_a_subject_with_a_lone_surrogate_is_not_sealed() -> None:
    with pytest.raises(MalformedError, match="Unicode"):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject="a\ud800")


def test_a_subject_has_at_most_255_bytes() -> None:
    sealer = Sealer(ALICE)
    for longest in ("s" * 255, "é" * 127):
        envelope = sealer.seal(b"", to=[BOB.public], subject=longest)
        assert reader().open(envelope, subject=longest).subject == longest
    for long in ("s" * 256, "é" * 128):
        with pytest.raises(LimitExceededError, match="subject"):
            sealer.seal(b"", to=[BOB.public], subject=long)


def test_the_attributes_arrive(clock: Clock) -> None:
    sealer = Sealer(ALICE, identity=ALICE_USER.public)
    envelope = sealer.seal(b"", to=[BOB.public], subject=SUBJECT, expires=3600, revision=77)
    head = head_of(envelope)
    assert head.identity == raw_user(ALICE_USER)
    assert head.expires_ms == NOW + 3_600_000
    message = reader().open(envelope, subject=SUBJECT)
    assert message.revision == 77
    assert message.expires is not None
    assert message.expires - message.created == timedelta(hours=1)


@for_each("revision", [-1, 2**53, 2**70])
def test_a_revision_that_no_envelope_can_say_is_refused(revision: int) -> None:
    with pytest.raises(MalformedError, match="revision"):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT, revision=revision)


@for_each("expires", [0, -1, 0.000_009])
def test_a_message_that_would_be_expired_when_sealed_is_refused(expires: float) -> None:
    with pytest.raises(ExpiredError):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT, expires=expires)


def test_an_expiry_beyond_what_an_envelope_can_say_is_refused() -> None:
    with pytest.raises(MalformedError, match="expires: too far"):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT, expires=86_400 * 10**9)


@pytest.mark.parametrize("ms", [0, 2**32 - 1, 2**53])
def test_a_clock_that_no_envelope_can_say_stops_sealing(clock: Clock, ms: int) -> None:
    clock.ms = ms
    with pytest.raises(MalformedError, match="clock"):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT)


def test_the_identity_has_to_be_the_signers() -> None:
    Sealer(ALICE, signer=ALICE_USER, identity=ALICE_USER.public)
    with pytest.raises(ConfigurationError, match="signer"):
        Sealer(ALICE, signer=ALICE_USER, identity=MALLORY_USER.public)


@for_each("identity", ["", "U", str(ALICE.public), ALICE_USER.public.lower()])
def test_an_identity_is_a_user_key(identity: str) -> None:
    with pytest.raises(KeyFormatError):
        Sealer(ALICE, identity=identity)


class _Token:
    """A signer with a defect."""

    public_key = ALICE_USER.public_key

    def __init__(self, sign: Callable[[bytes], bytes]) -> None:
        self._sign = sign

    def sign(self, data: bytes, /) -> bytes:
        return self._sign(data)


@for_each("size", [0, 63, 65])
def test_what_a_signer_returns_has_to_be_a_signature(size: int) -> None:
    sealer = Sealer(ALICE, signer=_Token(lambda _: bytes(size)))
    with pytest.raises(SignatureInvalidError):
        sealer.seal(b"", to=[BOB.public], subject=SUBJECT)


@for_each("kind", [list, tuple, partial(array, "B"), lambda _: None, lambda _: "x" * 64])
def test_what_a_signer_returns_has_to_be_bytes(kind: Callable[[bytes], Any]) -> None:
    sealer = Sealer(ALICE, signer=_Token(lambda data: kind(ALICE_USER.sign(data))))
    with pytest.raises(TypeError, match="a signature must be bytes"):
        sealer.seal(b"", to=[BOB.public], subject=SUBJECT)


@for_each("kind", [bytes, bytearray, memoryview])
def test_a_signature_in_any_buffer_is_one(kind: Callable[[bytes], bytes]) -> None:
    # Tokens return what their library does, whatever the annotation says.
    sealer = Sealer(ALICE, signer=_Token(lambda data: kind(ALICE_USER.sign(data))))
    envelope = sealer.seal(b"x", to=[BOB.public], subject=SUBJECT)
    opener = Opener(BOB, senders={ALICE.public: ALICE_USER.public}, replay=AtRest())
    assert opener.open(envelope, subject=SUBJECT).signer == ALICE_USER.public


def test_a_payload_that_no_bin_holds_is_refused_before_it_is_copied() -> None:
    try:
        data = bytes(2**32 - 49)  # zeros that nobody touches take no memory
    except MemoryError:
        pytest.skip("this system reserves memory before it is used")
    with pytest.raises(LimitExceededError) as caught:
        Sealer(ALICE).seal(data, to=[BOB.public], subject=SUBJECT)
    assert (caught.value.actual, caught.value.limit) == (2**32, 2**32 - 1)


def test_a_signer_that_fails_costs_a_counter_and_no_more() -> None:
    # E-23: a counter is never used twice, even if sealing failed.
    fail = True

    def sign(data: bytes) -> bytes:
        if fail:
            raise OSError("the token is not plugged in")
        return ALICE_USER.sign(data)

    sealer = Sealer(ALICE, signer=_Token(sign))
    with pytest.raises(OSError, match="plugged"):
        sealer.seal(b"", to=[BOB.public], subject=SUBJECT)
    fail = False
    envelope = sealer.seal(b"", to=[BOB.public], subject=SUBJECT)
    assert head_of(envelope).counter == 2
    opener = Opener(BOB, senders={ALICE.public: ALICE_USER.public}, replay=AtRest())
    assert opener.open(envelope, subject=SUBJECT).signer == ALICE_USER.public


def test_a_recipient_of_small_order_cannot_even_be_named() -> None:
    # E-1: the shared secret would be public.
    with pytest.raises(KeyFormatError):
        XKey(b"\1" + bytes(31))


def test_a_shared_secret_of_zeros_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-2: the check is required, even though sound keys cannot cause it.
    monkeypatch.setattr(primitives, "x25519", lambda _secret, _public: None)
    with pytest.raises(BadKeyError):
        Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT)


def test_a_recipient_that_is_removed_cannot_open_the_next_message() -> None:
    # The session is warm and Carol's keys are cached; each message has its own content key.
    sealer = Sealer(ALICE)
    sealer.seal(b"1", to=[BOB.public, CAROL.public], subject=SUBJECT)
    envelope = sealer.seal(b"2", to=[BOB.public], subject=SUBJECT)
    with pytest.raises(Exception, match="sealed to"):
        reader(CAROL).open(envelope, subject=SUBJECT)


def test_a_sealer_shows_its_public_key_and_nothing_else() -> None:
    sealer = Sealer(ALICE)
    sealer.seal(b"", to=[BOB.public], subject=SUBJECT)
    assert sealer.public == ALICE.public
    assert repr(sealer) == str(sealer) == f"<Sealer {ALICE.public}>"


def test_generated_keys_work_as_well() -> None:
    alice, bob = XKeyPair.generate(), XKeyPair.generate()
    envelope = Sealer(alice).seal(b"hi", to=[bob.public], subject=SUBJECT)
    assert Opener(bob, {alice.public}).open(envelope, subject=SUBJECT).data == b"hi"
