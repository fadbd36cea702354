"""Step 3, the form of the head: E-14 to E-17, and what each field may be encoded as."""

from __future__ import annotations

from tests.reference.encoding import array, binary, string, uint
from tests.vectors.builder import NOT_UTF_8, Scene, each, replaced
from tests.vectors.people import BOB
from tests.vectors.vector import Vector

S, E, NONCE, CREATED, SUBJECT, ATTRS = range(6)
NIL = b"\xc0"


def head_of_1025_bytes(scene: Scene) -> Vector:
    """The limit is checked on the header, before the content, which is no array here."""
    made = scene.payload(head_element=lambda _: binary(bytes(1025)))
    return scene.undecryptable("limit_exceeded", made, "E-14")


def head_of_1025_bytes_that_are_not_there(scene: Scene) -> Vector:
    """The limit comes before the question whether the announced bytes are there."""
    made = scene.payload(envelope=lambda envelope: envelope[:5] + b"\xc5\x04\x01")
    return scene.undecryptable("limit_exceeded", made, "E-14", "E-8")


def head_of_four_gigabytes(scene: Scene) -> Vector:
    """A header in the widest form; nothing of that size may be allocated."""
    made = scene.payload(envelope=lambda envelope: envelope[:5] + b"\xc6\xff\xff\xff\xff")
    return scene.undecryptable("limit_exceeded", made, "E-14", "E-8")


def head_of_1024_bytes(scene: Scene) -> Vector:
    """Within the limit, but something follows attrs."""
    made = scene.payload(head=lambda head: head + bytes(1024 - len(head)))
    return scene.undecryptable("malformed", made, "E-15")


@each(
    two_bytes=b"\xc5\x00\x62",
    four_bytes=b"\xc6\x00\x00\x00\x62",
    four_bytes_beyond_the_limit=b"\xc6\x00\x00\x04\x01",
)
def head_header_not_shortest_in(scene: Scene, header: bytes) -> Vector:
    """One meaning, one spelling; the form is checked before the limit."""
    made = scene.payload(subject="a", head_element=lambda element: header + element[2:])
    return scene.undecryptable("malformed", made, "E-6", "E-8")


def head_of_255_bytes_with_a_header_of_three(scene: Scene) -> Vector:
    """255 bytes is the most that a header of two bytes announces."""
    made = scene.payload(subject="s" * 157, head_element=lambda head: b"\xc5\x00" + head[1:])
    assert made.envelope[5:8] == b"\xc5\x00\xff"
    return scene.undecryptable("malformed", made, "E-6")


@each(str=b"\xd9\x62", array=b"", nil=NIL, ext=b"\xc7\x62\x00")
def head_as(scene: Scene, header: bytes) -> Vector:
    """The head is a bin, whatever it holds."""
    made = scene.payload(subject="a", head_element=lambda element: header + element[2:])
    return scene.undecryptable("malformed", made, "E-6")


def head_empty(scene: Scene) -> Vector:
    """A bin of no bytes holds no array."""
    made = scene.payload(head=lambda _: b"")
    return scene.undecryptable("malformed", made, "E-15", "E-8")


@each(map=b"\x86", not_shortest=b"\xdc\x00\x06", str=b"\xa6")
def head_array_as(scene: Scene, header: bytes) -> Vector:
    """Six fields behind another header than 0x96."""
    made = scene.payload(head=lambda head: header + head[1:])
    return scene.undecryptable("malformed", made, "E-15", "E-6")


def head_of_five_fields(scene: Scene) -> Vector:
    """attrs is missing."""
    made = scene.payload(head=lambda head: b"\x95" + head[1:-4])
    return scene.undecryptable("malformed", made, "E-15")


def head_of_seven_fields(scene: Scene) -> Vector:
    """Only attrs may grow, in a later version."""
    made = scene.payload(head=lambda head: b"\x97" + head[1:] + NIL)
    return scene.undecryptable("malformed", made, "E-15")


@each(five=b"\x95", seven=b"\x97")
def head_of_six_fields_announced_as(scene: Scene, header: bytes) -> Vector:
    """All six are there, but their number is wrong."""
    made = scene.payload(head=lambda head: header + head[1:])
    return scene.undecryptable("malformed", made, "E-15")


def head_with_a_byte_behind_attrs(scene: Scene) -> Vector:
    """The head ends with attrs. Step 3: outside, this is `undecryptable`."""
    made = scene.payload(head=lambda head: head + NIL)
    return scene.undecryptable("malformed", made, "E-15", "E-90")


def head_cut_in_the_last_field(scene: Scene) -> Vector:
    """attrs announces three items and holds two; the tags are not a part of the head."""
    made = scene.payload(head=lambda head: head[:-1])
    return scene.undecryptable("malformed", made, "E-15", "E-8")


def head_field_reaches_beyond_the_head(scene: Scene) -> Vector:
    """The subject announces more bytes than the head has, though the envelope has them."""
    made = scene.payload(head=lambda head: head[:92] + b"\xbf" + head[93:])
    return scene.undecryptable("malformed", made, "E-8")


@each(sender=S, session=E, nonce=NONCE)
def head_length_announced_too_short_for(scene: Scene, place: int) -> Vector:
    """The field has all its bytes, and its header says one less."""

    def edit(items: list[bytes]) -> list[bytes]:
        field = items[place]
        return replaced(place, field[:1] + bytes([field[1] - 1]) + field[2:])(items)

    return scene.undecryptable("malformed", scene.payload(head_fields=edit), "E-15", "E-6")


KEY = BOB.xkey


@each(
    of_31_bytes=binary(KEY[:31]),
    of_33_bytes=binary(KEY + b"\x00"),
    empty=binary(b""),
    as_str=string(b"k" * 32),
    as_nil=NIL,
    not_shortest=b"\xc5\x00\x20" + KEY,
    as_array=array([uint(1)] * 32),
)
def head_sender(scene: Scene, field: bytes) -> Vector:
    """S is a bin of 32 bytes."""
    made = scene.payload(head_fields=replaced(S, field))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    of_31_bytes=binary(KEY[:31]),
    of_33_bytes=binary(KEY + b"\x00"),
    as_str=string(b"k" * 32),
    not_shortest=b"\xc5\x00\x20" + KEY,
)
def head_session(scene: Scene, field: bytes) -> Vector:
    """E is a bin of 32 bytes."""
    made = scene.payload(head_fields=replaced(E, field))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    of_11_bytes=binary(b"\x00\x00\x00\x01" + b"n" * 7),
    of_13_bytes=binary(b"\x00\x00\x00\x01" + b"n" * 9),
    of_24_bytes=binary(b"\x00\x00\x00\x01" + b"n" * 20),
    as_str=string(b"\x00\x00\x00\x01" + b"n" * 8),
    as_uint=uint(1),
)
def head_nonce(scene: Scene, field: bytes) -> Vector:
    """The nonce is a bin of 12 bytes."""
    made = scene.payload(head_fields=replaced(NONCE, field))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    as_float=bytes.fromhex("cb4279b76daa800000"),
    as_signed=bytes.fromhex("d30000019b76daa800"),
    as_negative=b"\xff",
    as_timestamp=bytes.fromhex("d6ff6955b900"),
    as_nil=NIL,
    as_str=string("1767225600000"),
    as_true=b"\xc3",
    not_shortest=bytes.fromhex("cf000000006955b900"),
)
def head_created(scene: Scene, field: bytes) -> Vector:
    """created_ms is a uint in its shortest form."""
    made = scene.payload(head_fields=replaced(CREATED, field))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    as_bin=binary(b"orders"),
    as_nil=NIL,
    not_shortest=b"\xd9\x06orders",
    not_shortest_in_two=b"\xda\x00\x06orders",
    not_shortest_of_31_bytes=b"\xd9\x1f" + b"s" * 31,
    long_and_not_shortest=b"\xda\x00\xff" + b"s" * 255,
    not_shortest_beyond_the_limit=b"\xdb\x00\x00\xff\xff",
)
def head_subject(scene: Scene, field: bytes) -> Vector:
    """The subject is a str with the shortest header."""
    made = scene.payload(head_fields=replaced(SUBJECT, field))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


def head_subject_of_256_bytes(scene: Scene) -> Vector:
    """One byte more than the limit of the format."""
    made = scene.payload(head_fields=replaced(SUBJECT, string("s" * 256)))
    return scene.undecryptable("limit_exceeded", made, "E-16")


def head_subject_of_256_bytes_that_are_not_there(scene: Scene) -> Vector:
    """The limit comes before the question whether the bytes are there."""
    made = scene.payload(head=lambda head: head[:92] + b"\xda\x01\x00")
    return scene.undecryptable("limit_exceeded", made, "E-16", "E-8")


@each(
    overlong=b"a\xc0\xae",
    overlong_of_three_bytes=b"a\xe0\x80\xaf",
    surrogate=b"a\xed\xa0\x80",
    pair_of_surrogates=b"\xed\xa0\xbd\xed\xb8\x80",
    above_the_last=b"a\xf4\x90\x80\x80",
    cut=b"a\xe2\x82",
    lone_continuation=b"\x80a",
    latin_1=b"caf\xe9",
)
def head_subject_not_utf_8(scene: Scene, raw: bytes) -> Vector:
    """Readers that repair what is not UTF-8 would see different subjects."""
    made = scene.payload(head_fields=replaced(SUBJECT, string(raw)))
    return scene.undecryptable("malformed", made, "E-7")


@each(**NOT_UTF_8)
def subject_not_utf_8(scene: Scene, raw: bytes) -> Vector:
    """Every ill-formed sequence, behind good text."""
    made = scene.payload(head_fields=replaced(SUBJECT, string(b"ok" + raw)))
    return scene.undecryptable("malformed", made, "E-7")
