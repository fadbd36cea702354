"""Step 12: payload or document, padding (E-61, E-58)."""

from __future__ import annotations

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.vectors.builder import EMPTY_ARRAY, HELLO, Scene, each, fields, padded
from tests.vectors.people import BOB, to
from tests.vectors.vector import Vector

ONE, TWO = fields("a", "one"), fields("b", "two")
METADATA = MessageArray("text/plain", (("A", "b"),)).encode()


@each(of_fields=Part(1, ONE), padded=padded(1, ONE))
def document_where_a_payload_was_asked_for(scene: Scene, part: Part) -> Vector:
    """The caller would take an encoding of fields for a message."""
    return scene.refused("content_type", scene.sealed(part), "E-61")


@each(plain=Part(0, HELLO), message=Part(2, EMPTY_ARRAY + HELLO), padded=padded(0, HELLO))
def payload_where_a_document_was_asked_for(scene: Scene, part: Part) -> Vector:
    """The caller would parse a payload as fields."""
    return scene.refused("content_type", scene.sealed(part), "E-61", kind="document")


def payload_that_looks_like_fields(scene: Scene) -> Vector:
    """The type says what it is, not the bytes."""
    made = scene.payload(ONE)
    return scene.refused("content_type", made, "E-61", kind="document")


@each(metadata=(Part(3, METADATA), Part(1, ONE)), padded=(padded(3, METADATA), padded(1, ONE)))
def document_where_a_payload_was_asked_for_with_metadata_first(
    scene: Scene, parts: tuple[Part, Part]
) -> Vector:
    """The metadata of a document may be its first part; it is not a payload."""
    return scene.refused("content_type", scene.sealed(*parts, to=[to(BOB, 0, 1)]), "E-61")


def content_type_before_padding(scene: Scene) -> Vector:
    """A document with broken padding, where a payload was asked for."""
    return scene.refused("content_type", scene.sealed(Part(17, b"")), "E-61", "E-88")


BROKEN = {
    "empty": b"",
    "a_zero": b"\x00",
    "zeros_only": bytes(16),
    "text": b"hello",
    "text_and_zeros": b"hello\x00\x00",
    "another_mark": b"hello\x81\x00",
    "mark_before_the_last_byte": b"hello\x80\x00\x01",
    "mark_of_40": b"hello\x40\x00",
    "ones": b"\xff" * 8,
}


@each(**BROKEN)
def padding_of(scene: Scene, plaintext: bytes) -> Vector:
    """A padded plaintext ends with 0x80 and zeros."""
    return scene.refused("malformed", scene.sealed(Part(16, plaintext)), "E-58")


@each(fields=17, message=18)
def padding_missing_in(scene: Scene, kind: int) -> Vector:
    """Every padded type is padded."""
    made = scene.sealed(Part(kind, {17: ONE, 18: EMPTY_ARRAY + HELLO}[kind]))
    return scene.refused("malformed", made, "E-58", kind="document" if kind == 17 else "payload")


def padding_missing_in_metadata(scene: Scene) -> Vector:
    """The fields are as they should be."""
    made = scene.sealed(Part(1, ONE), Part(19, EMPTY_ARRAY), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "E-58", kind="document")


def padding_missing_in_the_second_part(scene: Scene) -> Vector:
    """Each granted part is looked at."""
    made = scene.sealed(padded(1, ONE), Part(17, TWO), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "E-58", kind="document")


@each(
    empty=b"",
    of_zeros=bytes(5),
    that_ends_with_the_mark=b"hello\x80",
    that_ends_with_mark_and_zeros=b"hello\x80\x00\x00",
    of_100_bytes=b"p" * 100,
    of_1000_bytes=b"p" * 1000,
)
def payload_padded(scene: Scene, payload: bytes) -> Vector:
    """The zeros at the end are removed, then one 0x80, and nothing more."""
    return scene.success(scene.sealed(padded(0, payload)), "E-58", content=payload)


@each(nothing=0, one=1, a_thousand=1000)
def payload_padded_by(scene: Scene, z: int) -> Vector:
    """The sender chooses how much; no amount is wrong."""
    return scene.success(scene.sealed(padded(0, HELLO, z)), "E-58", content=HELLO)


def payload_not_padded_with_zeros_at_the_end(scene: Scene) -> Vector:
    """Nothing is removed from a type that is not padded."""
    payload = b"hello\x80\x00\x00"
    return scene.success(scene.payload(payload), "E-58")


def fields_padded(scene: Scene) -> Vector:
    """A document of one part."""
    made = scene.sealed(padded(1, ONE))
    return scene.success(made, "E-58", kind="document", content=ONE)


def message_padded(scene: Scene) -> Vector:
    """Array and payload are padded together."""
    made = scene.sealed(padded(2, EMPTY_ARRAY + HELLO))
    return scene.success(made, "E-58", content=HELLO)


def metadata_padded(scene: Scene) -> Vector:
    """Padded and plain types may stand in one document."""
    made = scene.sealed(Part(1, ONE), padded(3, EMPTY_ARRAY), padded(1, TWO), to=[to(BOB, 0, 1, 2)])
    return scene.success(made, "E-58", kind="document", content=ONE + TWO)
