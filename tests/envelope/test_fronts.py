"""What an opener remembers of how messages begin spares it work, and never a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from tests.envelope.cast import (
    ALICE,
    ALICE_USER,
    BOB,
    BOB_USER,
    CAROL,
    MALLORY,
    SUBJECT,
    Clock,
    code_of,
    pair,
    raw_user,
    reader,
    to,
)
from tests.envelope.forge import MESSAGE, PADDED, Pieces, Rogue
from xkeymsg import (
    ANYONE,
    Admission,
    Keyring,
    Limits,
    Opener,
    Recipient,
    ReplayError,
    Sealer,
    SenderNotAdmittedError,
    StaleError,
    SubjectMismatchError,
    XKey,
    primitives,
)
from xkeymsg.envelope import frame, head, swift
from xkeymsg.envelope.head import FIRST_MS, MAX_COUNTER, PAST_MS


def seasoned(senders: object = frozenset({ALICE.public}), own: object = BOB) -> Opener:
    """An opener that knows how messages of the rogue's session begin."""
    opener = Opener(own, senders, replay="file")  # type: ignore[arg-type]
    identity = raw_user(ALICE_USER) if isinstance(senders, dict) else None
    opener.open(Rogue(identity=identity).envelope(b"first"), subject=SUBJECT)
    return opener


@pytest.fixture
def unparsed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many heads were read in full."""
    count = 0
    decode = head.decode_head

    def counted(data: bytes, start: int, end: int) -> head.Head:
        nonlocal count
        count += 1
        return decode(data, start, end)

    monkeypatch.setattr("xkeymsg.envelope.unlocking.decode_head", counted)
    return lambda: count


def test_the_second_message_that_begins_alike_is_not_read_in_full(
    unparsed: Callable[[], int],
) -> None:
    opener = seasoned()
    for counter in range(2, 5):
        message = opener.open(Rogue(counter=counter).envelope(b"%d" % counter), subject=SUBJECT)
        assert message.data == b"%d" % counter
        assert (
            message.message_id
            == reader().open(Rogue(counter=counter).envelope(b""), subject=SUBJECT).message_id
        )
    assert unparsed() == 1 + 3, "the opener's first, and one for each new reader"


@pytest.mark.parametrize(
    "changed",
    [
        {"counter": 0},
        {"counter": MAX_COUNTER + 1},
        {"created_ms": FIRST_MS - 1},
        {"created_ms": PAST_MS},
        {"created_ms": 2**64 - 1},
    ],
)
def test_numbers_out_of_range_are_refused_behind_a_known_beginning(
    changed: dict[str, int],
) -> None:
    envelope = Rogue(**changed).envelope()  # type: ignore[arg-type]
    assert code_of(seasoned(), envelope) == code_of(reader(), envelope) == "malformed"


def test_the_time_in_another_form_is_refused_behind_a_known_beginning() -> None:
    envelope = Rogue().envelope()
    assert envelope[90:91] == b"\xcf"
    for other in (b"\xd3", b"\xcb", b"\xce", b"\x00"):
        data = envelope[:90] + other + envelope[91:]
        assert code_of(seasoned(), data) == code_of(reader(), data) == "malformed"


def test_whoever_is_no_longer_admitted_is_refused_behind_a_known_beginning() -> None:
    admitted = True

    class Trust:
        def admit(self, sender: XKey, subject: str) -> Admission | None:
            return Admission() if admitted else None

    opener = seasoned(Trust())
    admitted = False
    with pytest.raises(SenderNotAdmittedError):
        opener.open(Rogue(counter=2).envelope(), subject=SUBJECT)
    with pytest.raises(SenderNotAdmittedError):
        seasoned().open(Rogue(counter=2).envelope(), subject=SUBJECT, senders={MALLORY.public})


def test_what_strangers_send_is_remembered_apart(unparsed: Callable[[], int]) -> None:
    opener = seasoned(ANYONE)
    assert len(opener._unlocker._admitted.fronts) == 0
    assert len(opener._unlocker._others.fronts) == 1
    before = unparsed()
    opener.open(Rogue(counter=2).envelope(), subject=SUBJECT)
    assert unparsed() == before


@pytest.mark.parametrize(("size", "times"), [(1, 2), (swift.MOST, 1)])
def test_an_altered_message_behind_a_known_beginning_is_hashed_once_if_it_is_large(
    monkeypatch: pytest.MonkeyPatch, size: int, times: int
) -> None:
    # And a small one twice: by the short way, and by the one that judges.
    opener, hashed, sha256 = seasoned(), 0, primitives.sha256

    def counted(data: bytes | memoryview) -> bytes:
        nonlocal hashed
        hashed += 1
        return sha256(data)

    pieces = Pieces.of(Rogue(counter=2).envelope(bytes(size)))
    monkeypatch.setattr(primitives, "sha256", counted)
    assert code_of(opener, pieces._replace(wraps=bytes(49)).join()) == "authentication"
    assert hashed == times


def test_the_keys_of_a_reader_are_tried_in_their_order_behind_a_known_beginning() -> None:
    # E-37: to two keys of one reader. The first wrap is damaged in one message of three.
    keyring = Keyring(BOB, retired=[CAROL], user=BOB_USER.public)
    readers = (Recipient(BOB.public, BOB_USER.public), Recipient(CAROL.public))
    opener = Opener(keyring, {ALICE.public}, replay="file")
    for counter in range(1, 4):
        rogue = Rogue(counter=counter, to=readers)
        pieces = Pieces.of(rogue.envelope(b"x"))
        place = [row.tag for row in rogue.rows()].index(rogue.key(readers[0]).tag)
        if counter == 2:
            wraps = bytearray(pieces.wraps)
            wraps[49 * place] ^= 1
            pieces = pieces._replace(wraps=bytes(wraps))
        assert opener.open(pieces.join(), subject=SUBJECT).data == b"x"


def test_a_wrap_that_opens_only_behind_a_failing_one_is_not_remembered() -> None:
    # What is remembered is the first wrap for us, or the order would depend on the past.
    readers = to(BOB, CAROL)
    opener = Opener(Keyring(BOB, retired=[CAROL]), {ALICE.public}, replay="file")
    rogue = Rogue(to=readers)
    pieces = Pieces.of(rogue.envelope(b"x"))
    place = [row.tag for row in rogue.rows()].index(rogue.key(readers[0]).tag)
    wraps = bytearray(pieces.wraps)
    wraps[49 * place] ^= 1
    opener.open(pieces._replace(wraps=bytes(wraps)).join(), subject=SUBJECT)
    assert len(opener._unlocker._admitted.fronts) == 0


def test_a_beginning_is_head_and_first_tag_but_nonce_and_time() -> None:
    many = to(*map(pair, range(40)))
    for rogue in (Rogue(), Rogue(to=many), Rogue(subject="s" * 100, revision=300)):
        envelope = rogue.envelope()
        front = frame.front_of(envelope, Limits())
        assert front is not None
        assert rogue.nonce not in front
        assert front == frame.front_of(
            Rogue(**(vars(rogue) | {"counter": 9, "created_ms": 2**40})).envelope(b"other"),
            Limits(),
        )
        pieces = Pieces.of(envelope)
        few = len(pieces.tags) <= 255
        assert len(front) == 7 + len(pieces.head) - 21 + (2 + len(pieces.tags) if few else 3 + 8)
        assert front.endswith(pieces.tags if few else pieces.tags[:8])
        for longer in range(len(front) + 21):
            frame.front_of(envelope[:longer], Limits())  # says something, or nothing


@pytest.mark.parametrize(("size", "fronts"), [(5, 2), (31, 2), (32, 1), (50, 1)])
def test_tags_of_two_audiences_that_begin_alike_are_not_confused(size: int, fronts: int) -> None:
    # As many, the first of them the same: what is known of one says nothing of the other.
    readers = sorted(to(*map(pair, range(60))), key=lambda one: Rogue().key(one).tag)
    first, other = (
        Rogue(to=(*readers[: size - 1], *to(BOB))),
        Rogue(to=(*readers[: size - 2], *readers[size : size + 1], *to(BOB))),
    )
    assert first.rows()[0] == other.rows()[0]
    assert first.rows() != other.rows()
    opener = reader()
    for counter in range(1, 5):
        for rogue in (first, other):
            envelope = rogue.but(counter=counter).envelope(b"x")
            assert opener.open(envelope, subject=SUBJECT).data == b"x"
            tags = Pieces.of((other if rogue is first else first).but(counter=9).envelope()).tags
            swapped = Pieces.of(envelope)._replace(tags=tags).join()
            assert code_of(opener, swapped) == code_of(reader(), swapped) == "authentication"
    assert len(opener._unlocker._admitted.fronts) == fronts


def test_the_rarer_forms_have_no_beginning_that_is_remembered() -> None:
    long_head = Rogue(subject="s" * 200).envelope()
    assert frame.front_of(long_head, Limits()) is None
    opener = reader()
    for _ in range(2):
        assert opener.open(long_head, subject=">").subject == "s" * 200
    assert frame.front_of(Rogue().envelope(), Limits(envelope=100)) is None


def test_an_ordinary_message_takes_the_short_way(general: Callable[[], int]) -> None:
    opener = seasoned()
    assert general() == 1
    for size in (0, 1, 206, 207, 208, 209, 1000, 65_000):
        assert opener.open(Rogue(counter=2).envelope(bytes(size)), subject=SUBJECT).data == bytes(
            size
        )
    assert general() == 1


def test_what_is_out_of_the_ordinary_does_not(general: Callable[[], int]) -> None:
    opener = seasoned({ALICE.public: ALICE_USER.public})
    rogue = Rogue(counter=2, identity=raw_user(ALICE_USER))
    opener.open(rogue.envelope(b""), subject=SUBJECT)
    before = general()
    for envelope in (
        rogue.envelope(bytes(swift.MOST)),
        rogue.envelope(parts=[rogue.part(0, b"\x92\xc0\x90", MESSAGE)]),
        rogue.envelope(parts=[rogue.part(0, b"\x80", PADDED)]),
        Rogue(identity=raw_user(ALICE_USER), expires_ms=2**50).envelope(b""),
    ):
        opener.open(envelope, subject=SUBJECT)
    assert general() == before + 4


@pytest.mark.parametrize("replay", ["live", "file"])
def test_the_short_way_demands_all_that_the_general_way_does(
    replay: Literal["live", "file"], clock: Clock
) -> None:
    sealer = Sealer(ALICE)
    opener = Opener(BOB, {ALICE.public}, replay=replay)

    def sealed() -> bytes:
        return sealer.seal(b"x", to=[BOB.public], subject=SUBJECT)

    opener.open(sealed(), subject=SUBJECT, wire_subject=SUBJECT)
    with pytest.raises(SubjectMismatchError):
        opener.open(sealed(), subject="orders.other")
    with pytest.raises(SubjectMismatchError):
        opener.open(sealed(), subject=SUBJECT, wire_subject="orders.other")
    with pytest.raises(TypeError):
        opener.open(sealed(), subject=SUBJECT, wire_subject=7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        opener.open(bytearray(sealed()), subject=SUBJECT)  # type: ignore[arg-type]
    late = sealed()
    twice = sealed()
    opener.open(twice, subject=SUBJECT)
    if replay == "live":
        with pytest.raises(ReplayError) as caught:
            opener.open(twice, subject=SUBJECT)
        assert caught.value.outside == "refused"
        clock.ms += 10 * 60_000
        with pytest.raises(StaleError) as stale:
            opener.open(late, subject=SUBJECT)
        assert stale.value.outside == "refused"
    else:
        assert opener.open(twice, subject=SUBJECT).data == b"x"


def test_a_signature_that_is_demanded_is_not_forgotten_on_the_short_way() -> None:
    class Trust:
        signs = False

        def admit(self, sender: XKey, subject: str) -> Admission:
            return Admission(frozenset({raw_user(ALICE_USER)}), always_signs=self.signs)

    trust = Trust()
    opener = Opener(BOB, trust, replay="file")
    rogue = Rogue(identity=raw_user(ALICE_USER))
    opener.open(rogue.envelope(b"x"), subject=SUBJECT)
    trust.signs = True
    assert code_of(opener, rogue.but(counter=2).envelope(b"x")) == "signature_missing"


def test_another_user_is_not_admitted_on_the_short_way() -> None:
    users = {raw_user(ALICE_USER)}

    class Trust:
        def admit(self, sender: XKey, subject: str) -> Admission:
            return Admission(frozenset(users))

    opener = Opener(BOB, Trust(), replay="file")
    rogue = Rogue(identity=raw_user(ALICE_USER))
    opener.open(rogue.envelope(b"x"), subject=SUBJECT)
    users.clear()
    users.add(raw_user(BOB_USER))
    assert code_of(opener, rogue.but(counter=2).envelope(b"x")) == "sender_not_admitted"


def test_a_wrong_commitment_is_refused_on_the_short_way() -> None:
    opener = seasoned()
    pieces = Pieces.of(Rogue(counter=2).envelope(b"fine"))
    zeroed = pieces.parts[0][:1] + bytes(32) + pieces.parts[0][33:]
    assert code_of(opener, Rogue(counter=2).envelope(parts=[zeroed])) == "commitment"
    altered = pieces.parts[0][:-1] + bytes([pieces.parts[0][-1] ^ 1])
    assert code_of(opener, Rogue(counter=2).envelope(parts=[altered])) == "authentication"


def test_subjects_that_can_be_read_once_are_enough_for_both_ways() -> None:
    opener, sealer = Opener(BOB, {ALICE.public}), Sealer(ALICE)
    for _ in range(3):
        envelope = sealer.seal(b"x", to=[BOB.public], subject=SUBJECT)
        assert opener.open(envelope, subject=iter(("other", SUBJECT))).data == b"x"


def test_other_keys_know_no_beginning_of_those_before(general: Callable[[], int]) -> None:
    """What an opening has begun with before `rekey` it ends with; the next one does not."""

    class Rekeying:
        due = False

        def admit(self, sender: XKey, subject: str) -> Admission | None:
            if self.due:
                opener.rekey(CAROL)
            return Admission()

    trust, sealer = Rekeying(), Sealer(ALICE)
    opener = Opener(BOB, trust)
    several = [sealer.seal(b"x", to=[BOB.public], subject=SUBJECT) for _ in range(4)]
    for each in several[:2]:
        opener.open(each, subject=SUBJECT)
    before, trust.due = general(), True
    opener.open(several[2], subject=SUBJECT)
    assert general() == before
    assert code_of(opener, several[3]) == "not_a_recipient"
    trust.due = False
    opener.rekey(BOB)
    assert code_of(opener, several[2]) == "replay"
