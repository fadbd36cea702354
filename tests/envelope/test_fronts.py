"""What an opener remembers of how messages begin spares it work, and never a check."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.envelope.cast import (
    ALICE,
    BOB,
    BOB_USER,
    CAROL,
    MALLORY,
    SUBJECT,
    code_of,
    pair,
    reader,
    to,
)
from tests.envelope.forge import Pieces, Rogue
from xkeymsg import (
    ANYONE,
    Admission,
    Keyring,
    Limits,
    Opener,
    Recipient,
    SenderNotAdmittedError,
    XKey,
    primitives,
)
from xkeymsg.envelope import frame, head
from xkeymsg.envelope.head import FIRST_MS, MAX_COUNTER, PAST_MS


def seasoned(senders: object = frozenset({ALICE.public}), own: object = BOB) -> Opener:
    """An opener that knows how messages of the rogue's session begin."""
    opener = Opener(own, senders, replay="file")  # type: ignore[arg-type]
    opener.open(Rogue().envelope(b"first"), subject=SUBJECT)
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


def test_what_strangers_send_is_remembered_apart() -> None:
    opener = seasoned(ANYONE)
    assert not opener._unlocker._admitted.fronts
    assert len(opener._unlocker._others.fronts) == 1


def test_an_altered_message_behind_a_known_beginning_is_hashed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opener, hashed, sha256 = seasoned(), 0, primitives.sha256

    def counted(data: bytes | memoryview) -> bytes:
        nonlocal hashed
        hashed += 1
        return sha256(data)

    pieces = Pieces.of(Rogue(counter=2).envelope(b"x"))
    monkeypatch.setattr(primitives, "sha256", counted)
    assert code_of(opener, pieces._replace(wraps=bytes(49)).join()) == "authentication"
    assert hashed == 1


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
    assert not opener._unlocker._admitted.fronts


def test_a_beginning_is_all_before_the_views_but_nonce_and_time() -> None:
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
        end = len(front) + 21
        assert envelope[end:].startswith(b"\x90\x91")
        for longer in range(end):
            frame.front_of(envelope[:longer], Limits())  # says something, or nothing


def test_the_rarer_forms_have_no_beginning_that_is_remembered() -> None:
    long_head = Rogue(subject="s" * 200).envelope()
    assert frame.front_of(long_head, Limits()) is None
    opener = reader()
    for _ in range(2):
        assert opener.open(long_head, subject=">").subject == "s" * 200
    assert frame.front_of(Rogue().envelope(), Limits(envelope=100)) is None
