"""Elements moved, cut or altered in transit: no element of a message is valid by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, NOW, SUBJECT, code_of, pair, reader
from tests.envelope.forge import Pieces, key_of
from tests.envelope.inside import open_fields, seal_parts
from tests.reference.encoding import Cursor, array, binary, string, uint
from xkeymsg import AtRest, Opener, Recipient, Sealer, XKey, XKeyMsgError, XKeyPair

REFUSED_ON_THE_WAY = {
    "authentication", "not_a_recipient", "sender_not_admitted", "malformed", "unsupported_version",
    "limit_exceeded", "bad_key",
}  # fmt: skip


def two_messages() -> tuple[bytes, bytes]:
    """Return two messages of one session, to the same readers, of the same length."""
    sealer = Sealer(ALICE, signer=ALICE_USER)
    to = [BOB.public, CAROL.public]
    first, second = (sealer.seal(data, to=to, subject=SUBJECT) for data in (b"pay 10", b"pay 99"))
    return first, second


def two_documents() -> tuple[bytes, bytes]:
    sealer = Sealer(ALICE)
    grants: dict[XKey | Recipient, list[int]] = {BOB.public: [0], CAROL.public: [0, 1]}
    first, second = (
        seal_parts(sealer, parts, grants=grants, subject=SUBJECT)
        for parts in ([b"name", b"dose 1"], [b"name", b"dose 9"])
    )
    return first, second


def fields_of(head: bytes) -> list[bytes]:
    """Return the six encodings in a head."""
    cursor = Cursor(head, 0, at=1)
    fields = [binary(cursor.binary()) for _ in range(3)]
    fields += [uint(cursor.uint()), string(cursor.text())]
    return [*fields, head[cursor.at :]]


@for_each("element", ["head", "parts", "signature", "wraps"])
def test_an_element_of_another_message_of_the_same_session_does_not_fit(element: str) -> None:
    # The attacker holds two messages of one session, with the same sender, readers and tags.
    first, second = map(Pieces.of, two_messages())
    assert first.tags == second.tags
    mixed = first._replace(**{element: getattr(second, element)})
    for own in (BOB, CAROL):
        assert code_of(reader(own), mixed.join()) == "authentication"


def test_the_wrap_of_one_reader_does_not_fit_in_the_place_of_another() -> None:
    pieces = Pieces.of(two_messages()[0])
    swapped = pieces._replace(wraps=pieces.wrap(1) + pieces.wrap(0)).join()
    for own in (BOB, CAROL):
        assert code_of(reader(own), swapped) == "authentication"


def test_tags_and_wraps_that_are_swapped_together_are_out_of_order() -> None:
    pieces = Pieces.of(two_messages()[0])
    swapped = pieces._replace(
        tags=pieces.tags[8:] + pieces.tags[:8], wraps=pieces.wrap(1) + pieces.wrap(0)
    )
    assert code_of(reader(), swapped.join()) == "malformed"


def test_the_tag_of_another_session_matches_no_recipient() -> None:
    # The attacker copies Bob's tag from an older session.
    older, newer = (
        Pieces.of(Sealer(ALICE).seal(b"", to=[BOB.public], subject=SUBJECT)) for _ in range(2)
    )
    assert code_of(reader(), newer._replace(tags=older.tags).join()) == "not_a_recipient"


@for_each("field", range(6))
def test_no_field_of_the_head_can_come_from_another_message(field: int) -> None:
    # S and E are replaced by existing keys, the other fields by values of another message.
    first = Sealer(ALICE, identity=ALICE_USER.public).seal(b"", to=[BOB.public], subject="orders")
    other = Sealer(CAROL).seal(b"", to=[BOB.public], subject="salary")
    pieces, fields = Pieces.of(first), fields_of(Pieces.of(first).head)
    fields[field] = fields_of(Pieces.of(other).head)[field]
    if field == 3:
        fields[field] = uint(NOW)
    mixed = pieces._replace(head=array(fields)).join()
    opener = reader(senders={ALICE.public, CAROL.public})
    assert code_of(opener, mixed) in ("authentication", "not_a_recipient")


def test_the_subject_cannot_be_changed_on_the_way() -> None:
    # The broker's operator lets an order for a test count as a real one.
    envelope = Sealer(ALICE).seal(b"", to=[BOB.public], subject="orders.test")
    assert code_of(reader(), envelope.replace(b"orders.test", b"orders.real")) == "authentication"


def test_an_identity_cannot_be_added_or_removed_on_the_way() -> None:
    for sealer in (Sealer(ALICE), Sealer(ALICE, identity=ALICE_USER.public)):
        pieces = Pieces.of(sealer.seal(b"", to=[BOB.public], subject=SUBJECT))
        fields = fields_of(pieces.head)
        for attributes in (b"\x93\xc0\xc0\xc0", b"\x93\xc0" + binary(bytes(31) + b"\1") + b"\xc0"):
            if attributes != fields[5]:
                changed = pieces._replace(head=array([*fields[:5], attributes])).join()
                assert code_of(reader(), changed) == "authentication"


@for_each("element", ["head", "views", "parts", "wraps"])
def test_an_element_of_another_document_does_not_fit(element: str) -> None:
    first, second = map(Pieces.of, two_documents())
    mixed = first._replace(**{element: getattr(second, element)}).join()
    for own in (BOB, CAROL):
        with pytest.raises(XKeyMsgError) as caught:
            open_fields(reader(own), mixed)
        assert caught.value.code == "authentication"


@pytest.mark.parametrize("element", ["views", "parts"])
def test_views_and_parts_cannot_change_places(element: str) -> None:
    # Bob may read part 0, and has the views reordered.
    pieces = Pieces.of(two_documents()[0])
    items: tuple[bytes, ...] = getattr(pieces, element)
    changed = pieces._replace(**{element: items[::-1]})  # type: ignore[arg-type]
    assert code_of(reader(), changed.join()) == "authentication"


def test_a_part_or_view_cannot_be_left_out_or_put_in_twice() -> None:
    pieces = Pieces.of(two_documents()[0])
    for changed in (
        pieces._replace(parts=pieces.parts[:1]),
        pieces._replace(parts=(*pieces.parts, pieces.parts[0])),
        pieces._replace(views=pieces.views[:1]),
        pieces._replace(views=(*pieces.views, pieces.views[0])),
        pieces._replace(views=()),
    ):
        assert code_of(reader(), changed.join()) == "authentication"


def test_a_reader_of_few_parts_cannot_take_the_view_of_another() -> None:
    # Bob knows VK of his view only. Carol's view is in the same envelope, under its own key.
    envelope = two_documents()[0]
    assert open_fields(reader(BOB), envelope) == {0: b"name"}
    assert open_fields(reader(CAROL), envelope) == {0: b"name", 1: b"dose 1"}


@pytest.fixture(scope="module")
def small() -> bytes:
    """Return the smallest envelope with every element: two readers and a signature."""
    return Sealer(ALICE, signer=ALICE_USER).seal(b"", to=[BOB.public, CAROL.public], subject="a")


def outcome(envelope: bytes, own: XKeyPair = BOB) -> str:
    opener = Opener(own, {ALICE.public: ALICE_USER.public}, replay=AtRest())
    try:
        opener.open(envelope, subject=">")
    except XKeyMsgError as error:
        return (
            error.code if error.public_code == "undecryptable" else f"{error.code} behind the wrap"
        )
    return "opened"


def test_every_truncation_is_refused(small: bytes) -> None:
    for end in range(len(small)):
        assert outcome(small[:end]) in REFUSED_ON_THE_WAY


def test_nothing_can_be_put_before_behind_or_into_it(small: bytes) -> None:
    for at in range(len(small) + 1):
        for byte in (b"\0", b"\xc0", b"\xff"):
            assert outcome(small[:at] + byte + small[at:]) in REFUSED_ON_THE_WAY


def test_no_byte_can_be_taken_out(small: bytes) -> None:
    for at in range(len(small)):
        assert outcome(small[:at] + small[at + 1 :]) in REFUSED_ON_THE_WAY


def places(envelope: bytes, own: XKeyPair) -> Iterator[int]:
    """Yield every position except those of the other reader's wrap."""
    tags, wraps = Pieces.of(envelope).tags, len(envelope) - len(Pieces.of(envelope).wraps)
    mine = wraps + 49 * (tags.index(key_of(own, envelope).tag) // 8)
    yield from range(wraps)
    yield from range(mine, mine + 49)


@pytest.mark.parametrize("own", [BOB, CAROL])
def test_every_flipped_bit_is_refused(small: bytes, own: XKeyPair) -> None:
    for at in places(small, own):
        for bit in range(8):
            flipped = bytearray(small)
            flipped[at] ^= 1 << bit
            assert outcome(bytes(flipped), own) in REFUSED_ON_THE_WAY


@pytest.mark.parametrize("value", [0, 0x7F, 0x80, 0xC0, 0xFF])
def test_every_byte_that_is_set_to_something_else_is_refused(small: bytes, value: int) -> None:
    for at in places(small, BOB):
        if small[at] != value:
            changed = small[:at] + bytes([value]) + small[at + 1 :]
            assert outcome(changed) in REFUSED_ON_THE_WAY


def test_every_flipped_bit_of_a_document_is_refused() -> None:
    envelope = two_documents()[0]
    opener = reader()
    for at in places(envelope, BOB):
        flipped = bytearray(envelope)
        flipped[at] ^= 1 << at % 8
        with pytest.raises(XKeyMsgError) as caught:
            open_fields(opener, bytes(flipped))
        assert caught.value.code in REFUSED_ON_THE_WAY


def test_the_halves_of_two_messages_do_not_open() -> None:
    first, second = two_messages()
    assert len(first) == len(second)
    for at in range(1, len(first) - 98):
        mixed = first[:at] + second[at:]
        assert mixed == second or outcome(mixed) in REFUSED_ON_THE_WAY


def test_another_session_of_the_same_two_people_does_not_fit_either() -> None:
    there = [Sealer(ALICE).seal(b"x", to=[BOB.public], subject=SUBJECT) for _ in range(2)]
    first, second = map(Pieces.of, there)
    for element in ("parts", "wraps", "tags", "head"):
        mixed = first._replace(**{element: getattr(second, element)}).join()
        assert code_of(reader(), mixed) in ("authentication", "not_a_recipient")


def test_a_wrap_for_another_user_of_the_same_key_does_not_fit() -> None:
    # 40 strangers and Bob: his wrap opens in its own position only.
    keys = [BOB.public, *(pair(n).public for n in range(40))]
    envelope = Sealer(ALICE).seal(b"x", to=keys, subject=SUBJECT)
    pieces = Pieces.of(envelope)
    place = pieces.tags.index(key_of(BOB, envelope).tag) // 8
    for other in range(41):
        wraps = [pieces.wrap(n) for n in range(41)]
        wraps[place], wraps[other] = wraps[other], wraps[place]
        moved = pieces._replace(wraps=b"".join(wraps)).join()
        assert (code_of(reader(), moved) if other != place else "") in ("", "authentication")
