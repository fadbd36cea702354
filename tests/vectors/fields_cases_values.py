"""Values and their encodings: F-1, F-7 to F-12."""

from __future__ import annotations

from tests.reference.encoding import string
from tests.reference.fields_write import ext as encoded_ext
from tests.reference.fields_write import map_of
from tests.vectors.builder import NOT_UTF_8
from tests.vectors.fields_builder import each, joins, refused, root, value
from tests.vectors.fields_vector import Vector


@each(
    null="null",
    true="true",
    false="false",
    zero="0",
    minus_one="-1",
    least_of_one_byte="-32",
    one_below_that="-33",
    greatest_of_64_bits=str(2**64 - 1),
    least_of_64_bits=str(-(2**63)),
    float="1.5",
    whole_float="1.0",
    negative_zero="-0.0",
    smallest_float="5e-324",
    greatest_float="1.7976931348623157e+308",
    text='"abc"',
    empty_text='""',
    text_of_any_script=r'"\u00e9\u4e2d\ud83d\ude00\u0301"',
    text_with_nul_and_line_feed=r'"a\u0000\n"',
    text_that_begins_with_feff=r'"\ufeffa"',
    text_of_unassigned_code_points=r'"\u0378\uffff\udbff\udfff"',
    bytes='h"00ff"',
    empty_bytes='h""',
    empty_list="[]",
    empty_map="{}",
    map_with_an_empty_name='{"": {"": null}}',
    list_of_every_scalar='[null, true, 1, 1.0, d"10E-1", "1", h"31"]',
)
def root_is(document: str) -> Vector:
    """A document is any value; here one pair with the path []."""
    return joins(document, "F-1", of=[root(value(document))])


@each(
    **{
        str(each).replace("-", "minus_"): each
        for each in (
            *(31, 32, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31, 2**32 - 1, 2**32),
            *(2**63 - 1, 2**63, -31, -127, -128, -129, -(2**15), -(2**15) - 1, -(2**31)),
            *(-(2**31) - 1, 2**64, -(2**63) - 1),
        )
    }
)
def integer_of(number: int) -> Vector:
    """The bounds of each width, as a value and as the last of several."""
    return joins(
        f"[{number}, 0, {number}]", "F-1", "F-7", of=[root(value(f"[{number}, 0, {number}]"))]
    )


@each(**{str(length): length for length in (15, 16, 31, 32, 255, 256)})
def lengths_of(length: int) -> Vector:
    """The bounds of each width, for texts, bytes, lists and maps."""
    members = ", ".join(f'"{number}": 0' for number in range(length))
    zeros = ", ".join("0" * length)
    document = f'["{"t" * length}", h"{"00" * length}", [{zeros}], {{{members}}}, 1]'
    return joins(document, "F-1", "F-7", of=[root(value(document))])


@each(d4=0xD4, d5=0xD5, d6=0xD6, d7=0xD7, d8=0xD8)
def ext_in_place_of_a_text(first: int) -> Vector:
    """An ext of unknown code. Read as a str by the low bits of its first byte, it would fit."""
    return refused("malformed", "F-8", of=[root(bytes([first]) + b"a" * (first & 0x1F))])


@each(
    value=root(b"\xc1a"),
    name=root(b"\x81\xc1a\x00"),
    segment=b"\x91\x92\x91\xc1a\x00",
    path=b"\x91\x92\xc1\x00",
    pair=b"\x91\xc1\x90\x00",
    plaintext=b"\xc1\x92\x90\x00",
)
def never_used_in_place_of_a(plaintext: bytes) -> Vector:
    """c1 is not a str of one byte, nor an array of one item: what follows would fit."""
    return refused("malformed", "F-8", "F-20", "F-9", of=[plaintext])


def kinds_that_look_alike() -> Vector:
    """true, 1, 1.0 and Decimals are four kinds, text and bytes two; null is not WITHHELD."""
    document = '{"a": [true, 1, 1.0, d"1E0", d"10E-1"], "b": ["x", h"78", null, 0, false, -0.0]}'
    return joins(document, "F-1", "F-57", of=[root(value(document))])


def names_that_look_alike() -> Vector:
    """Names are compared code point by code point: composed, decomposed, and with a U+FEFF."""
    document = r'{"\u00e9": 1, "e\u0301": 2, "\ufeffe": 3, "E": 4, "e": 5}'
    return joins(document, "F-1", "F-10", "F-11", of=[root(value(document))])


def names_that_mean_something_elsewhere() -> Vector:
    """A reader must not let a name become a prototype, a path, or a pattern."""
    document = '{"__proto__": {"a": 1}, "constructor": 2, "a/b": 3, "~1": 4, "*": 5, "..": 6}'
    return joins(document, "F-1", of=[root(value(document))])


@each(
    uint8="cc 01",
    uint16="cd 00 01",
    uint32="ce 00 00 00 01",
    uint64="cf 00 00 00 00 00 00 00 01",
    int8="d0 01",
    int16="d1 00 01",
    int32="d2 00 00 00 01",
    int64="d3 00 00 00 00 00 00 00 01",
)
def one_as(encoded: str) -> Vector:
    """An integer may stand in any width, signed or not."""
    return joins("1", "F-7", of=[root(bytes.fromhex(encoded))])


@each(int8="d0 ff", int16="d1 ff ff", int32="d2 ff ff ff ff", int64="d3 ff ff ff ff ff ff ff ff")
def minus_one_as(encoded: str) -> Vector:
    """A negative integer may stand in any width that has a sign."""
    return joins("-1", "F-7", of=[root(bytes.fromhex(encoded))])


@each(
    str8=("d9 01 61", '"a"'),
    str16=("da 00 01 61", '"a"'),
    str32=("db 00 00 00 01 61", '"a"'),
    empty_str32=("db 00 00 00 00", '""'),
    bin16=("c5 00 01 61", 'h"61"'),
    bin32=("c6 00 00 00 01 61", 'h"61"'),
    array16=("dc 00 01 61", "[97]"),
    array32=("dd 00 00 00 01 61", "[97]"),
    empty_array32=("dd 00 00 00 00", "[]"),
    map16=("de 00 01 a1 61 01", '{"a": 1}'),
    map32=("df 00 00 00 01 a1 61 01", '{"a": 1}'),
    empty_map16=("de 00 00", "{}"),
    name_of_str32=("81 db 00 00 00 01 61 01", '{"a": 1}'),
    ext8_for_four_bytes=("c7 04 02 31 45 2d 31", 'd"1E-1"'),
    ext16=("c8 00 06 02 31 35 30 45 2d 32", 'd"150E-2"'),
    ext32=("c9 00 00 00 06 02 31 35 30 45 2d 32", 'd"150E-2"'),
    ext8_for_a_uuid=(
        "c7 10 04 018f428e34f6470780095ad742f901e7",
        'u"018f428e-34f6-4707-8009-5ad742f901e7"',
    ),
    ext16_for_a_time=("c8 00 0c 03 0000000000000000 00000000", 't"1970-01-01T00:00:00+00:00"'),
)
def longer_than_needed(form: tuple[str, str]) -> Vector:
    """Lengths may stand in any width, and an ext need not be of a fixed size."""
    encoded, document = form
    return joins(document, "F-7", of=[root(bytes.fromhex(encoded))])


@each(
    one_and_a_half=("3f c0 00 00", "1.5"),
    a_tenth=("3d cc cc cd", "0.10000000149011612"),
    smallest=("00 00 00 01", "1.401298464324817e-45"),
    negative_zero=("80 00 00 00", "-0.0"),
)
def binary32(form: tuple[str, str]) -> Vector:
    """A float of 32 bits is widened exactly."""
    encoded, document = form
    return joins(document, "F-7", of=[root(b"\xca" + bytes.fromhex(encoded))])


def pairs_paths_and_segments_longer_than_needed() -> Vector:
    """The rules for widths are those of the arrays, names and indices around the values, too."""
    index = bytes.fromhex("d3 00 00 00 00 00 00 00 00")
    path = b"\xdd\x00\x00\x00\x02" + b"\xda\x00\x01a" + index
    plaintext = b"\xdd\x00\x00\x00\x01" + b"\xdc\x00\x02" + path + b"\xcc\x07"
    return joins('{"a": [7]}', "F-7", of=[plaintext])


def byte_that_is_never_used() -> Vector:
    """c1 is no form of msgpack."""
    return refused("malformed", "F-8", of=[root(b"\xc1")])


@each(of_0=0, of_5=5, of_127=127, timestamp=-1, of_minus_128=-128, of_minus_2=-2)
def ext_code(code: int) -> Vector:
    """Another code is another kind, which this part type does not have. Nor does it have the
    timestamp of msgpack: it has no offset."""
    return refused("malformed", "F-8", of=[root(encoded_ext(code, bytes(4)))])


@each(timestamp_of_64_bits="d7 ff 0000000000000000", of_length_0="c7 00 05")
def ext_like(encoded: str) -> Vector:
    """Another code, in another size."""
    return refused("malformed", "F-8", of=[root(bytes.fromhex(encoded))])


@each(
    integer=b"\x01",
    null=b"\xc0",
    boolean=b"\xc3",
    float=b"\xcb" + bytes(8),
    bin=b"\xc4\x01a",
    ext=b"\xd6\x02" + b"1E-1",
    array=b"\x91\xa1a",
    map=b"\x80",
)
def name_is_of_type(name: bytes) -> Vector:
    """A name is a str. Some libraries would take other types, and bytes for text."""
    return refused("malformed", "F-9", of=[root(map_of([(name, b"\x01")]))])


@each(
    same_bytes=(string("a"), string("a")),
    in_another_width=(string("a"), b"\xd9\x01a"),
    empty=(string(""), string("")),
)
def equal_names(names: tuple[bytes, bytes]) -> Vector:
    """One library takes the first of two, another the last."""
    first, second = names
    encoded = map_of([(first, b"\x01"), (string("b"), b"\x02"), (second, b"\x01")])
    return refused("malformed", "F-10", of=[root(encoded)])


def equal_names_in_a_map_below() -> Vector:
    """A map within a value is read by the same rules."""
    inner = map_of([(string("a"), b"\x01"), (string("a"), b"\x02")])
    return refused("malformed", "F-10", of=[root(b"\x91" + map_of([(string("m"), inner)]))])


ILL_FORMED = {
    "lone_continuation": "80",
    "cut_short": "c3",
    "overlong_slash": "c0 af",
    "overlong_nul": "c0 80",
    "overlong_of_three": "e0 80 af",
    "high_surrogate": "ed a0 80",
    "pair_of_surrogates": "ed a0 80 ed b0 80",
    "above_10ffff": "f4 90 80 80",
    "of_five_bytes": "f8 88 80 80 80",
    "latin_1": "66 fc 72",
}


@each(**ILL_FORMED)
def utf_8_with(raw: str) -> Vector:
    """What is not UTF-8 is replaced by some and refused by others: one text would be two."""
    return refused("malformed", "F-11", of=[root(string(bytes.fromhex(raw)))])


@each(**NOT_UTF_8)
def text_not_utf_8(raw: bytes) -> Vector:
    """Every ill-formed sequence, behind good text."""
    return refused("malformed", "F-11", of=[root(string(b"ok" + raw))])


@each(**NOT_UTF_8)
def name_not_utf_8(raw: bytes) -> Vector:
    """The same in a name."""
    return refused("malformed", "F-11", of=[root(map_of([(string(raw), b"\x01")]))])


@each(**NOT_UTF_8)
def segment_not_utf_8(raw: bytes) -> Vector:
    """The same in a path."""
    return refused("malformed", "F-11", of=[b"\x91\x92\x91" + string(raw) + b"\x01"])


@each(latin_1=ILL_FORMED["latin_1"], surrogate=ILL_FORMED["high_surrogate"])
def name_in_utf_8_with(raw: str) -> Vector:
    """The same in a name."""
    return refused("malformed", "F-11", of=[root(map_of([(string(bytes.fromhex(raw)), b"\x01")]))])


@each(latin_1=ILL_FORMED["latin_1"], surrogate=ILL_FORMED["high_surrogate"])
def segment_in_utf_8_with(raw: str) -> Vector:
    """The same in a path."""
    segment = string(bytes.fromhex(raw))
    return refused("malformed", "F-11", of=[b"\x91\x92\x91" + segment + b"\x01"])


@each(
    nan="cb 7ff8000000000000",
    negative_nan="cb fff8000000000000",
    signalling_nan="cb 7ff0000000000001",
    infinity="cb 7ff0000000000000",
    negative_infinity="cb fff0000000000000",
    nan_of_32_bits="ca 7fc00000",
    infinity_of_32_bits="ca 7f800000",
    negative_infinity_of_32_bits="ca ff800000",
)
def float_is(encoded: str) -> Vector:
    """NaN is not equal to itself and carries hidden bits; JSON and SQL have no infinities."""
    return refused("malformed", "F-12", of=[root(bytes.fromhex(encoded))])
