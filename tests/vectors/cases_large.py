"""Scenarios whose envelopes are too big for files: they are made when a test asks for them."""

from __future__ import annotations

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.reference.encoding import array, binary, string
from tests.vectors.builder import Scene, each, fields
from tests.vectors.people import BOB, CAROL, crowd, to
from tests.vectors.vector import ENVELOPE_LIMIT, Vector

ONE, TWO = fields("a", "one"), fields("b", "two")
FULL = 65_536 - len(MessageArray(None, (("n", "v" * 60_000),)).encode()) + 60_000


def large_recipients_1024(scene: Scene) -> Vector:
    """As many recipients as there can be."""
    return scene.success(scene.payload(to=crowd(1024)), "E-30")


def large_recipients_1025(scene: Scene) -> Vector:
    """One more, in an otherwise valid envelope."""
    return scene.undecryptable("limit_exceeded", scene.payload(to=crowd(1025)), "E-30")


@each(n_256=256, n_257=257)
def large_views(scene: Scene, count: int) -> Vector:
    """As many views as there can be, and one more."""
    view = bytes(81)
    made = scene.sealed(
        Part(1, ONE),
        Part(1, TWO),
        to=[to(BOB, 0, 1)],
        views=lambda views: views + [view] * (count - 1),
    )
    if count > 256:
        return scene.refused("limit_exceeded", made, "E-42", kind="document")
    return scene.success(made, "E-42", kind="document", content=ONE + TWO)


def large_parts_65(scene: Scene) -> Vector:
    """One part more than there can be, in an otherwise valid envelope."""
    made = scene.sealed(*[Part(1, ONE)] * 65, to=[to(BOB, *range(65)), to(CAROL, 0)])
    return scene.refused("limit_exceeded", made, "E-45", kind="document")


@each(n_65535=65_535, n_65536=65_536)
def large_part_of(scene: Scene, length: int) -> Vector:
    """From 65,536 bytes on, a part has a header of five bytes."""
    return scene.success(scene.payload(b"p" * (length - 49)), "E-6")


def large_array(scene: Scene) -> Vector:
    """A message array of 65,536 bytes, and a payload behind it."""
    encoded = MessageArray(None, (("n", "v" * FULL),)).encode()
    assert len(encoded) == 65_536
    return scene.success(scene.message(encoded), "E-60")


def large_array_by_one_byte(scene: Scene) -> Vector:
    """A message array of 65,537 bytes, all there."""
    encoded = MessageArray(None, (("n", "v" * (FULL + 1)),)).encode()
    return scene.refused("limit_exceeded", scene.message(encoded), "E-60")


def large_array_by_its_last_header(scene: Scene) -> Vector:
    """Many small items, the last of which ends too late."""
    encoded = MessageArray(None, (("n" * 30, "v" * 31),) * 900 + (("n", "v" * 9000),)).encode()
    assert len(encoded) > 65_536
    return scene.refused("limit_exceeded", scene.message(encoded), "E-60")


def text_until(end: int) -> bytes:
    """Return an array header and a content type that end at this byte."""
    return b"\x92" + string("t" * (end - 4))


def large_array_header_beyond(scene: Scene) -> Vector:
    """The content type ends with byte 65,536; the header of the headers is byte 65,537."""
    made = scene.message(text_until(65_536) + b"\x90")
    return scene.refused("limit_exceeded", made, "E-60")


def large_array_header_across(scene: Scene) -> Vector:
    """A header of three bytes begins with byte 65,536; its first byte is within the limit."""
    made = scene.message(text_until(65_535) + b"\xdc\x00\x10" + b"\x92\xa0\xa0" * 16)
    return scene.refused("limit_exceeded", made, "E-60")


def large_array_header_of_a_pair_beyond(scene: Scene) -> Vector:
    """The first pair of name and value begins with byte 65,537."""
    made = scene.message(text_until(65_535) + b"\x91\x92\xa0\xa0")
    return scene.refused("limit_exceeded", made, "E-60")


def large_array_header_of_three_beyond(scene: Scene) -> Vector:
    """Byte 65,537 is the header of an array of three: the limit comes before the count."""
    made = scene.message(text_until(65_535) + b"\x91\x93\xa0\xa0\xa0")
    return scene.refused("limit_exceeded", made, "E-60", "E-8")


def large_array_name_beyond(scene: Scene) -> Vector:
    """The header of the pair is byte 65,536; an empty name is byte 65,537."""
    made = scene.message(text_until(65_534) + b"\x91\x92\xa0\xa0")
    return scene.refused("limit_exceeded", made, "E-60")


def large_array_cut_at_its_limit(scene: Scene) -> Vector:
    """The content ends with byte 65,536, where the header of the headers should begin."""
    made = scene.message(text_until(65_536), b"")
    return scene.refused("malformed", made, "E-59", "E-8")


def large_array_of_a_content_type(scene: Scene) -> Vector:
    """The array ends with byte 65,536, which is the header of no headers."""
    return scene.success(scene.message(text_until(65_535) + b"\x90"), "E-60")


def large_array_of_padding(scene: Scene) -> Vector:
    """The limit of the array does not bound padding or payload."""
    made = scene.sealed(Part(18, array([b"\xc0", array([])]) + b"\x80" + bytes(100_000)))
    return scene.success(made, "E-58", "E-60", content=b"")


@each(at=0, above=1)
def large_envelope_the_default_limit(scene: Scene, more: int) -> Vector:
    """8 MiB, and one byte more."""
    overhead = len(scene.payload(b"p" * 100_000).envelope) - 100_000
    made = scene.payload(b"p" * (ENVELOPE_LIMIT - overhead + more))
    assert len(made.envelope) == ENVELOPE_LIMIT + more
    if more:
        return scene.undecryptable("limit_exceeded", made, "E-10")
    return scene.success(made, "E-10")


def large_part_that_announces_more(scene: Scene) -> Vector:
    """A part of 65,536 bytes whose header says 16 MiB."""
    made = scene.payload(
        parts_element=lambda _: b"\x91" + binary(bytes(2**16))[:1] + b"\x01\x00\x00\x00" + bytes(99)
    )
    return scene.refused("malformed", made, "E-41")
