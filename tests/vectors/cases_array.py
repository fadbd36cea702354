"""Step 12: the message array (E-59, E-60)."""

from __future__ import annotations

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.reference.encoding import array, binary, header, string, uint
from tests.vectors.builder import EMPTY_ARRAY, HELLO, NOT_UTF_8, Forged, Scene, each, fields
from tests.vectors.people import BOB, to
from tests.vectors.vector import Vector

NIL = b"\xc0"
ONE = fields("a", "one")
NAME, VALUE = string("n"), string("v")
PAIR = array([NAME, VALUE])


def with_metadata(scene: Scene, content: bytes) -> Forged:
    return scene.sealed(Part(1, ONE), Part(3, content), to=[to(BOB, 0, 1)])


MALFORMED = {
    "of_one": array([NIL]),
    "of_three": array([NIL, array([]), NIL]),
    "as_map": b"\x81" + NIL + b"\x90",
    "as_nil": NIL,
    "as_text": string("text/plain"),
    "not_shortest": b"\xdc\x00\x02" + NIL + b"\x90",
    "empty": b"",
    "cut_behind_its_header": b"\x92",
    "cut_behind_the_content_type": b"\x92" + string("text/plain"),
    "cut_in_a_header": array([NIL, array([PAIR, PAIR])])[:-1],
    "with_fewer_headers_than_announced": b"\x92" + NIL + b"\x92" + PAIR,
}
TYPES = {
    "as_bin": binary(b"text/plain"),
    "as_uint": uint(0),
    "as_false": b"\xc2",
    "as_array": array([string("text/plain")]),
    "not_shortest": b"\xd9\x0atext/plain",
    "not_shortest_beyond_the_limit": b"\xdb\x00\x00\xff\xfftext",
    "that_is_not_there": b"\xda\x80\x00text",
}
HEADERS = {
    "as_nil": NIL,
    "as_map": b"\x81" + NAME + VALUE,
    "not_shortest": b"\xdc\x00\x01" + PAIR,
    "not_shortest_beyond_the_limit": b"\xdd\x00\x00\x03\xe9" + PAIR,
    "flat": array([NAME, VALUE]),
}
HEADER = {
    "of_one": array([NAME]),
    "of_three": array([NAME, VALUE, VALUE]),
    "as_map": b"\x81" + NAME + VALUE,
    "not_shortest": b"\xdc\x00\x02" + NAME + VALUE,
    "without_a_name": array([NIL, VALUE]),
    "without_a_value": array([NAME, NIL]),
    "with_a_name_as_bin": array([binary(b"n"), VALUE]),
    "with_a_value_as_bin": array([NAME, binary(b"v")]),
    "with_a_value_as_uint": array([NAME, uint(1)]),
    "with_values_as_array": array([NAME, array([VALUE, VALUE])]),
    "with_a_name_not_shortest": array([b"\xd9\x01n", VALUE]),
    "with_a_value_not_shortest": array([NAME, b"\xda\x00\x01v"]),
}


@each(**MALFORMED)
def array_of_metadata(scene: Scene, content: bytes) -> Vector:
    """A part of type 3 is an array of two, to its end."""
    made = with_metadata(scene, content)
    return scene.refused("malformed", made, "E-59", "E-6", "E-8", kind="document")


@each(**{name: content for name, content in MALFORMED.items() if not name.startswith("with")})
def array_of_a_message(scene: Scene, content: bytes) -> Vector:
    """A part of type 2 begins with an array of two."""
    made = scene.sealed(Part(2, content))
    return scene.refused("malformed", made, "E-59", "E-6", "E-8")


@each(**TYPES)
def content_type(scene: Scene, item: bytes) -> Vector:
    """A content type is nil, or a str in its shortest form."""
    made = scene.message(array([item, array([])]))
    return scene.refused("malformed", made, "E-59", "E-6", "E-8")


@each(**HEADERS)
def headers(scene: Scene, item: bytes) -> Vector:
    """The headers are an array with the shortest header."""
    made = scene.message(array([NIL, item]))
    return scene.refused("malformed", made, "E-59", "E-6", "E-8")


@each(**HEADER)
def header_in_the_array(scene: Scene, item: bytes) -> Vector:
    """A header is an array of two texts, a name and a value."""
    made = scene.message(array([NIL, array([PAIR, item])]))
    return scene.refused("malformed", made, "E-59", "E-6")


@each(
    content_type=array([string(b"\xff"), array([])]),
    name=array([NIL, array([array([string(b"\xc0\x80"), VALUE])])]),
    value=array([NIL, array([array([NAME, string(b"\xed\xa0\x80")])])]),
)
def not_utf_8_in_a(scene: Scene, content: bytes) -> Vector:
    """Every text is well-formed UTF-8."""
    return scene.refused("malformed", scene.message(content), "E-7")


@each(**NOT_UTF_8)
def content_type_not_utf_8(scene: Scene, raw: bytes) -> Vector:
    """Every text is well-formed UTF-8: no overlong form, no surrogate, nothing above U+10FFFF."""
    made = scene.message(array([string(raw), array([])]))
    return scene.refused("malformed", made, "E-7")


@each(**NOT_UTF_8)
def header_not_utf_8(scene: Scene, raw: bytes) -> Vector:
    """The value of a header, with good text before it."""
    made = scene.message(array([NIL, array([array([NAME, string(b"ok" + raw)])])]))
    return scene.refused("malformed", made, "E-7")


@each(
    first_of_two=b"\xc2\x80",
    last_of_two=b"\xdf\xbf",
    first_of_three=b"\xe0\xa0\x80",
    before_the_surrogates=b"\xed\x9f\xbf",
    behind_the_surrogates=b"\xee\x80\x80",
    last_of_three=b"\xef\xbf\xbf",
    first_of_four=b"\xf0\x90\x80\x80",
    last=b"\xf4\x8f\xbf\xbf",
    nul=b"\x00",
)
def content_type_utf_8(scene: Scene, raw: bytes) -> Vector:
    """The bounds of each length, including noncharacters, are text."""
    return scene.success(scene.message(array([string(raw), array([])])), "E-7")


@each(a_byte=b"\x00", text=b"payload", padding=b"\x80\x00")
def metadata_followed_by(scene: Scene, tail: bytes) -> Vector:
    """A document has no payload beside its fields."""
    made = with_metadata(scene, EMPTY_ARRAY + tail)
    return scene.refused("malformed", made, "E-59", kind="document")


@each(n_1001=1001, most=2**32 - 1)
def headers_limit(scene: Scene, count: int) -> Vector:
    """More than 1,000 headers are announced; whether they are there is not asked."""
    made = scene.message(b"\x92" + NIL + header("array", count))
    return scene.refused("limit_exceeded", made, "E-60", "E-8")


@each(
    content_type_of_65535=b"\x92" + header("str", 65_535),
    content_type_of_4_gigabytes=b"\x92" + header("str", 2**32 - 1),
    name_of_65532=b"\x92" + NIL + b"\x91\x92" + header("str", 65_532),
    value_that_ends_one_byte_later=b"\x92" + NIL + b"\x91\x92" + NAME + header("str", 65_528),
)
def array_limit_by_a(scene: Scene, content: bytes) -> Vector:
    """An item would end behind byte 65,536; the content itself ends before."""
    made = scene.message(content)
    return scene.refused("limit_exceeded", made, "E-60", "E-8")


def array_of_headers_that_are_not_all_there(scene: Scene) -> Vector:
    """An array announces items, not bytes: 1,000 headers in 11 bytes, the first of which has a
    name that is too long. The name is read before the other headers are missed."""
    made = scene.sealed(Part(2, b"\x92" + NIL + b"\xdc\x03\xe8\x92" + header("str", 70_000)))
    return scene.refused("limit_exceeded", made, "E-60", "E-8")


def array_within_the_limit_and_not_there(scene: Scene) -> Vector:
    """The last item would end with byte 65,536, and the content ends before."""
    made = scene.message(b"\x92" + NIL + b"\x91\x92" + NAME + header("str", 65_527))
    return scene.refused("malformed", made, "E-59", "E-8")


@each(
    without_anything=EMPTY_ARRAY,
    with_a_content_type=MessageArray("text/plain").encode(),
    with_a_header=MessageArray(None, (("A", "b"),)).encode(),
    with_repeated_headers=MessageArray("text/plain", (("A", "1"), ("a", "2"), ("A", "1"))).encode(),
    with_empty_texts=MessageArray("", (("", ""),)).encode(),
    with_line_feeds=MessageArray("a\r\nb", (("n\n", "v\x00"),)).encode(),
    with_texts_of_31_and_32_bytes=MessageArray("t" * 31, (("n" * 32, "v" * 31),)).encode(),
    with_15_headers=MessageArray(None, (("n", "v"),) * 15).encode(),
    with_16_headers=MessageArray(None, (("n", "v"),) * 16).encode(),
    with_1000_headers=MessageArray(None, (("", ""),) * 1000).encode(),
    with_a_long_value=MessageArray(None, (("n", "v" * 300),)).encode(),
    not_ascii=MessageArray("\u6771", (("\ufeff", "\U0001f512"),)).encode(),
)
def message_array(scene: Scene, encoded: bytes) -> Vector:
    """Names repeat, order and case are kept, and any text is allowed."""
    return scene.success(scene.message(encoded), "E-59", "E-60", "E-7")


def message_without_payload(scene: Scene) -> Vector:
    """Nothing follows the array."""
    return scene.success(scene.message(EMPTY_ARRAY, b""), "E-59")


def message_with_an_array_as_payload(scene: Scene) -> Vector:
    """Only the first array is one; what follows it is the payload."""
    return scene.success(scene.message(EMPTY_ARRAY, EMPTY_ARRAY), "E-59")


def payload_with_an_array(scene: Scene) -> Vector:
    """In type 0 an array is payload."""
    return scene.success(scene.payload(EMPTY_ARRAY + HELLO), "E-59")


def document_with_metadata(scene: Scene) -> Vector:
    """Content type and headers of a document, before its fields."""
    content = MessageArray("application/json", (("A", "b"),)).encode()
    made = scene.sealed(Part(3, content), Part(1, ONE), to=[to(BOB, 0, 1)])
    return scene.success(made, "E-59", kind="document", content=ONE)
