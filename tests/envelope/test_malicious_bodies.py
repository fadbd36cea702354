"""Malformed bodies, between tags and wraps, whose wraps verify."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.cases import for_each
from tests.envelope.cast import reader
from tests.envelope.forge import (
    FIELDS,
    PAYLOAD,
    VIEW_KEYS,
)
from tests.envelope.inside import open_fields
from tests.envelope.rogue import ROGUE, code, parts, view
from tests.reference.encoding import binary


@for_each("size", [0, 1, 33, 48])
def test_a_part_that_is_too_short_is_refused(size: int) -> None:
    # E-46
    assert code(ROGUE.envelope(parts=[bytes(size)])) == "malformed"


def test_no_parts_are_refused() -> None:
    # E-48
    assert code(ROGUE.envelope(parts=[])) == "malformed"


def test_64_parts_open_and_65_do_not() -> None:
    # E-45
    most = parts(*[FIELDS] * 64)
    assert len(open_fields(reader(), ROGUE.envelope(parts=most, views=[view(63)]))) == 1
    more = parts(*[FIELDS] * 65)
    assert code(ROGUE.envelope(parts=more, views=[view(63)])) == "limit_exceeded"


def test_256_views_open_and_257_do_not() -> None:
    # E-42
    views = [view(0, index=v) for v in range(256)]
    grant = b"\xff" + VIEW_KEYS[255]
    both = parts(FIELDS, FIELDS)
    assert open_fields(reader(), ROGUE.envelope(parts=both, views=views, grants=[grant]))
    more = ROGUE.envelope(parts=both, views=[*views, views[0]], grants=[grant])
    assert code(more) == "limit_exceeded"


def test_one_part_has_no_views_and_several_have_some() -> None:
    # E-44
    assert code(ROGUE.envelope(parts=parts(FIELDS), views=[view(0)])) == "malformed"
    assert code(ROGUE.envelope(parts=parts(PAYLOAD), views=[view(0)])) == "malformed"
    assert code(ROGUE.envelope(parts=parts(FIELDS, FIELDS))) == "malformed"


@for_each("size", [0, 47, 48, 80, 82, 48 + 33 * 3, 2160, 2161])
@for_each("place", [0, 1])
def test_a_view_of_a_length_that_no_list_has_is_refused_by_all(size: int, place: int) -> None:
    # E-43: also for readers of another view.
    views = [view(0, 1), view(0, 1, index=1)]
    views[place] = bytes(size)
    assert code(ROGUE.envelope(parts=parts(FIELDS, FIELDS), views=views)) == "malformed"


def body(*elements: bytes) -> bytes:
    return ROGUE.envelope(body=b"".join(elements))


PART = binary(ROGUE.part(0, b"x"))


@for_each(
    "elements",
    [
        (),
        (b"\x90",),
        (b"\x90", b"\x91"),
        (b"\x90", b"\x91", PART),
        (b"\x90", b"\x91", PART, b"\xc4"),
        (b"\x90", b"\x91", PART, b"\xc4\x40"),
        (b"\x90", b"\x91", PART, b"\xc4\x40", bytes(63)),
        (b"\x90", b"\x91", PART, b"\xc4\x00", b"\0"),
        (b"\x90", b"\x91", PART, b"\xc4\x00", b"\xc4\x00"),
        (b"\x90", b"\x91", PART, b"\xc0"),
        (b"\x90", b"\x92", PART, b"\xc4\x00"),
        (b"\x90", b"\x90", PART, b"\xc4\x00"),
        (b"\x91", b"\x91", PART, b"\xc4\x00"),
        (b"\xc4\x00", b"\x91", PART, b"\xc4\x00"),
        (b"\x90", b"\x91", b"\x91" + PART, b"\xc4\x00"),
        (b"\x90", b"\x91", PART[:-1], b"\xc4\x00"),
        (b"\x90", b"\x91", b"\xc6\xff\xff\xff\xff", b"\xc4\x00"),
        (b"\x91", b"\xc6\xff\xff\xff\xff", b"\x91", PART, b"\xc4\x00"),
        (b"\x90", b"\x91", PART, b"\xc6\xff\xff\xff\xff"),
    ],
)
def test_a_body_that_does_not_end_where_the_wraps_begin_is_refused(
    elements: Sequence[bytes],
) -> None:
    # E-41, and E-8 for announced bytes that are missing.
    assert code(body(*elements)) == "malformed"


@pytest.mark.parametrize("tag", [0xDC, 0xDD])
def test_an_array_that_announces_too_much_is_refused_before_it_is_looked_for(tag: int) -> None:
    # E-8
    announced = bytes([tag]) + b"\xff" * (2 if tag == 0xDC else 4)
    assert code(body(announced)) == "limit_exceeded"
    assert code(body(b"\x90", announced)) == "limit_exceeded"


def test_nested_arrays_are_not_followed() -> None:
    # A megabyte of nested arrays instead of a part.
    assert code(body(b"\x90", b"\x91" * 1_000_000)) == "malformed"
    assert code(body(b"\x91" * 1_000_000)) == "malformed"
