"""Steps 8 and 10: parts (E-41, E-45 to E-48, E-55 to E-57)."""

from __future__ import annotations

from dataclasses import replace

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.vectors.builder import EMPTY_ARRAY, Scene, each, flipped, padded
from tests.vectors.cases_views import ONE, TWO, document, refused
from tests.vectors.people import BOB, CAROL, to
from tests.vectors.vector import Vector


@each(n_65=b"\xdc\x00\x41", most=b"\xdd\xff\xff\xff\xff")
def parts_limit(scene: Scene, header: bytes) -> Vector:
    """More than 64 parts are announced; whether they are there is not asked."""
    made = document(scene, parts_element=lambda element: header + element[1:])
    return refused(scene, "limit_exceeded", made, "E-45", "E-8")


@each(
    map=b"\x81",
    not_shortest=b"\xdc\x00\x02",
    not_shortest_beyond_the_limit=b"\xdd\x00\x00\x00\x41",
    nil=b"\xc0",
    bin=b"\xc4\x02",
)
def parts_as(scene: Scene, header: bytes) -> Vector:
    """The parts are an array with the shortest header."""
    made = document(scene, parts_element=lambda element: header + element[1:])
    return refused(scene, "malformed", made, "E-6", "E-8")


def part_of_255_bytes_with_a_header_of_three(scene: Scene) -> Vector:
    """255 bytes is the most that a header of two bytes announces."""
    made = scene.payload(b"p" * 206, parts_element=lambda one: b"\x91\xc5\x00" + one[2:])
    return scene.refused("malformed", made, "E-6")


@each(str=b"\xd9\x36", not_shortest=b"\xc5\x00\x36", ext=b"\xc7\x36\x00", nil=b"\xc0")
def part_as(scene: Scene, header: bytes) -> Vector:
    """A part is a bin with the shortest header."""
    made = scene.payload(parts_element=lambda element: element[:1] + header + element[3:])
    return scene.refused("malformed", made, "E-6")


@each(of_64_kilobytes=b"\xc5\xff\xff", of_4_gigabytes=b"\xc6\xff\xff\xff\xff", by_one=b"\xc4\x6a")
def part_that_reaches_beyond_the_wraps(scene: Scene, header: bytes) -> Vector:
    """Its header announces more bytes than there are in front of the wraps."""
    made = scene.payload(parts_element=lambda element: b"\x91" + header + element[3:])
    return scene.refused("malformed", made, "E-41")


def parts_fewer_than_announced(scene: Scene) -> Vector:
    """The signature is taken for the second part."""
    made = scene.payload(parts_element=lambda element: b"\x92" + element[1:])
    return scene.refused("malformed", made, "E-46")


def parts_more_than_announced(scene: Scene) -> Vector:
    """The second part is taken for the signature."""
    made = document(scene, parts_element=lambda element: b"\x91" + element[1:])
    return refused(scene, "malformed", made, "E-49")


def parts_none(scene: Scene) -> Vector:
    """A message has at least one part."""
    made = scene.payload(parts_element=lambda _: b"\x90")
    return scene.refused("malformed", made, "E-48")


@each(nothing=0, a_type=1, no_tag=33, one_byte_less=48)
def part_of_length(scene: Scene, length: int) -> Vector:
    """A part has a type, a commitment of 32 bytes and a tag of 16."""
    made = scene.payload(parts=lambda parts: [parts[0][:length]])
    return scene.refused("malformed", made, "E-46")


def part_of_another_too_short(scene: Scene) -> Vector:
    """Parts that the reader was not granted have to be well formed too."""
    made = document(
        scene, to=[to(BOB, 0), to(CAROL, 0, 1)], parts=lambda parts: [parts[0], parts[1][:48]]
    )
    return refused(scene, "malformed", made, "E-46")


@each(
    n_4=4, n_5=5, n_15=15, n_20=20, n_32=32, n_34=34, n_127=127, n_128=128, n_255=255
)  # fmt: skip
def part_type(scene: Scene, kind: int) -> Vector:
    """A type of a later version."""
    return scene.refused("unsupported_version", scene.sealed(Part(kind, b"hello")), "E-47")


def part_type_of_another(scene: Scene) -> Vector:
    """It does not matter whether the part is granted."""
    made = scene.sealed(Part(1, ONE), Part(4, TWO), to=[to(BOB, 0), to(CAROL, 0, 1)])
    return refused(scene, "unsupported_version", made, "E-47")


def part_type_before_a_part_too_short(scene: Scene) -> Vector:
    """Parts are read from left to right: the unknown type comes first."""
    made = scene.sealed(
        Part(4, ONE),
        Part(1, TWO),
        to=[to(BOB, 0, 1)],
        parts=lambda parts: [parts[0], parts[1][:48]],
    )
    return refused(scene, "unsupported_version", made, "E-47", "E-88")


def part_type_behind_a_part_too_short(scene: Scene) -> Vector:
    """The same the other way round."""
    made = scene.sealed(
        Part(1, ONE),
        Part(4, TWO),
        to=[to(BOB, 0, 1)],
        parts=lambda parts: [parts[0][:48], parts[1]],
    )
    return refused(scene, "malformed", made, "E-46", "E-88")


def part_type_unknown_and_too_short(scene: Scene) -> Vector:
    """Of one part, the length is checked before the type."""
    made = scene.sealed(Part(4, b""), parts=lambda parts: [parts[0][:48]])
    return scene.refused("malformed", made, "E-46", "E-88")


def part_type_unknown_and_the_signature_too_long(scene: Scene) -> Vector:
    """The parts are in front of the signature."""
    made = scene.sealed(Part(4, b""), signature=lambda _: bytes(65))
    return scene.refused("unsupported_version", made, "E-47", "E-88")


@each(
    payload_payload=(0, 0),
    payload_padded_payload=(0, 16),
    message_message=(2, 2),
    payload_message=(0, 2),
    payload_fields=(0, 1),
    fields_payload=(1, 0),
    fields_message=(1, 2),
    fields_padded_message=(1, 18),
    payload_metadata=(0, 3),
    message_metadata=(2, 3),
    metadata=(3,),
    padded_metadata=(19,),
    metadata_metadata=(3, 3),
    fields_metadata_metadata=(1, 3, 3),
    fields_metadata_padded_metadata=(1, 3, 19),
    fields_fields_payload=(1, 1, 0),
)
def parts_together(scene: Scene, types: tuple[int, ...]) -> Vector:
    """Either one payload, or fields and at most one part of metadata."""
    parts = [Part(kind, EMPTY_ARRAY + b"\x80" * (kind >= 16)) for kind in types]
    made = scene.sealed(*parts, to=[to(BOB, *range(len(parts)))])
    return refused(scene, "malformed", made, "E-48")


METADATA = MessageArray("text/plain", (("A", "b"),)).encode()
VALID = {0: b"hello", 1: ONE, 2: METADATA + b"hello", 3: METADATA}


@each(
    fields_metadata_metadata=(1, 3, 3),
    metadata_fields_metadata=(3, 1, 3),
    fields_metadata_padded_metadata=(1, 3, 19),
    fields_payload=(1, 0),
    payload_fields=(0, 1),
    fields_message=(1, 2),
    message_fields=(2, 1),
    fields_padded_payload=(1, 16),
    metadata=(3,),
    padded_metadata=(19,),
)
def valid_parts_together(scene: Scene, types: tuple[int, ...]) -> Vector:
    """Each part alone would be valid; a document was asked for."""
    made = scene.sealed(*map(valid, types), to=[to(BOB, *range(len(types)))])
    return refused(scene, "malformed", made, "E-48")


@each(
    fields_payload=(1, 0),
    payload_fields=(0, 1),
    fields_message=(1, 2),
    payload_metadata_fields=(0, 3, 1),
    metadata=(3,),
)
def valid_parts_together_for_a_payload(scene: Scene, types: tuple[int, ...]) -> Vector:
    """Each part alone would be valid; a payload was asked for."""
    made = scene.sealed(*map(valid, types), to=[to(BOB, *range(len(types)))])
    return scene.refused("malformed", made, "E-48")


def valid(kind: int) -> Part:
    return padded(kind - 16, VALID[kind - 16]) if kind >= 16 else Part(kind, VALID[kind])


def parts_together_not_granted(scene: Scene) -> Vector:
    """Parts that the reader was not granted count, too."""
    made = scene.sealed(Part(1, ONE), Part(0, b"hello"), to=[to(BOB, 0), to(CAROL, 0, 1)])
    return refused(scene, "malformed", made, "E-48")


def commitment_altered(scene: Scene) -> Vector:
    """The part would open, but does not commit to its key."""
    made = scene.payload(parts=lambda parts: [flipped(parts[0], 1)])
    return scene.refused("commitment", made, "E-55")


def commitment_altered_in_the_last_byte(scene: Scene) -> Vector:
    """All 32 bytes are compared."""
    made = scene.payload(parts=lambda parts: [flipped(parts[0], 32)])
    return scene.refused("commitment", made, "E-55")


def content_key_wrong(scene: Scene) -> Vector:
    """The wrap holds another key than the one that the part commits to."""
    made = scene.payload(rows=lambda rows: [replace(rows[0], key=flipped(rows[0].key))])
    return scene.refused("commitment", made, "E-55")


def parts_swapped(scene: Scene) -> Vector:
    """The commitment depends on the position: a part cannot stand for another."""
    made = document(scene, parts=lambda parts: parts[::-1])
    return refused(scene, "commitment", made, "E-55")


def part_of_another_message(scene: Scene) -> Vector:
    """The commitment depends on the nonce: a part cannot be taken from another message."""
    first = scene.payload(session="one", counter=1).plan
    made = scene.payload(
        session="one",
        counter=2,
        parts=lambda _: [scene.part(first, 0)],
        rows=lambda rows: [replace(rows[0], key=first.content_keys[0])],
    )
    return scene.refused("commitment", made, "E-55")


def commitment_and_ciphertext_altered(scene: Scene) -> Vector:
    """The commitment is compared before the part is opened."""
    made = scene.payload(parts=lambda parts: [flipped(flipped(parts[0], 1), 40)])
    return scene.refused("commitment", made, "E-55", "E-88")


@each(first_byte=33, last_byte_of_the_tag=-1)
def ciphertext_altered_in_the(scene: Scene, at: int) -> Vector:
    """A co-recipient knows the key of the part; here even the wrap was made over the change."""
    made = scene.payload(parts=lambda parts: [flipped(parts[0], at)])
    return scene.refused("authentication", made, "E-56")


def ciphertext_without_its_last_byte(scene: Scene) -> Vector:
    """A part that was cut."""
    made = scene.payload(parts=lambda parts: [parts[0][:-1]])
    return scene.refused("authentication", made, "E-56")


def ciphertext_is_the_tag_alone_and_wrong(scene: Scene) -> Vector:
    """An empty payload is authenticated like any other."""
    made = scene.payload(b"", parts=lambda parts: [flipped(parts[0])])
    return scene.refused("authentication", made, "E-56")


def ciphertext_of_the_second_part_altered(scene: Scene) -> Vector:
    """All granted parts have to open."""
    made = document(scene, parts=lambda parts: [parts[0], flipped(parts[1])])
    return refused(scene, "authentication", made, "E-56")


def ciphertext_before_a_later_commitment(scene: Scene) -> Vector:
    """Parts are opened one after the other, each with its commitment."""
    made = document(scene, parts=lambda parts: [flipped(parts[0]), flipped(parts[1], 1)])
    return refused(scene, "authentication", made, "E-56", "E-88")


def part_of_another_altered(scene: Scene) -> Vector:
    """A malicious sender can make a part that nobody can open; whom it concerns will notice."""
    made = document(
        scene, to=[to(BOB, 0), to(CAROL, 0, 1)], parts=lambda parts: [parts[0], bytes([1] * 50)]
    )
    return scene.success(made, "E-56", kind="document", content=ONE)


def known_session_first(scene: Scene) -> Vector:
    """The first message of a session that another vector goes on with."""
    return scene.success(scene.payload(session="known"), "E-57")


def known_session_and_commitment_altered(scene: Scene) -> Vector:
    """The keys of the session are in a cache by now; the commitment is compared all the same."""
    made = scene.payload(session="known", counter=2, parts=lambda parts: [flipped(parts[0], 1)])
    return scene.refused("commitment", made, "E-57", "E-55", after=[known_session_first])
