"""After a verified wrap every byte is the sender's, and the sender may be malicious.

It knows all keys of its message, so that wraps, commitments and ciphertexts verify. Readers must
still refuse content that two readers could interpret differently, or that costs too much.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.cases import for_each
from tests.envelope.cast import BOB, CAROL, SUBJECT, code_of, reader, to
from tests.envelope.forge import (
    CONTENT_KEYS,
    FIELDS,
    MESSAGE,
    METADATA,
    PADDED,
    PAYLOAD,
    VIEW_KEYS,
    Rogue,
    grant_list,
)
from tests.envelope.inside import open_fields
from tests.envelope.rogue import NO_ARRAY, ROGUE, code, parts, view
from tests.reference.encoding import array, binary, header
from xkeymsg import ContentTypeError


def test_a_document_opens_for_its_reader() -> None:
    envelope = ROGUE.envelope(parts=parts(FIELDS, FIELDS, METADATA), views=[view(0, 2)])
    assert open_fields(reader(), envelope) == {0: b""}


def test_a_document_of_one_part_has_no_view() -> None:
    envelope = ROGUE.envelope(parts=parts(FIELDS, content=b"all"))
    assert open_fields(reader(), envelope) == {0: b"all"}


def test_documents_and_payloads_are_not_interchangeable() -> None:
    # E-61
    with pytest.raises(ContentTypeError):
        reader().open(ROGUE.envelope(parts=parts(FIELDS)), subject=">")
    document = ROGUE.envelope(parts=parts(FIELDS, FIELDS), views=[view(1)])
    with pytest.raises(ContentTypeError):
        reader().open(document, subject=">")
    for kind in (PAYLOAD, MESSAGE, PAYLOAD + PADDED):
        with pytest.raises(ContentTypeError):
            open_fields(reader(), ROGUE.envelope(parts=parts(kind)))


@for_each(
    "kinds",
    [
        (PAYLOAD, PAYLOAD),
        (PAYLOAD, MESSAGE),
        (PAYLOAD, FIELDS),
        (FIELDS, PAYLOAD),
        (FIELDS, MESSAGE),
        (FIELDS, METADATA, METADATA),
        (FIELDS, METADATA, METADATA + PADDED),
        (FIELDS + PADDED, PAYLOAD + PADDED),
        (METADATA, METADATA),
    ],
)
def test_parts_that_are_neither_one_payload_nor_one_document_are_refused(
    kinds: Sequence[int],
) -> None:
    # E-48: two payloads with two readers are two messages in one, and each reader would take its
    # payload for the whole.
    views = [view(*range(len(kinds)))]
    assert code(ROGUE.envelope(parts=parts(*kinds), views=views)) == "malformed"


@pytest.mark.parametrize("kind", [METADATA, METADATA + PADDED])
def test_metadata_alone_is_not_a_document(kind: int) -> None:
    # E-48
    assert code(ROGUE.envelope(parts=parts(kind))) == "malformed"


def test_two_payloads_for_two_readers_open_for_neither() -> None:
    rogue = Rogue(to=to(BOB, CAROL))
    payloads = [rogue.part(j, b"pay %d" % j) for j in (0, 1)]
    views = [rogue.view(v, grant_list([v])) for v in (0, 1)]
    grants = [bytes([v]) + VIEW_KEYS[v] for v in (0, 1)]
    envelope = rogue.envelope(parts=payloads, views=views, grants=grants)
    for own in (BOB, CAROL):
        assert code_of(reader(own), envelope) == "malformed"


@for_each("kind", [4, 5, 15, 20, 32, 128, 255])
def test_a_part_of_an_unknown_type_is_of_a_later_version(kind: int) -> None:
    # E-47, granted or not.
    assert code(ROGUE.envelope(parts=parts(kind))) == "unsupported_version"
    envelope = ROGUE.envelope(parts=parts(FIELDS, kind), views=[view(0)])
    assert code(envelope) == "unsupported_version"


@for_each("index", [1, 2, 255])
def test_the_wrap_of_one_part_names_view_0(index: int) -> None:
    # E-51
    grant = bytes([index]) + CONTENT_KEYS[0]
    assert code(ROGUE.envelope(parts=parts(FIELDS), grants=[grant])) == "malformed"


@for_each("index", [1, 2, 255])
def test_a_wrap_for_a_view_that_is_not_there_is_refused(index: int) -> None:
    # E-51
    grant = bytes([index]) + VIEW_KEYS[0]
    envelope = ROGUE.envelope(parts=parts(FIELDS, FIELDS), views=[view(0)], grants=[grant])
    assert code(envelope) == "malformed"


@for_each("indices", [(1, 0), (0, 0), (1, 1), (2,), (0, 2), (255,), (0, 1, 1)[1:]])
def test_a_list_whose_parts_are_not_ascending_or_not_there_is_refused(
    indices: Sequence[int],
) -> None:
    # E-53
    envelope = ROGUE.envelope(parts=parts(FIELDS, FIELDS), views=[view(*indices)])
    assert code(envelope) == "malformed"


def test_a_view_without_fields_is_refused() -> None:
    # E-54
    envelope = ROGUE.envelope(parts=parts(FIELDS, METADATA), views=[view(1)])
    assert code(envelope) == "malformed"


def test_a_view_without_the_metadata_is_refused() -> None:
    # E-54
    envelope = ROGUE.envelope(parts=parts(FIELDS, METADATA), views=[view(0)])
    assert code(envelope) == "malformed"


@for_each("place", [0, 1, 2])
def test_metadata_may_stand_anywhere(place: int) -> None:
    kinds = [FIELDS, FIELDS]
    kinds.insert(place, METADATA)
    envelope = ROGUE.envelope(parts=parts(*kinds), views=[view(0, 1, 2)])
    assert len(open_fields(reader(), envelope)) == 2


def test_views_may_be_equal_unused_and_in_any_order() -> None:
    views = [view(0, index=0), view(0, 1, index=1), view(0, index=2)]
    grant = b"\1" + VIEW_KEYS[1]
    envelope = ROGUE.envelope(parts=parts(FIELDS, FIELDS), views=views, grants=[grant])
    assert open_fields(reader(), envelope).keys() == {0, 1}


def test_a_view_that_does_not_open_is_refused() -> None:
    # E-56: its commitment matches, but its ciphertext does not.
    broken = bytearray(view(0, 1))
    broken[40] ^= 1
    envelope = ROGUE.envelope(parts=parts(FIELDS, FIELDS), views=[bytes(broken)])
    assert code(envelope) == "authentication"


def test_a_granted_part_that_does_not_open_is_refused() -> None:
    # E-56
    broken = bytearray(ROGUE.part(1, b"x", FIELDS))
    broken[-1] ^= 1
    both = [ROGUE.part(0, b"x", FIELDS), bytes(broken)]
    assert code(ROGUE.envelope(parts=both, views=[view(0, 1)])) == "authentication"
    assert open_fields(reader(), ROGUE.envelope(parts=both, views=[view(0)])) == {0: b"x"}


def test_a_byte_behind_the_metadata_is_refused() -> None:
    # E-59
    both = [ROGUE.part(0, b"", FIELDS), ROGUE.part(1, NO_ARRAY + b"\0", METADATA)]
    assert code(ROGUE.envelope(parts=both, views=[view(0, 1)])) == "malformed"


def test_padding_comes_off_everything_before_anything_is_parsed() -> None:
    # E-88: step 12 names padding before the array, and here the metadata comes first.
    too_long = b"\x92\xdb\xff\xff\xff\xff"
    both = [ROGUE.part(0, too_long, METADATA), ROGUE.part(1, b"none", FIELDS + PADDED)]
    assert code(ROGUE.envelope(parts=both, views=[view(0, 1)])) == "malformed"
    both[1] = ROGUE.part(1, b"\x80", FIELDS + PADDED)
    assert code(ROGUE.envelope(parts=both, views=[view(0, 1)])) == "limit_exceeded"


def test_one_sender_can_give_two_readers_two_documents() -> None:
    # The limit stated in the specification: parts with different readers may hold different values
    # of one field. The sender cannot combine them into one part.
    rogue = Rogue(to=to(BOB, CAROL))
    both = array(binary(rogue.part(j, b"value %d" % j, FIELDS)) for j in (0, 1))
    views = array(binary(rogue.view(v, grant_list([v]))) for v in (0, 1))
    grants = [bytes([v]) + VIEW_KEYS[v] for v in (0, 1)]
    envelope = rogue.envelope(body=views + both + header("bin", 0), grants=grants)
    opened = [open_fields(reader(own), envelope) for own in (BOB, CAROL)]
    assert sorted(opened, key=str) == [{0: b"value 0"}, {1: b"value 1"}]


def test_two_messages_with_one_id_are_two_messages() -> None:
    # The limit stated in the specification: the id covers (S, E, nonce), not the contents.
    first, second = (reader().open(ROGUE.envelope(data), subject=SUBJECT) for data in (b"1", b"2"))
    assert first.message_id == second.message_id
    assert first.data != second.data
