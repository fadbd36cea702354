"""Step 3, the attributes at the end of the head."""

from __future__ import annotations

from tests.reference.encoding import array, binary, string, uint
from tests.vectors.builder import Scene, each, replaced
from tests.vectors.cases_head import ATTRS, CREATED, NIL, SUBJECT
from tests.vectors.people import ALICE
from tests.vectors.vector import NOW, Vector


@each(two=array([NIL] * 2), none=array([]), one=array([NIL]))
def attrs_of(scene: Scene, field: bytes) -> Vector:
    """Fewer than three attributes are no earlier version: there is none."""
    made = scene.payload(head_fields=replaced(ATTRS, field))
    return scene.undecryptable("malformed", made, "E-15")


@each(two=b"\x92", none=b"\x90")
def attrs_of_three_announced_as(scene: Scene, header: bytes) -> Vector:
    """All three are there, but their number is wrong."""
    made = scene.payload(head_fields=replaced(ATTRS, header + NIL * 3))
    return scene.undecryptable("malformed", made, "E-15")


@each(four=array([NIL] * 4), sixteen=array([NIL] * 16))
def attrs_of_a_later_version(scene: Scene, field: bytes) -> Vector:
    """An attribute that a reader does not understand may say who must not open the message."""
    made = scene.payload(head_fields=replaced(ATTRS, field))
    return scene.undecryptable("unsupported_version", made, "E-17")


def attrs_of_four_unreadable_items(scene: Scene) -> Vector:
    """The header is enough: items of a later version may be of any type, or be cut off."""
    made = scene.payload(head_fields=replaced(ATTRS, b"\x94\xc1"))
    return scene.undecryptable("unsupported_version", made, "E-17")


def attrs_of_four_and_created_out_of_range(scene: Scene) -> Vector:
    """The head is decoded before its values are checked."""

    def edit(items: list[bytes]) -> list[bytes]:
        return replaced(CREATED, uint(0))(replaced(ATTRS, array([NIL] * 4))(items))

    made = scene.payload(head_fields=edit)
    return scene.undecryptable("unsupported_version", made, "E-17", "E-88")


def attrs_of_four_and_a_subject_not_utf_8(scene: Scene) -> Vector:
    """The head is decoded from left to right: the text comes first."""

    def edit(items: list[bytes]) -> list[bytes]:
        return replaced(SUBJECT, string(b"\xff"))(replaced(ATTRS, array([NIL] * 4))(items))

    made = scene.payload(head_fields=edit)
    return scene.undecryptable("malformed", made, "E-7", "E-88")


@each(nil=NIL, map=b"\x83" + NIL * 6, not_shortest=b"\xdc\x00\x03" + NIL * 3, bin=binary(NIL * 3))
def attrs_as(scene: Scene, field: bytes) -> Vector:
    """attrs is an array in its shortest form."""
    made = scene.payload(head_fields=replaced(ATTRS, field))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    as_5_in_one_byte=b"\xcc\x05",
    as_127_in_one_byte=b"\xcc\x7f",
    as_255_in_two_bytes=b"\xcd\x00\xff",
    as_65535_in_four_bytes=b"\xce\x00\x00\xff\xff",
    as_4294967295_in_eight_bytes=b"\xcf\x00\x00\x00\x00\xff\xff\xff\xff",
    as_signed=b"\xd0\x05",
    as_negative=b"\xe0",
    as_float=bytes.fromhex("ca40a00000"),
    as_false=b"\xc2",
    as_str=string("5"),
    as_bin=binary(b"\x05"),
    as_array=array([uint(5)]),
    as_never_used=b"\xc1",
)
def attrs_revision(scene: Scene, item: bytes) -> Vector:
    """A revision is nil or a uint in its shortest form."""
    made = scene.payload(head_fields=replaced(ATTRS, array([item, NIL, NIL])))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    of_31_bytes=binary(ALICE.user[:31]),
    of_33_bytes=binary(ALICE.user + b"\x00"),
    empty=binary(b""),
    as_text=string(ALICE.user_text),
    not_shortest=b"\xc5\x00\x20" + ALICE.user,
    as_false=b"\xc2",
)
def attrs_identity(scene: Scene, item: bytes) -> Vector:
    """An identity is nil or a bin of 32 bytes."""
    made = scene.payload(head_fields=replaced(ATTRS, array([NIL, item, NIL])))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


@each(
    as_timestamp=bytes.fromhex("d7ff000000006955b900"),
    as_signed=bytes.fromhex("d30000019b76daa801"),
    as_float=bytes.fromhex("cb4279b76daa801000"),
    as_false=b"\xc2",
)
def attrs_expires(scene: Scene, item: bytes) -> Vector:
    """expires_ms is nil or a uint; no other type of a time will do."""
    made = scene.payload(head_fields=replaced(ATTRS, array([NIL, NIL, item])))
    return scene.undecryptable("malformed", made, "E-15", "E-6")


def attrs_in_another_order(scene: Scene) -> Vector:
    """The place says what an attribute is: an expiry cannot stand where the identity does."""
    made = scene.payload(head_fields=replaced(ATTRS, array([NIL, uint(NOW + 1), NIL])))
    return scene.undecryptable("malformed", made, "E-15", "E-6")
