"""Step 12: the fields of a document are parsed and joined (F-20 to F-61)."""

from __future__ import annotations

from tests.reference import Part
from tests.reference.content import MessageArray
from tests.reference.encoding import array, header, string
from tests.reference.fields_text import loads
from tests.reference.fields_write import encode, plaintext
from tests.vectors.builder import Scene, each, fields
from tests.vectors.people import BOB, CAROL, to
from tests.vectors.vector import NOW, Vector

ONE, TWO = fields("a", "one"), fields("b", "two")
DOCUMENT = (
    '{"name": "Ada", "items": [1, d"10E-1", null, true, 1.5], "key": h"00ff",'
    ' "at": t"2026-01-01T01:00:00+01:00", "id": u"018f428e-34f6-4707-8009-5ad742f901e7"}'
)


def document_of_every_kind(scene: Scene) -> Vector:
    """One part with the whole document."""
    content = plaintext([((), loads(DOCUMENT))])
    return scene.success(scene.sealed(Part(1, content)), "F-1", kind="document", content=content)


def document_of_a_scalar(scene: Scene) -> Vector:
    """A document need not be a map."""
    content = plaintext([((), 7)])
    return scene.success(scene.sealed(Part(1, content)), "F-1", kind="document", content=content)


def document_with_withheld_items(scene: Scene) -> Vector:
    """Bob reads the second item of a list; the first is withheld, and so is a member."""
    first = plaintext([(("list", 0), "a"), (("x",), "b")])
    second = plaintext([(("list", 1), "c")])
    made = scene.sealed(Part(1, first), Part(1, second), to=[to(CAROL, 0), to(BOB, 1)])
    return scene.success(made, "F-56", "F-60", kind="document", content=second)


def document_and_metadata_withheld(scene: Scene) -> Vector:
    """The part of type 3 is granted to all readers, and does not count as withheld."""
    made = scene.sealed(
        Part(3, MessageArray("text/plain", (("A", "b"),)).encode()),
        Part(1, ONE),
        Part(1, TWO),
        Part(1, fields("c", "three")),
        to=[to(BOB, 0, 2), to(CAROL, 0, 1, 2, 3)],
    )
    return scene.success(made, "F-60", kind="document", content=TWO)


@each(
    no_array=("F-20", b"\xc0"),
    no_pairs=("F-21", b"\x90"),
    empty=("F-21", b""),
    cut=("F-26", ONE[:-1]),
    a_byte_behind_it=("F-22", ONE + b"\x00"),
    a_text_not_utf_8=("F-11", plaintext([((), 0)])[:-1] + string(b"\xff")),
)
def fields_malformed(scene: Scene, form: tuple[str, bytes]) -> Vector:
    """The opener of a document parses its fields."""
    rule, content = form
    return scene.refused("malformed", scene.sealed(Part(1, content)), rule, kind="document")


def fields_beyond_a_limit(scene: Scene) -> Vector:
    """33 containers one in another."""
    content = b"\x91\x92\x90" + b"\x91" * 32 + b"\x90"
    return scene.refused("limit_exceeded", scene.sealed(Part(1, content)), "F-23", kind="document")


@each(
    nodes_at_the_limit=("malformed", "F-26", b"\x91\x92\x90" + header("array", 999_996)),
    nodes_above=("limit_exceeded", "F-24", b"\x91\x92\x90" + header("array", 999_997)),
    pairs_at_the_limit=("malformed", "F-26", header("array", 10_000)),
    pairs_above=("limit_exceeded", "F-25", header("array", 10_001)),
    members_at_the_limit=("malformed", "F-26", b"\x91\x92\x90\xdf\x00\x07\xa1\x1e"),
    members_above=("limit_exceeded", "F-24", b"\x91\x92\x90\xdf\x00\x07\xa1\x1f"),
)
def fields_that_announce(scene: Scene, form: tuple[str, str, bytes]) -> Vector:
    """Default limits: the items are missing, which counts only if the limit permits them."""
    code, rule, content = form
    return scene.refused(code, scene.sealed(Part(1, content)), rule, "F-29", kind="document")


def fields_32_deep(scene: Scene) -> Vector:
    """As many containers one in another as the default limit permits."""
    content = b"\x91\x92\x90" + b"\x91" * 31 + b"\x90"
    return scene.success(scene.sealed(Part(1, content)), "F-23", kind="document", content=content)


@each(at_the_limit=("expired", "E-69", 10_000), above=("limit_exceeded", "F-55", 10_001))
def fields_with_holes(scene: Scene, form: tuple[str, str, int]) -> Vector:
    """10,000 holes are allowed: such a message is refused for its expiry instead."""
    code, rule, index = form
    content = array([array([array([encode(index)]), b"\xc0"])])
    made = scene.sealed(Part(1, content), created=NOW - 1000, expires=NOW)
    return scene.refused(code, made, rule, "F-55", kind="document")


def fields_in_conflict(scene: Scene) -> Vector:
    """Two parts hold the same path."""
    made = scene.sealed(Part(1, ONE), Part(1, fields("a", "two")), to=[to(BOB, 0, 1)])
    return scene.refused("malformed", made, "F-51", kind="document")


def fields_of_another_malformed(scene: Scene) -> Vector:
    """A part that is not granted is not parsed."""
    made = scene.sealed(Part(1, ONE), Part(1, b"\xc1"), to=[to(BOB, 0), to(CAROL, 0, 1)])
    return scene.success(made, "E-56", kind="document", content=ONE)


def fields_in_conflict_with_another(scene: Scene) -> Vector:
    """Only a reader of both parts can notice it."""
    made = scene.sealed(Part(1, ONE), Part(1, ONE), to=[to(BOB, 0), to(CAROL, 0, 1)])
    return scene.success(made, "F-51", kind="document", content=ONE)
