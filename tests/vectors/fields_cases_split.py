"""Documents that are split: F-1, F-31, F-40 to F-49, and what joining gives of them."""

from __future__ import annotations

from tests.vectors.fields_builder import EVERYTHING, each, splits
from tests.vectors.fields_vector import Vector

OVERVIEW = (
    '{"patient": {"name": "Ada", "phone": "555"},\n'
    ' "claim": {"total": d"1250E-2", "items": []},\n'
    ' "notes": ["ok", "call"]}'
)
OVERVIEW_RULES = [
    ("billing,clinic", "/patient/name"),
    ("billing,clinic", "/notes/1"),
    ("billing", "/claim/**"),
    ("clinic", "/**"),
]
XY = {"x": "x", "y": "y", "both": "x,y"}


def overview() -> Vector:
    """The example of the overview."""
    readers = {"billing": "billing", "clinic": "clinic", "both": "billing,clinic"}
    return splits(
        OVERVIEW, "F-40", "F-41", "F-42", "F-43", "F-45", rules=OVERVIEW_RULES, readers=readers
    )


@each(
    prefix={"bob": "bill", "carol": "billing"},
    suffix={"bob": "ing", "carol": "billing"},
    substring={"bob": "illi", "carol": "billing"},
)
def permission_that_is_a(readers: dict[str, str]) -> Vector:
    """Permissions are equal or not: a part of one is another permission."""
    rules = [(readers["bob"], "/a"), ("billing", "/**")]
    return splits('{"a": 1, "b": 2}', "F-45", rules=rules, readers=readers)


@each(
    map='{"b": [1, {"c": null}], "a": {}}',
    list="[[], [[]], {}]",
    scalar='"a"',
    null="null",
    empty_map="{}",
    empty_list="[]",
)
def one_set_of_permissions(document: str) -> Vector:
    """All fields have the same: one part, one pair, the path []."""
    return splits(document, "F-42")


def every_kind() -> Vector:
    """Every kind of value, each in a part with others around it."""
    document = (
        '{"n": null, "t": true, "f": false, "i": -1, "j": 123456789012345678901234567890, '
        '"x": -0.0, "s": "\\u00e9", "b": h"00ff", "d": d"-0E-2", '
        '"w": t"2026-03-01T09:30:00.250000-03:30", '
        '"u": u"018f428e-34f6-4707-8009-5ad742f901e7", "l": [1, 1.0], "m": {"": {}}, "y": 1}'
    )
    return splits(document, "F-1", rules=[("y", "/y"), ("x", "/**")], readers=XY)


@each(
    decimal_of_4300_digits=f'd"-{10**4300 - 1}E{-6176}"',
    decimal_with_the_greatest_exponent='d"1E6176"',
    integer_of_4300_digits=str(10**4300 - 1),
    integer_of_4300_digits_below_zero=str(1 - 10**4300),
    last_instant='t"9999-12-31T23:59:59.999999+23:59:59"',
    first_instant='t"0001-01-01T00:00:00-23:59:59"',
    decimal_with_zeros_at_the_end='d"100E-2"',
    text_with_nul=r'"\u0000"',
    depth_32="[" * 32 + "]" * 32,
)
def extreme(document: str) -> Vector:
    """A sealer takes what the format has."""
    return splits(document, "F-1", "F-5", "F-6")


def largest_subtrees() -> Vector:
    """A subtree that belongs wholly to one part is one pair, whatever rules made it so."""
    document = '{"a": {"b": {"c": 1, "d": [2, 3]}, "e": 4}, "f": {"g": [5]}, "h": 6}'
    rules = [("x", "/a/b/c"), ("x", "/a/b/d/*"), ("y", "/a/e"), ("x", "/f/**"), ("x", "/*")]
    return splits(document, "F-42", rules=rules, readers=XY)


def interleaved_items() -> Vector:
    """Pairs are in document order, and lists have markers for who reads a part."""
    document = '[0, 1, {"a": 2, "b": 3}, 4, [5, 6], []]'
    rules = [("x", "/0"), ("x", "/2/a"), ("x", "/4/1"), ("x", "/5"), ("y", "/**")]
    return splits(document, "F-43", "F-45", rules=rules, readers=XY)


def two_rules_with_one_set() -> Vector:
    """The order in which a rule names permissions means nothing, nor does naming one twice."""
    rules = [("x,y", "/a"), ("y", "/b"), ("y,x", "/c"), ("x,x,y", "/d")]
    return splits('{"a": 1, "b": 2, "c": 3, "d": 4}', "F-40", rules=rules, readers=XY)


def two_sets_with_one_recipient() -> Vector:
    """Two sets are two parts even if the same recipient holds them."""
    rules = [("x", "/a"), ("y", "/**")]
    return splits('{"a": 1, "b": 2}', "F-40", rules=rules, readers={"bob": "x,y"})


def parts_in_order_of_the_document() -> Vector:
    """Neither in that of the rules, nor in that of names."""
    rules = [("x", "/c"), ("y", "/a"), ("z", "/b")]
    readers = {"x": "x", "y": "y", "z": "z"}
    return splits('{"b": 1, "c": 2, "a": 3}', "F-41", rules=rules, readers=readers)


def rule_that_matches_nothing() -> Vector:
    """No part is made for it."""
    rules = [("y", "/absent"), ("x", "/**")]
    return splits('{"a": 1}', "F-40", "F-46", rules=rules, readers=XY)


def empty_containers() -> Vector:
    """They are fields like scalars: /a/* does not match an empty list at a."""
    rules = [("x", "/a/*"), ("x", "/b/*"), ("y", "/a"), ("z", "/b"), ("x", "/**")]
    readers = {"x": "x", "y": "y", "z": "z"}
    return splits('{"a": [], "b": {}, "c": {"d": []}}', "F-31", rules=rules, readers=readers)


def first_rule_that_matches() -> Vector:
    """Later rules add nothing, even where they are longer or name the field."""
    rules = [("x", "/*/b"), ("y", "/a/*"), ("z", "/a"), ("y", "")]
    readers = {"x": "x", "y": "y", "z": "z"}
    return splits('{"a": {"b": 1, "c": 2}, "d": 3}', "F-31", "F-46", rules=rules, readers=readers)


def no_wrap_for_whom_nothing_is_granted() -> Vector:
    """Carol holds a permission that no field has, Dave one that no rule names, Eve none."""
    readers = {"bob": "x", "carol": "y", "dave": "unknown", "eve": ""}
    rules = [("y", "/absent"), ("x", "/**")]
    return splits('{"a": 1}', "F-46", rules=rules, readers=readers)


def metadata_is_no_reason_for_a_wrap() -> Vector:
    """A part of type 3 is granted to those that are granted a field, and counted by nobody."""
    readers = {"bob": "x", "carol": "y"}
    rules = [("y", "/absent"), ("x", "/**")]
    return splits('{"a": 1}', "F-46", "F-60", rules=rules, readers=readers, metadata=True)


def permission_that_nobody_holds() -> Vector:
    """The part is there all the same: who holds all the others sees that one is withheld."""
    rules = [("archive", "/b"), ("x", "/**")]
    return splits('{"a": 1, "b": 2}', "F-35", "F-48", rules=rules, allow_unread=["archive"])


def allow_unread_that_has_a_reader() -> Vector:
    """allow_unread permits that nobody holds it, and does not demand it."""
    rules = [("archive", "/b"), ("x", "/**")]
    readers = {"bob": "x", "archive": "archive"}
    return splits(
        '{"a": 1, "b": 2}', "F-35", rules=rules, readers=readers, allow_unread=["archive"]
    )


def withheld_subtrees() -> Vector:
    """Of a map that is not granted nothing shows; a list shows as many items as precede others."""
    document = '{"a": {"s": 1}, "l": [{"s": 1}, {"s": 1, "o": 2}, {"s": 3}], "m": [{"s": 1}]}'
    rules = [("x", "/a/s"), ("x", "/l/*/s"), ("x", "/m/*/s"), ("y", "/**")]
    return splits(document, "F-45", "F-56", "F-58", rules=rules, readers=XY)


@each(parts=(64, False), parts_and_metadata=(63, True))
def as_many(form: tuple[int, bool]) -> Vector:
    """64 parts, that of type 3 included."""
    k, metadata = form
    rules = [(f"p{n}", f"/{n}") for n in range(k)]
    document = f"[{', '.join('0' * k)}]"
    held = ",".join(name for name, _ in rules)
    return splits(document, "F-49", rules=rules, readers={"bob": held}, metadata=metadata)


NINE = [(f"p{n}", f"/{n}") for n in range(9)]


def subsets(k: int) -> dict[str, str]:
    """k readers, each with another set of nine permissions."""
    return {
        f"r{mask}": ",".join(f"p{n}" for n in range(9) if mask >> n & 1)
        for mask in range(512 - k, 512)
    }


def as_many_views() -> Vector:
    """256 readers, each with another set of parts."""
    document = f"[{', '.join('0' * 9)}]"
    return splits(document, "F-49", rules=NINE, readers=subsets(256))


def more_readers_than_views() -> Vector:
    """257 readers of whom two hold the same: views count, not readers."""
    document = f"[{', '.join('0' * 9)}]"
    readers = {**subsets(256), "again": "p0,p1,p2,p3,p4,p5,p6,p7,p8"}
    return splits(document, "F-49", rules=NINE, readers=readers)


def fields_at_the_limit() -> Vector:
    """Pairs of all parts count."""
    rules = [("x", "/0"), ("x", "/2"), ("y", "/**")]
    return splits("[0, 1, 2]", "F-6", rules=rules, readers=XY, limit_fields=3)


def nodes_at_the_limit() -> Vector:
    """Two parts: 1 + 2 pairs of 4 nodes each and a segment, and 1 + 1 of them."""
    rules = [("x", "/0"), ("x", "/2"), ("y", "/**")]
    return splits("[0, 1, 2]", "F-6", rules=rules, readers=XY, limit_nodes=14)


def holes_at_the_limit() -> Vector:
    """Each recipient has its own: x none, y two, and who holds both none."""
    rules = [("x", "/0"), ("x", "/1"), ("y", "/2")]
    return splits("[0, 1, 2]", "F-6", rules=rules, readers=XY, limit_holes=2)


def large_list_in_one_pair() -> Vector:
    """A list that a part holds whole is one pair, and counts once as a field."""
    return splits(
        f"[{', '.join('0' * 200)}]", "F-6", rules=EVERYTHING, limit_fields=1, limit_nodes=204
    )
