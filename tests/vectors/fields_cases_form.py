"""The form of a plaintext, and its limits: F-20 to F-28."""

from __future__ import annotations

from tests.vectors.fields_builder import each, joins, pair, pairs, refused, root, value
from tests.vectors.fields_vector import Vector

DEEP = 10_000
ARRAYS = {"null": b"\xc0", "integer": b"\x01", "map": b"\x80", "str": b"\xa0", "bin": b"\xc4\x00"}


@each(**ARRAYS)
def plaintext_is(encoded: bytes) -> Vector:
    """A plaintext is an array."""
    return refused("malformed", "F-20", of=[encoded])


@each(**ARRAYS)
def pair_is(encoded: bytes) -> Vector:
    """A pair is an array."""
    return refused("malformed", "F-20", of=[b"\x91" + encoded + bytes(2)])


@each(**ARRAYS)
def path_is(encoded: bytes) -> Vector:
    """A path is an array, also where it has one segment."""
    return refused("malformed", "F-20", of=[b"\x91\x92" + encoded + b"\x01"])


@each(none=b"\x90", one=b"\x91\x90", three=b"\x93\x90\x01\x02")
def pair_with_items(encoded: bytes) -> Vector:
    """A pair has two items."""
    return refused("malformed", "F-20", of=[b"\x91" + encoded + bytes(2)])


@each(one=b"\x91\x90\x01", three=b"\x93\x90\x01")
def pair_that_announces(encoded: bytes) -> Vector:
    """A pair announces two items, even if a path and a value follow up to the end."""
    return refused("malformed", "F-20", of=[b"\x91" + encoded])


@each(
    null=b"\xc0",
    boolean=b"\xc3",
    float=value("1.0"),
    bin=b"\xc4\x01a",
    array=b"\x90",
    map=b"\x80",
    decimal=value('d"1E0"'),
    long_integer=value(str(2**64)),
    minus_one=b"\xff",
    minus_one_of_64_bits=value(str(-(2**63))),
    minus_one_of_8_bits=b"\xd0\xff",
)
def segment_is(encoded: bytes) -> Vector:
    """A segment is a name or an index. A boolean is an integer in some languages."""
    return refused("malformed", "F-20", of=[b"\x91\x92\x91" + encoded + b"\x01"])


@each(array=b"\x90", array_of_32_bits=b"\xdd" + bytes(4), of_no_bytes=b"")
def no_pairs(plaintext: bytes) -> Vector:
    """A part without fields tells nothing but that it is there."""
    return refused("malformed", "F-21", of=[plaintext])


def no_pairs_in_the_second_part() -> Vector:
    """Every granted part is read."""
    return refused("malformed", "F-21", of=[pairs('[["a"], 1]'), b"\x90"])


WHOLE = pairs('[["a", 300], {"n": ["text", 1.5]}]')
CUTS = {
    "before_the_second_pair": b"\x92" + pair('["a"]', b"\x01"),
    "before_the_path": b"\x91\x92",
    "within_an_index": b"\x91\x92\x91\xcd\x01",
    "before_the_value": b"\x91\x92\x91\xa1a",
    "within_the_length_of_a_str": root(b"\xda\x00"),
    "within_the_length_of_an_array": root(b"\xdd\x00\x00"),
    "within_the_length_of_an_ext": root(b"\xc9\x00\x00\x00"),
    "before_the_code_of_an_ext": root(b"\xc7\x09"),
    "within_a_float": root(b"\xcb" + bytes(7)),
    "within_an_integer": root(b"\xd3" + bytes(7)),
    "before_the_last_item": root(b"\x92\xa1a"),
    "before_the_value_of_a_member": root(b"\x81\xa1a"),
}


@each(**CUTS)
def plaintext_ends(plaintext: bytes) -> Vector:
    """The plaintext ends within an object."""
    return refused("malformed", "F-22", "F-26", of=[plaintext])


@each(**{str(k): k for k in (1, 2, 4, 8, 16, len(WHOLE) - 1)})
def plaintext_cut_after(k: int) -> Vector:
    """A plaintext that was longer."""
    return refused("malformed", "F-22", "F-26", of=[WHOLE[:k]])


@each(zero=b"\x00", null=b"\xc0", another_plaintext=WHOLE, padding=b"\x80")
def behind_the_array(rest: bytes) -> Vector:
    """Something follows the outer array; padding has been removed before."""
    return refused("malformed", "F-22", of=[WHOLE + rest])


# --- depth


def nested(k: int, inside: bytes = b"\x01") -> bytes:
    """k arrays one in another."""
    return b"\x91" * k + inside


def list_text(k: int) -> str:
    return "[" * k + "1" + "]" * k


def deepest_value() -> Vector:
    """With the path [] a value can hold 32 containers one in another."""
    return joins(list_text(32), "F-23", of=[root(nested(32))])


def deepest_path() -> Vector:
    """A path of 32 segments can lead to a scalar."""
    return joins(list_text(32), "F-23", of=[pairs(f"[[{', '.join('0' * 32)}], 1]")])


def deepest_path_and_value() -> Vector:
    """31 segments and one container are 32."""
    return joins(list_text(32), "F-23", of=[pairs(f"[[{', '.join('0' * 31)}], [1]]")])


@each(
    value=root(nested(33)),
    empty_container=root(nested(32, b"\x80")),
    path=pairs(f"[[{', '.join('0' * 33)}], 1]"),
    empty_container_behind_a_path=pairs(f"[[{', '.join('0' * 32)}], []]"),
    path_and_value=pairs(f"[[{', '.join('0' * 20)}], {list_text(13)}]"),
    path_by_its_header=b"\x91\x92\xdc\x00\x21",
    value_of_10000_arrays=root(nested(DEEP)),
    value_of_10000_maps=root(b"\x81\xa0" * DEEP + b"\x01"),
)
def too_deep(plaintext: bytes) -> Vector:
    """The depth is limited, and a reader must not use its stack to find that out."""
    return refused("limit_exceeded", "F-23", "F-28", of=[plaintext])


@each(value='[[], {"a": 1}]', path='[["a"], 1]')
def depth_at_a_lower_limit(text: str) -> Vector:
    """A local limit may be lower: with depth 1 there is one container."""
    return joins('{"a": 1}', "F-23", of=[pairs(text)], limit_depth=1)


@each(value=root(nested(2)), path=pairs('[["a", "b"], 1]'), both=pairs('[["a"], []]'))
def depth_beyond_a_lower_limit(plaintext: bytes) -> Vector:
    """A local limit may be lower."""
    return refused("limit_exceeded", "F-23", of=[plaintext], limit_depth=1)


# --- nodes and fields

OVERVIEW_0 = pairs('[["patient", "name"], "Ada"]', '[["notes", 1], "call"]')
OVERVIEW_0_TEXT = '{"patient": {"name": "Ada"}, "notes": [WITHHELD, "call"]}'


def nodes_at_the_limit() -> Vector:
    """Part 0 of the overview has 11 nodes."""
    return joins(OVERVIEW_0_TEXT, "F-24", of=[OVERVIEW_0], limit_nodes=11)


def nodes_beyond_the_limit() -> Vector:
    """Part 0 of the overview has 11 nodes."""
    return refused("limit_exceeded", "F-24", of=[OVERVIEW_0], limit_nodes=10)


def nodes_of_two_parts_at_the_limit() -> Vector:
    """[], its pair, path, segment and value are 5 nodes; a map with one member has 2 more."""
    of = [pairs('[["a"], 1]'), pairs('[["b"], {"c": 1}]')]
    return joins('{"a": 1, "b": {"c": 1}}', "F-24", of=of, limit_nodes=12)


def nodes_of_two_parts_beyond_the_limit() -> Vector:
    """Nodes are counted over all granted parts together."""
    of = [pairs('[["a"], 1]'), pairs('[["b"], {"c": 1}]')]
    return refused("limit_exceeded", "F-24", of=of, limit_nodes=11)


@each(
    pairs=b"\xdd\x00\x00\x03\xe9",
    array=root(b"\xdc\x03\xe9"),
    map=root(b"\xde\x01\xf5"),
    nested=root(b"\xdc\x01\x00" * 4),
)
def nodes_announced(plaintext: bytes) -> Vector:
    """Nodes are counted when a header announces them, before they have to be there."""
    return refused("limit_exceeded", "F-24", "F-27", of=[plaintext + bytes(600)], limit_nodes=1000)


@each(array=root(b"\xdd\x00\x0f\x42\x41"), map=root(b"\xdf\x00\x07\xa1\x21"))
def nodes_announced_beyond_the_default(plaintext: bytes) -> Vector:
    """More than 1,000,000 nodes, of which none is there."""
    return refused("limit_exceeded", "F-24", "F-27", of=[plaintext])


@each(
    array=("F-24", root(b"\xdd\xff\xff\xff\xff")),
    map=("F-24", root(b"\xdf\xff\xff\xff\xff")),
    pairs=("F-25", b"\xdd\xff\xff\xff\xff"),
    path=("F-23", b"\x91\x92\xdd\xff\xff\xff\xff"),
)
def greatest_length_of(form: tuple[str, bytes]) -> Vector:
    """4 bytes ask for an array of 32 GiB. Limits come before what is announced has to be there."""
    rule, plaintext = form
    return refused("limit_exceeded", rule, "F-29", of=[plaintext])


def fields_at_the_limit() -> Vector:
    """Two pairs in one part and one in another."""
    of = [pairs('[["a"], 1]', '[["b"], 2]'), pairs('[["c"], [3, 3]]')]
    return joins('{"a": 1, "b": 2, "c": [3, 3]}', "F-25", of=of, limit_fields=3)


def fields_of_two_parts_beyond_the_limit() -> Vector:
    """Pairs are counted over all granted parts together."""
    of = [pairs('[["a"], 1]', '[["b"], 2]'), pairs('[["c"], 3]')]
    return refused("limit_exceeded", "F-25", of=of, limit_fields=2)


def fields_announced_beyond_the_default() -> Vector:
    """10,001 pairs are announced and none is there."""
    return refused("limit_exceeded", "F-25", of=[b"\xdc\x27\x11"])


def fields_announced_at_the_default() -> Vector:
    """10,000 pairs would be permitted, but none is there."""
    return refused("malformed", "F-26", of=[b"\xdc\x27\x10"])


# --- what is announced


@each(
    str=root(b"\xa2a"),
    str_of_32_bits=root(b"\xdb\xff\xff\xff\xffa"),
    bin=root(b"\xc4\x02a"),
    bin_of_32_bits=root(b"\xc6\xff\xff\xff\xffa"),
    array=root(b"\x93\x01\x01"),
    map=root(b"\x82\xa0\x01\xa0"),
    name=root(b"\x81\xa5a\x01"),
    segment=b"\x91\x92\x91\xa9a\x01",
    path=b"\x91\x92\x93\xa0\xa0",
    pairs=b"\x93\x92\x90",
)
def announced_and_not_there(plaintext: bytes) -> Vector:
    """More is announced than can follow."""
    return refused("malformed", "F-26", of=[plaintext])
