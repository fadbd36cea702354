"""Step 5: the tags (E-30 to E-32), and where the wraps are (E-33, E-34)."""

from __future__ import annotations

from dataclasses import replace

from tests.reference.encoding import string
from tests.reference.seal import Row
from tests.vectors.builder import Scene, each, flipped
from tests.vectors.people import BOB, CAROL, crowd, to
from tests.vectors.vector import Vector

BOTH = [to(BOB), to(CAROL)]


@each(n_1025=b"\xc5\x20\x08", of_8193_bytes=b"\xc5\x20\x01", of_4_gigabytes=b"\xc6\xff\xff\xff\xff")
def tags_limit(scene: Scene, header: bytes) -> Vector:
    """More than 8,192 bytes are announced; whether they are there is not asked."""
    made = scene.payload(tags_element=lambda element: header + element[2:])
    return scene.undecryptable("limit_exceeded", made, "E-30", "E-8")


@each(
    not_shortest=b"\xc5\x00\x08",
    not_shortest_beyond_the_limit=b"\xc6\x00\x00\x20\x08",
    str=b"\xa8",
    array=b"\x98",
    nil=b"\xc0",
)
def tags_as(scene: Scene, header: bytes) -> Vector:
    """The tags are a bin with the shortest header."""
    made = scene.payload(tags_element=lambda element: header + element[2:])
    return scene.undecryptable("malformed", made, "E-6", "E-8")


def tags_that_are_not_there(scene: Scene) -> Vector:
    """A number of tags within the limit, more than the envelope has bytes."""
    made = scene.payload(tags_element=lambda element: b"\xc5\x20\x00" + element[2:])
    return scene.undecryptable("malformed", made, "E-8")


def tags_empty(scene: Scene) -> Vector:
    """An envelope for nobody is none."""
    made = scene.payload(rows=lambda _: [])
    return scene.undecryptable("malformed", made, "E-31")


@each(seven=7, nine=9, one=1, twelve=12)
def tags_of_bytes(scene: Scene, length: int) -> Vector:
    """A tag has eight bytes."""
    made = scene.payload(tags=lambda tags: (tags + tags)[:length])
    return scene.undecryptable("malformed", made, "E-31")


def tags_that_differ_in_the_last_bit(scene: Scene) -> Vector:
    """Tags are compared to their last byte."""

    def edit(rows: list[Row]) -> list[Row]:
        other = replace(rows[0], tag=flipped(rows[0].tag), K=bytes(32))
        return sorted([rows[0], other], key=lambda row: row.tag)

    return scene.success(scene.payload(rows=edit), "E-32")


def tags_descending(scene: Scene) -> Vector:
    """The order of the tags shows who was named first; the wraps are in the same order here."""
    made = scene.payload(to=BOTH, rows=lambda rows: rows[::-1])
    return scene.undecryptable("malformed", made, "E-32")


def tags_of_four_with_two_swapped(scene: Scene) -> Vector:
    """Only the last two are out of order."""

    def swap(rows: list[Row]) -> list[Row]:
        return [*rows[:2], rows[3], rows[2]]

    made = scene.payload(to=crowd(4), rows=swap)
    return scene.undecryptable("malformed", made, "E-32")


def tags_equal(scene: Scene) -> Vector:
    """Two wraps under one key and nonce: whoever opens one could forge others."""
    made = scene.payload(rows=lambda rows: rows * 2)
    return scene.undecryptable("malformed", made, "E-32")


def tags_in_the_order_of_signed_numbers(scene: Scene) -> Vector:
    """A tag from 0x80 on is not less than one below: bytes have no sign."""

    def order(rows: list[Row]) -> list[Row]:
        high = [row for row in rows if row.tag[0] >= 0x80]
        low = [row for row in rows if row.tag[0] < 0x80]
        assert high
        assert low
        return high + low

    made = scene.payload(to=crowd(6), rows=order)
    return scene.undecryptable("malformed", made, "E-32")


def tags_malformed_for_somebody_else(scene: Scene) -> Vector:
    """Who is no recipient sees the same: the form comes before the search for one's own."""
    made = scene.payload(to=[to(CAROL)], rows=lambda rows: rows * 2)
    return scene.undecryptable("malformed", made, "E-32", "E-88")


def envelope_ends_behind_the_tags(scene: Scene) -> Vector:
    """Counted from the end, the wraps would begin before the tags do."""
    made = scene.payload(envelope=lambda envelope: envelope[: envelope.index(b"\xc4\x08") + 10])
    return scene.undecryptable("malformed", made, "E-33")


def wraps_reach_into_the_tags(scene: Scene) -> Vector:
    """One byte is missing between the tags and the header of the wraps."""
    made = scene.payload(
        views_element=lambda _: b"",
        parts_element=lambda _: b"",
        signature_element=lambda _: b"",
        wraps_header=lambda header: header[1:],
    )
    return scene.undecryptable("malformed", made, "E-33")


def wraps_header_in_the_tags(scene: Scene) -> Vector:
    """The last tag ends with c4 62, the header of two wraps, and Bob's wrap verifies."""
    theirs = Row(b"\xff" * 6 + b"\xc4\x62", bytes(32), 0, bytes(32))
    made = scene.payload(
        rows=lambda rows: [*rows, theirs],
        views_element=lambda _: b"",
        parts_element=lambda _: b"",
        signature_element=lambda _: b"",
        wraps_header=lambda _: b"",
    )
    return scene.undecryptable("malformed", made, "E-33")


def nothing_between_tags_and_wraps(scene: Scene) -> Vector:
    """q = p: no views, no parts, no signature, but a wrap that verifies over all of that."""
    made = scene.payload(
        views_element=lambda _: b"", parts_element=lambda _: b"", signature_element=lambda _: b""
    )
    return scene.refused("malformed", made, "E-41", "E-8")


@each(
    not_shortest=b"\xc5\x00\x31",
    str=b"\xd9\x31",
    one_byte_short=b"\xc4\x30",
    one_byte_more=b"\xc4\x32",
    of_four_bytes=b"\xc6\x00\x00\x00\x31",
    missing=b"",
)
def wraps_header(scene: Scene, header: bytes) -> Vector:
    """The wraps are a bin of 49 bytes per tag; the wrap verifies, but for its header."""
    made = scene.payload(wraps_header=lambda _: header)
    return scene.undecryptable("malformed", made, "E-34")


@each(one_byte_short=b"\xc5\x01\x25", not_shortest=b"\xc6\x00\x00\x01\x26", in_one_byte=b"\xc4\x26")
def wraps_header_of_six(scene: Scene, header: bytes) -> Vector:
    """Six wraps have 294 bytes, so the header is c5 01 26."""
    made = scene.payload(to=crowd(6), wraps_header=lambda _: header)
    return scene.undecryptable("malformed", made, "E-34")


def wraps_fewer_than_tags(scene: Scene) -> Vector:
    """Two tags and one wrap."""
    made = scene.payload(to=BOTH, wraps=lambda wraps: wraps[:1])
    return scene.undecryptable("malformed", made, "E-34")


def wraps_more_than_tags(scene: Scene) -> Vector:
    """One tag and two wraps."""
    made = scene.payload(wraps=lambda wraps: wraps * 2)
    return scene.undecryptable("malformed", made, "E-34")


def wraps_as_an_array(scene: Scene) -> Vector:
    """An array of one str of 49 bytes is as long as a bin with a header of three."""
    made = scene.payload(wraps_header=lambda _: b"\x91" + string(b"w" * 49)[:2])
    return scene.undecryptable("malformed", made, "E-34")
