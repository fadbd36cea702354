"""Steps 1 and 2: the length, the magic, the outer array; and inputs that end too early."""

from __future__ import annotations

from tests.vectors.builder import Scene, each
from tests.vectors.vector import Vector


def envelope_longer_than_the_local_limit(scene: Scene) -> Vector:
    """The reader is configured for one byte less than this envelope has."""
    made = scene.payload()
    return scene.undecryptable(
        "limit_exceeded", made, "E-10", limit_envelope=len(made.envelope) - 1
    )


def envelope_as_long_as_the_local_limit(scene: Scene) -> Vector:
    """The bound is inclusive."""
    made = scene.payload()
    return scene.success(made, "E-10", limit_envelope=len(made.envelope))


def envelope_too_long_and_no_envelope(scene: Scene) -> Vector:
    """The length is checked before any byte is looked at: this one is of no known format."""
    return scene.undecryptable(
        "limit_exceeded", scene.raw(b"not an envelope"), "E-10", "E-88", limit_envelope=14
    )


@each(
    empty=b"",
    of_three_bytes=b"xkm",
    of_the_magic_alone=b"xkm1",
    of_text=b"hello, world: this is not sealed at all",
    of_json=b'{"magic":"xkm1"}',
)
def input_too_short_or_foreign(scene: Scene, data: bytes) -> Vector:
    """What does not begin with the magic and 0x96 is malformed, a shorter input included."""
    return scene.undecryptable("malformed", scene.raw(data), "E-12")


@each(next=b"xkm2", zero=b"xkm0", nul=b"xkm\x00", high=b"xkm\xff")
def magic_of_another_version(scene: Scene, magic: bytes) -> Vector:
    """Three known bytes and another digit: a version that this reader does not know."""
    made = scene.payload(envelope=lambda envelope: magic + envelope[4:])
    return scene.undecryptable("unsupported_version", made, "E-11")


def magic_of_the_next_version_alone(scene: Scene) -> Vector:
    """Four bytes are enough to say so."""
    return scene.undecryptable("unsupported_version", scene.raw(b"xkm2"), "E-11")


@each(xkv1=b"xkv1", capitals=b"XKM1", mixed=b"xKm1", reversed=b"1mkx", zeros=bytes(4))
def magic_foreign(scene: Scene, magic: bytes) -> Vector:
    """Another format is not a later version of this one."""
    made = scene.payload(envelope=lambda envelope: magic + envelope[4:])
    return scene.undecryptable("malformed", made, "E-12")


@each(missing=b"", preceded_by_a_byte=b"\x00xkm1", twice=b"xkm1xkm1")
def magic_displaced(scene: Scene, magic: bytes) -> Vector:
    """The magic stands at offset 0, once."""
    made = scene.payload(envelope=lambda envelope: magic + envelope[4:])
    return scene.undecryptable("malformed", made, "E-12")


@each(
    five=b"\x95",
    seven=b"\x97",
    map_of_six=b"\x86",
    six_not_shortest=b"\xdc\x00\x06",
    bin=b"\xc4\x06",
    nil=b"\xc0",
)
def outer_array_of(scene: Scene, header: bytes) -> Vector:
    """Behind the magic stands 0x96, an array of six in its one spelling."""
    made = scene.payload(envelope=lambda envelope: envelope[:4] + header + envelope[5:])
    return scene.undecryptable("malformed", made, "E-12")


@each(the_outer_array=5, the_header_of_the_head=6, the_head=50)
def envelope_ends_behind_or_in(scene: Scene, end: int) -> Vector:
    """The input ends before the head does."""
    made = scene.payload(envelope=lambda envelope: envelope[:end])
    return scene.undecryptable("malformed", made, "E-8")


def envelope_ends_behind_the_head(scene: Scene) -> Vector:
    """The head is whole, and no tags follow."""
    made = scene.payload(envelope=lambda envelope: envelope[: envelope.index(b"\xc4\x08")])
    return scene.undecryptable("malformed", made, "E-8")


def envelope_with_a_byte_behind_the_wraps(scene: Scene) -> Vector:
    """One byte more moves where the wraps begin, and their header no longer fits."""
    made = scene.payload(envelope=lambda envelope: envelope + b"\x00")
    return scene.undecryptable("malformed", made, "E-34")


def envelope_without_its_last_byte(scene: Scene) -> Vector:
    """One byte less does the same."""
    made = scene.payload(envelope=lambda envelope: envelope[:-1])
    return scene.undecryptable("malformed", made, "E-34")


def envelope_twice(scene: Scene) -> Vector:
    """Two envelopes in one input: the wraps at the end fit, but T covers all before them."""
    made = scene.payload(envelope=lambda envelope: envelope + envelope)
    return scene.undecryptable("authentication", made, "E-37")
