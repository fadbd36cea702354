"""Envelopes with nothing wrong, in every shape; the first three are the worked examples."""

from __future__ import annotations

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.vectors.builder import EMPTY_ARRAY, HELLO, Scene, each, fields, padded
from tests.vectors.people import ALICE, BOB, CAROL, DAVE, crowd, person, to
from tests.vectors.vector import NOW, Vector

ONE, TWO, THREE = fields("a", "one"), fields("b", "two"), fields("c", "three")


def smallest(scene: Scene) -> Vector:
    """One recipient, the subject `a`, no attributes, no signature, an empty payload."""
    return scene.success(scene.payload(b"", subject="a"), "E-12", "E-15")


def two_views_signed(scene: Scene) -> Vector:
    """Two parts and their metadata; Bob reads all, Carol the second part; signed by Alice."""
    made = scene.sealed(
        Part(1, ONE),
        Part(1, TWO),
        Part(3, MessageArray("application/json", (("A", "b"),)).encode()),
        to=[to(BOB, 0, 1, 2, user=BOB.user), to(CAROL, 1, 2)],
        signer=ALICE,
        revision=42,
        expires=NOW + 60_000,
        subject="orders.eu",
    )
    return scene.success(
        made, "E-43", "E-54", "E-64", user=BOB.user_text, sender=[ALICE.mapping],
        require_signature=True, subject=["orders.*"], kind="document", content=ONE + TWO,
    )  # fmt: skip


def padded_message(scene: Scene) -> Vector:
    """A content type, a header twice, and a payload, padded by the recommended amount."""
    array = MessageArray("text/plain", (("A", "b"), ("A", "c"))).encode()
    made = scene.sealed(padded(2, array + b"hi"), identity=ALICE.user)
    return scene.success(made, "E-58", "E-59", content=b"hi")


@each(
    n_2=2, n_5=5, n_6=6, n_31=31, n_32=32, n_100=100
)  # fmt: skip
def recipients(scene: Scene, n: int) -> Vector:
    """The headers of tags and wraps grow with the number of recipients."""
    return scene.success(scene.payload(to=crowd(n)), "E-31", "E-34")


@each(n_256=150, n_255=149, n_1=1)
def head_length(scene: Scene, subject_length: int) -> Vector:
    """Up to 255 bytes, the header of the head has two bytes."""
    return scene.success(scene.payload(subject="s" * subject_length), "E-15")


def head_with_everything(scene: Scene) -> Vector:
    """The longest head: all attributes, and a subject of 255 bytes."""
    made = scene.payload(
        subject="s" * 255, revision=2**53 - 1, signer=ALICE, expires=2**53 - 1, counter=2**20
    )
    return scene.success(made, "E-15", "E-19")


@each(
    n_1=1, n_127=127, n_128=128, n_255=255, n_256=256, n_65535=65_535, n_65536=65_536,
    n_4294967295=2**32 - 1, n_4294967296=2**32,
)  # fmt: skip
def revision_of(scene: Scene, value: int) -> Vector:
    """A uint in each of its widths."""
    return scene.success(scene.payload(revision=value), "E-6")


@each(n_206=206, n_207=207)
def part_header_for(scene: Scene, length: int) -> Vector:
    """A part of 255 bytes has a header of two bytes, one of 256 has three."""
    return scene.success(scene.payload(b"p" * length), "E-6")


@each(payload=0, fields=1, message=2)
def single_part_of(scene: Scene, kind: int) -> Vector:
    """One part, no views."""
    content = {0: HELLO, 1: ONE, 2: EMPTY_ARRAY + HELLO}[kind]
    made = scene.sealed(Part(kind, content))
    return scene.success(
        made,
        "E-48",
        kind="document" if kind == 1 else "payload",
        content=ONE if kind == 1 else HELLO,
    )


def document_read_in_part(scene: Scene) -> Vector:
    """Three parts, three sets of readers; Bob reads the first and the last."""
    made = scene.sealed(
        Part(1, ONE),
        Part(1, TWO),
        Part(1, THREE),
        to=[to(CAROL, 0, 1, 2), to(BOB, 0, 2), to(DAVE, 1)],
    )
    return scene.success(made, "E-53", kind="document", content=ONE + THREE)


def document_with_a_part_for_nobody(scene: Scene) -> Vector:
    """A malicious sender can leave a part without readers."""
    made = scene.sealed(Part(1, ONE), Part(1, TWO), to=[to(BOB, 0), to(CAROL, 0)])
    return scene.success(made, "E-53", kind="document", content=ONE)


def document_with_metadata_in_the_middle(scene: Scene) -> Vector:
    """Metadata may stand at any position."""
    made = scene.sealed(
        Part(1, ONE), Part(3, EMPTY_ARRAY), Part(1, TWO), to=[to(BOB, 0, 1, 2), to(CAROL, 0, 1)]
    )
    return scene.success(made, "E-48", "E-54", kind="document", content=ONE + TWO)


def views_in_another_order(scene: Scene) -> Vector:
    """Bob's view is the last of three."""
    made = scene.sealed(Part(1, ONE), Part(1, TWO), to=[to(CAROL, 0), to(DAVE, 0, 1), to(BOB, 1)])
    return scene.success(made, "E-43", kind="document", content=TWO)


def view_that_no_wrap_names(scene: Scene) -> Vector:
    """Its reader was left out; allowed."""
    made = scene.sealed(
        Part(1, ONE),
        Part(1, TWO),
        to=[to(BOB, 0), to(CAROL, 0, 1)],
        rows=lambda rows: [row for row in rows if row.index == 0],
    )
    return scene.success(made, "E-43", kind="document", content=ONE)


def views_that_grant_the_same(scene: Scene) -> Vector:
    """Two views of one set of parts; allowed."""
    made = scene.sealed(
        Part(1, ONE),
        Part(1, TWO),
        to=[to(CAROL, 0, 1), to(BOB, 1)],
        lists=lambda lists: [lists[0], lists[0]],
    )
    return scene.success(made, "E-43", kind="document", content=ONE + TWO)


def sixteen_parts_and_views(scene: Scene) -> Vector:
    """From sixteen items on, an array has a header of three bytes."""
    names = "abcdefghijklmnop"
    contents = [fields(name, "x") for name in names]
    others = [to(person(f"crowd/{j}"), *range(j, 16)) for j in range(15)]
    made = scene.sealed(
        *(Part(1, content) for content in contents), to=[*others, to(BOB, 15)], signer=ALICE
    )
    return scene.success(
        made, "E-42", "E-45", kind="document", content=contents[15], sender=[ALICE.mapping]
    )


def parts_64(scene: Scene) -> Vector:
    """As many parts as there can be."""
    contents = [fields(chr(0x30 + j), "") for j in range(64)]
    made = scene.sealed(*(Part(1, content) for content in contents), to=[to(BOB, *range(64))])
    return scene.success(made, "E-45", kind="document", content=b"".join(contents))


def same_key_as_two_users(scene: Scene) -> Vector:
    """A recipient is a pair: one xkey with two user keys is two recipients."""
    made = scene.payload(to=[to(BOB, user=BOB.user), to(BOB), to(BOB, user=CAROL.user)])
    return scene.success(made, "E-32", "E-35", user=BOB.user_text)
