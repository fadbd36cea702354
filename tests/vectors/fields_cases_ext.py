"""Long integers, Decimals, times and UUIDs: F-13 to F-19."""

from __future__ import annotations

from tests.reference.fields_scalars import MAX_DECIMAL_BYTES, MAX_INTEGER_BYTES, integer_data
from tests.reference.fields_write import ext
from tests.vectors.fields_builder import each, joins, refused, root, value
from tests.vectors.fields_vector import Vector

NINES = 10**4300 - 1
LEAST = -6176  # exponent
LAST = 253_402_300_799_999_999
FIRST = -62_135_596_800_000_000


def header(code: int, k: int) -> bytes:
    """An ext that announces k bytes."""
    return b"\xc8" + k.to_bytes(2, "big") + bytes([code])


@each(
    two_to_the_64=2**64,
    below_64_bits=-(2**63) - 1,
    minus_two_to_the_64=-(2**64),
    greatest_of_9_bytes=2**71 - 1,
    least_of_9_bytes=-(2**71),
    least_of_10_bytes_that_is_positive=2**71,
    of_16_bytes=-(2**127),
    of_4300_nines=NINES,
    of_4300_nines_below_zero=-NINES,
)
def integer(number: int) -> Vector:
    """An integer beyond 64 bits."""
    return joins(str(number), "F-1", "F-13", "F-14", of=[root(ext(1, integer_data(number)))])


@each(
    none=b"",
    one=b"\x01",
    eight_that_are_needed=b"\x01" + bytes(7),
    eight_below_zero=b"\xff" + bytes(7),
)
def integer_of_too_few_bytes(data: bytes) -> Vector:
    """An integer within 64 bits has one spelling less: it is never an ext."""
    return refused("malformed", "F-13", of=[root(ext(1, data))])


def integer_of_too_few_bytes_by_its_header() -> Vector:
    """8 bytes are announced and none is there."""
    return refused("malformed", "F-13", of=[root(header(1, 8))])


@each(
    zero_bits=bytes(9) + b"\x01" * 3,
    one_bits=b"\xff" * 10,
    zero_bits_and_a_half=b"\x00\x7f" + bytes(8),
    one_bits_and_a_half=b"\xff\x80" + bytes(8),
    zeros_up_to_the_limit=bytes(MAX_INTEGER_BYTES),
)
def integer_that_begins_with_9(data: bytes) -> Vector:
    """A byte too many: without this rule, zeros would be free padding."""
    return refused("malformed", "F-13", of=[root(ext(1, data))])


@each(
    greatest_of_64_bits=b"\x00" + b"\xff" * 8,
    two_to_the_63=b"\x00\x80" + bytes(7),
    least_of_64_bits=b"\xff\x80" + bytes(7),
)
def integer_of_9_bytes_within_64_bits(data: bytes) -> Vector:
    """It has a shorter spelling."""
    return refused("malformed", "F-13", of=[root(ext(1, data))])


def integer_of_1787_bytes() -> Vector:
    """No integer of 4,300 digits is as long."""
    data = b"\x01" + bytes(MAX_INTEGER_BYTES)
    return refused("limit_exceeded", "F-14", of=[root(ext(1, data))])


@each(integer=(1, MAX_INTEGER_BYTES + 1), decimal=(2, MAX_DECIMAL_BYTES + 1))
def too_long_by_its_header(form: tuple[int, int]) -> Vector:
    """A limit comes before what is announced has to be there."""
    return refused("limit_exceeded", "F-14" if form[0] == 1 else "F-15", of=[root(header(*form))])


@each(integer=(1, MAX_INTEGER_BYTES), decimal=(2, MAX_DECIMAL_BYTES), time=(3, 12), uuid=(4, 16))
def as_long_as_permitted_but_not_there(form: tuple[int, int]) -> Vector:
    """The bytes announced are beyond the end."""
    return refused("malformed", "F-26", of=[root(header(*form) + b"\x01")])


def integer_of_1787_bytes_that_begins_with_9_zero_bits() -> Vector:
    """The limit is seen in the header, before the content is looked at."""
    data = bytes(MAX_INTEGER_BYTES + 1)
    return refused("limit_exceeded", "F-14", of=[root(ext(1, data))])


@each(
    ten_to_the_4300=NINES + 1,
    below_zero=-NINES - 1,
    greatest_of_1786_bytes=2 ** (MAX_INTEGER_BYTES * 8 - 1) - 1,
)
def integer_of_4301_digits(number: int) -> Vector:
    """The limit is one of digits, not of bytes: some languages refuse to print more."""
    return refused("limit_exceeded", "F-14", of=[root(ext(1, integer_data(number)))])


# --- Decimal


@each(
    one_and_a_half='d"150E-2"',
    tenth='d"1E-1"',
    thousand='d"1E3"',
    zero_with_places='d"0E-2"',
    negative_zero='d"-0E0"',
    greatest_exponent='d"1E6176"',
    least_exponent='d"-1E-6176"',
    zero_with_the_greatest_exponent='d"0E6176"',
    longest=f'd"-{NINES}E{LEAST}"',
)
def decimal(document: str) -> Vector:
    """Sign, digits and exponent are kept, zeros at the end included."""
    return joins(document, "F-1", "F-15", of=[root(value(document))])


@each(
    digits_4301=b"1" * 4301 + b"E0",
    zeros_at_the_end=b"1" + b"0" * 4300 + b"E0",
    exponent_6177=b"1E6177",
    exponent_minus_6177=b"1E-6177",
    zero_with_exponent_6177=b"0E6177",
    exponent_of_many_digits=b"1E" + b"9" * 4000,
)
def decimal_beyond(data: bytes) -> Vector:
    """More digits or a greater exponent than the format has."""
    return refused("limit_exceeded", "F-15", of=[root(ext(2, data))])


def decimal_of_4308_bytes_that_are_no_number() -> Vector:
    """The bytes are not looked at if there are too many."""
    return refused("limit_exceeded", "F-15", of=[root(ext(2, b"x" * (MAX_DECIMAL_BYTES + 1)))])


@each(
    empty="",
    nan="NaN",
    infinity="Infinity",
    infinity_with_a_sign="-Infinity",
    plus="+1E0",
    plus_in_the_exponent="1E+3",
    point="1.5E0",
    no_exponent="15",
    empty_exponent="15E",
    no_digits="E5",
    sign_without_digits="-E5",
    two_signs="--1E0",
    leading_zero="01E0",
    two_zeros="00E0",
    leading_zero_of_the_exponent="1E01",
    negative_zero_exponent="1E-0",
    small_e="1e3",
    line_feed_at_the_end="1E0\n",
    space_at_the_end="1E0 ",
    space_before=" 1E0",
    underscore="1_0E0",
    arabic_digits="\u0661E0",
    fullwidth_digits="\uff11E0",
    nul_at_the_end="1E0\0",
    leading_zeros_4301="0" * 4301 + "E0",
)
def decimal_with(text: str) -> Vector:
    """Another form, though a library may well parse it."""
    return refused("malformed", "F-16", of=[root(ext(2, text.encode()))])


def decimal_of_latin_1() -> Vector:
    """Bytes beyond ASCII: superscripts are digits to some."""
    return refused("malformed", "F-16", of=[root(ext(2, b"\xb2E0"))])


# --- time


def time_data(instant: int, offset: int) -> bytes:
    return instant.to_bytes(8, "big", signed=True) + offset.to_bytes(4, "big", signed=True)


@each(
    ahead='t"2026-01-01T01:00:00+01:00"',
    behind='t"1969-12-31T18:59:59.999999-05:00"',
    half_an_hour='t"2026-03-01T09:30:00.250000-03:30"',
    with_seconds_in_the_offset='t"1900-01-01T00:19:32+00:19:32"',
    greatest_offset='t"2026-01-01T00:00:00+23:59:59"',
    least_offset='t"2026-01-01T00:00:00-23:59:59"',
    last='t"9999-12-31T23:59:59.999999+00:00"',
    first='t"0001-01-01T00:00:00+00:00"',
    last_wall='t"9999-12-31T23:59:59.999999+01:00"',
    first_wall='t"0001-01-01T00:00:00-01:00"',
    microsecond_before_the_epoch='t"1969-12-31T23:59:59.999999+00:00"',
    leap_day='t"2000-02-29T12:00:00+00:00"',
)
def time(document: str) -> Vector:
    """A moment, and what the clock of the sender showed."""
    return joins(document, "F-1", "F-18", of=[root(value(document))])


@each(of_0=b"", of_8=bytes(8), of_11=bytes(11), of_13=bytes(13), of_16=bytes(16))
def time_in_bytes(data: bytes) -> Vector:
    """A time has 12 bytes."""
    return refused("malformed", "F-17", of=[root(ext(3, data))])


def time_of_13_bytes_by_its_header() -> Vector:
    """None of the bytes is there."""
    return refused("malformed", "F-17", of=[root(header(3, 13))])


@each(
    offset_of_a_day=(0, 86_400),
    offset_of_a_day_behind=(0, -86_400),
    greatest_offset_of_32_bits=(0, 2**31 - 1),
    least_offset_of_32_bits=(0, -(2**31)),
    instant_after_9999=(LAST + 1, -3600),
    instant_before_1=(FIRST - 1, 3600),
    greatest_instant_of_64_bits=(2**63 - 1, 0),
    least_instant_of_64_bits=(-(2**63), 0),
    wall_after_9999=(LAST, 1),
    wall_before_1=(FIRST, -1),
    wall_a_microsecond_after_9999=(LAST - 3600 * 10**6 + 1, 3600),
    wall_a_microsecond_before_1=(FIRST + 3600 * 10**6 - 1, -3600),
    instant_a_microsecond_after_9999=(LAST + 1, -3600),
    instant_a_microsecond_before_1=(FIRST - 1, 3600),
)
def time_with(numbers: tuple[int, int]) -> Vector:
    """A time that fails later, where it is compared or printed."""
    return refused("malformed", "F-18", of=[root(ext(3, time_data(*numbers)))])


# --- UUID


@each(
    version_7="018f428e-34f6-4707-8009-5ad742f901e7",
    nil="00000000-0000-0000-0000-000000000000",
    max="ffffffff-ffff-ffff-ffff-ffffffffffff",
)
def uuid(text: str) -> Vector:
    """Any 16 bytes; version and variant are not looked at."""
    return joins(f'u"{text}"', "F-1", of=[root(value(f'u"{text}"'))])


@each(of_0=b"", of_8=bytes(8), of_15=bytes(15), of_17=bytes(17))
def uuid_in_bytes(data: bytes) -> Vector:
    """A UUID has 16 bytes."""
    return refused("malformed", "F-19", of=[root(ext(4, data))])


def uuid_as_text() -> Vector:
    """36 characters are not 16 bytes."""
    data = b"018f428e-34f6-4707-8009-5ad742f901e7"
    return refused("malformed", "F-19", of=[root(ext(4, data))])


def uuid_of_17_bytes_by_its_header() -> Vector:
    """None of the bytes is there."""
    return refused("malformed", "F-19", of=[root(header(4, 17))])
