"""Steps 8 and 9: views (E-42 to E-44, E-51 to E-54)."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from tests.reference import Part
from tests.reference.encoding import array, binary
from tests.vectors.builder import EMPTY_ARRAY, Forged, Options, Scene, each, fields, flipped
from tests.vectors.forge import Items
from tests.vectors.people import BOB, CAROL, to
from tests.vectors.vector import Vector

ONE, TWO = fields("a", "one"), fields("b", "two")
WHOLE = ONE + TWO


def document(scene: Scene, **options: Unpack[Options]) -> Forged:
    """Bob reads both parts by view 0, Carol the second by view 1."""
    options.setdefault("to", [to(BOB, 0, 1), to(CAROL, 1)])
    return scene.sealed(Part(1, ONE), Part(1, TWO), **options)


def refused(scene: Scene, code: str, made: Forged, *spec: str) -> Vector:
    return scene.refused(code, made, *spec, kind="document")


@each(n_257=b"\xdc\x01\x01", n_65536=b"\xdd\x00\x01\x00\x00", most=b"\xdd\xff\xff\xff\xff")
def views_limit(scene: Scene, header: bytes) -> Vector:
    """More than 256 views are announced; whether they are there is not asked."""
    made = document(scene, views_element=lambda element: header + element[1:])
    return refused(scene, "limit_exceeded", made, "E-42", "E-8")


@each(
    map=b"\x81",
    not_shortest=b"\xdc\x00\x02",
    not_shortest_beyond_the_limit=b"\xdd\x00\x00\x01\x01",
    nil=b"\xc0",
    bin=b"\xc4\x02",
)
def views_as(scene: Scene, header: bytes) -> Vector:
    """The views are an array with the shortest header."""
    made = document(scene, views_element=lambda element: header + element[1:])
    return refused(scene, "malformed", made, "E-6", "E-8")


@each(str=b"\xd9\x72", not_shortest=b"\xc5\x00\x72", array=b"\xdc\x00\x72", nil=b"\xc0")
def view_as(scene: Scene, header: bytes) -> Vector:
    """A view is a bin with the shortest header."""
    made = document(scene, views_element=lambda element: element[:1] + header + element[3:])
    return refused(scene, "malformed", made, "E-6")


def view_that_reaches_beyond_the_wraps(scene: Scene) -> Vector:
    """Its header announces more bytes than there are in front of the wraps."""
    made = document(scene, views_element=lambda element: b"\x92\xc5\xff\xff" + element[3:])
    return refused(scene, "malformed", made, "E-41")


def views_more_than_there_are(scene: Scene) -> Vector:
    """Three are announced, so that the array of parts is taken for a view."""
    made = document(scene, views_element=lambda element: b"\x93" + element[1:])
    return refused(scene, "malformed", made, "E-6")


@each(
    no_entry=48, no_commitment=33, nothing=0, less_by_one=113, more_by_one=115, three_of_two=147
)  # fmt: skip
def view_of_length(scene: Scene, length: int) -> Vector:
    """A view has 48 + 33k bytes, with k from 1 to the number of parts."""

    def edit(views: list[bytes]) -> list[bytes]:
        return [(views[0] + bytes(40))[:length], views[1]]

    return refused(scene, "malformed", document(scene, views=edit), "E-43")


@each(
    no_entry=48, nothing=0, less_by_one=80, more_by_one=82, three_of_two=147
)  # fmt: skip
def view_of_another_of_length(scene: Scene, length: int) -> Vector:
    """All readers agree whether the envelope is well formed, so the views of others count."""

    def edit(views: list[bytes]) -> list[bytes]:
        return [views[0], (views[1] + bytes(70))[:length]]

    return refused(scene, "malformed", document(scene, views=edit), "E-43")


def view_of_another_garbled(scene: Scene) -> Vector:
    """Its length is right; what is in it, only its readers can tell."""
    made = document(scene, views=lambda views: [views[0], bytes(81)])
    return scene.success(made, "E-43", kind="document", content=WHOLE)


def views_of_one_part(scene: Scene) -> Vector:
    """With one part, the wraps hold its content key, and there are no views."""
    view = binary(bytes(81))
    made = scene.payload(views_element=lambda _: array([view]))
    return scene.refused("malformed", made, "E-44")


def views_missing(scene: Scene) -> Vector:
    """With several parts there are views."""
    made = document(scene, views=lambda _: [])
    return refused(scene, "malformed", made, "E-44")


def index_of_the_only_part(scene: Scene) -> Vector:
    """With one part, the index in the wrap is 0."""
    made = scene.payload(rows=lambda rows: [replace(rows[0], index=1)])
    return scene.refused("malformed", made, "E-51")


@each(the_number_of_views=2, the_greatest=255)
def index_is(scene: Scene, index: int) -> Vector:
    """The wrap names a view that is not there."""
    made = document(scene, rows=lambda rows: [replace(row, index=index) for row in rows])
    return refused(scene, "malformed", made, "E-51")


def index_that_only_a_part_has(scene: Scene) -> Vector:
    """The index in the wrap counts views; here there are more parts than views."""
    made = scene.sealed(
        Part(1, ONE), Part(1, TWO), to=[to(BOB, 0, 1)],
        rows=lambda rows: [replace(rows[0], index=1)],
    )  # fmt: skip
    return refused(scene, "malformed", made, "E-51")


def index_of_the_view_of_another(scene: Scene) -> Vector:
    """The wrap names a view that is there, with the key of another."""
    made = document(scene, rows=lambda rows: [replace(row, index=1 - row.index) for row in rows])
    return refused(scene, "commitment", made, "E-52")


def view_key_wrong(scene: Scene) -> Vector:
    """The wrap holds another key than the one that the view commits to."""
    made = document(scene, rows=lambda rows: [replace(row, key=flipped(row.key)) for row in rows])
    return refused(scene, "commitment", made, "E-52")


def view_commitment_altered(scene: Scene) -> Vector:
    """The view would open, but does not commit to its key."""
    made = document(scene, views=lambda views: [flipped(views[0], 0), views[1]])
    return refused(scene, "commitment", made, "E-52")


def view_in_another_place(scene: Scene) -> Vector:
    """The commitment depends on the position, which the wraps name rightly here."""
    made = document(
        scene,
        views=lambda views: views[::-1],
        rows=lambda rows: [replace(row, index=1 - row.index) for row in rows],
    )
    return refused(scene, "commitment", made, "E-52")


def view_commitment_and_ciphertext_altered(scene: Scene) -> Vector:
    """The commitment is compared before the view is opened."""
    made = document(scene, views=lambda views: [flipped(flipped(views[0], 0), 60), views[1]])
    return refused(scene, "commitment", made, "E-52", "E-88")


@each(in_the_list=40, in_the_tag=113)
def view_altered(scene: Scene, at: int) -> Vector:
    """The key is the one that the view commits to, and the view does not open with it."""
    made = document(scene, views=lambda views: [flipped(views[0], at), views[1]])
    return refused(scene, "authentication", made, "E-56")


def reordered(*positions: int) -> Items:
    """An edit of Bob's list: other positions before the same keys."""

    def edit(lists: list[bytes]) -> list[bytes]:
        entries = b"".join(
            bytes([j]) + lists[0][33 * at + 1 : 33 * at + 33] for at, j in enumerate(positions)
        )
        return [entries, *lists[1:]]

    return edit


@each(descending=(1, 0), twice_the_same=(0, 0), last_twice=(1, 1), beyond_the_parts=(0, 2),
      beyond_all_parts=(0, 255))  # fmt: skip
def list_with_positions(scene: Scene, positions: tuple[int, ...]) -> Vector:
    """The positions in a list ascend strictly, and are less than the number of parts."""
    made = document(scene, lists=reordered(*positions))
    return refused(scene, "malformed", made, "E-53")


def three_parts(scene: Scene, *granted: int) -> Forged:
    parts = Part(1, ONE), Part(1, TWO), Part(3, EMPTY_ARRAY)
    return scene.sealed(*parts, to=[to(BOB, *granted), to(CAROL, 0, 1, 2)])


def list_without_fields(scene: Scene) -> Vector:
    """Who gets no part of type 1 gets no document."""
    return refused(scene, "malformed", three_parts(scene, 2), "E-54")


def list_without_metadata(scene: Scene) -> Vector:
    """Who reads a document reads its content type and headers, if it has any."""
    return refused(scene, "malformed", three_parts(scene, 0, 1), "E-54")


def list_without_padded_metadata(scene: Scene) -> Vector:
    """A padded type counts as its unpadded one."""
    parts = Part(19, EMPTY_ARRAY + b"\x80"), Part(1, ONE)
    made = scene.sealed(*parts, to=[to(BOB, 1), to(CAROL, 0, 1)])
    return refused(scene, "malformed", made, "E-54")


def list_with_fields_and_metadata(scene: Scene) -> Vector:
    """One part of fields, and the metadata."""
    return scene.success(three_parts(scene, 1, 2), "E-54", kind="document", content=TWO)


def list_with_another_content_key(scene: Scene) -> Vector:
    """Two readers of one part get different keys for it: only one key fits the commitment."""
    made = document(scene, lists=lambda lists: [flipped(lists[0], 10), lists[1]])
    return refused(scene, "commitment", made, "E-55")
