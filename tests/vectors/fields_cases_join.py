"""Joining: F-51 to F-61."""

from __future__ import annotations

from tests.vectors.fields_builder import each, joins, pairs, refused
from tests.vectors.fields_vector import Vector

LAST_INDEX = 2**64 - 1

OVERVIEW = (
    pairs('[["patient", "name"], "Ada"]', '[["notes", 1], "call"]'),
    pairs('[["patient", "phone"], "555"]', '[["notes", 0], "ok"]'),
    pairs('[["claim"], {"total": d"1250E-2", "items": []}]'),
)


def overview_billing() -> Vector:
    """The example of the overview: what billing gets."""
    document = (
        '{"patient": {"name": "Ada"}, "notes": [WITHHELD, "call"], '
        '"claim": {"total": d"1250E-2", "items": []}}'
    )
    return joins(document, "F-56", "F-58", "F-60", of=[OVERVIEW[0], OVERVIEW[2]], parts=3)


def overview_clinic() -> Vector:
    """The example of the overview: what clinic gets. Nothing shows that there is a claim."""
    document = '{"patient": {"name": "Ada", "phone": "555"}, "notes": ["ok", "call"]}'
    return joins(document, "F-56", "F-58", "F-60", of=OVERVIEW[:2], parts=3)


def overview_all() -> Vector:
    """The whole document, in the order in which the parts bring it."""
    document = (
        '{"patient": {"name": "Ada", "phone": "555"}, "notes": ["ok", "call"], '
        '"claim": {"total": d"1250E-2", "items": []}}'
    )
    return joins(document, "F-1", "F-59", "F-60", of=OVERVIEW)


def nothing_granted_of_others() -> Vector:
    """One of 64 parts."""
    return joins('{"a": 1}', "F-60", of=[pairs('[["a"], 1]')], parts=64)


def members_in_order_of_appearance() -> Vector:
    """A map that several parts fill is in the order of parts, then of pairs."""
    of = [
        pairs('[["z"], 1]', '[["m", "y"], 2]', '[["b"], 3]'),
        pairs('[["m", "a"], {"d": 4, "c": 5}]', '[["a"], 6]'),
    ]
    document = '{"z": 1, "m": {"y": 2, "a": {"d": 4, "c": 5}}, "b": 3, "a": 6}'
    return joins(document, "F-59", of=of)


@each(of_bytes=('"B"', '"a"', "10", "9"), of_numbers=('"10"', '"9"', "1", "0"))
def order_is_not_that(names: tuple[str, str, str, str]) -> Vector:
    """Members are not sorted, though some languages put names that look like numbers first."""
    first, second, one, two = names
    of = [pairs(f"[[{second}], {two}]", f"[[{first}], {one}]")]
    return joins(f"{{{second}: {two}, {first}: {one}}}", "F-59", of=of)


def items_in_any_order() -> Vector:
    """Items come to their indices, in whichever order the pairs are."""
    of = [pairs("[[3], 3]", "[[1], 1]"), pairs("[[2], 2]", "[[0], 0]")]
    return joins("[0, 1, 2, 3]", "F-54", "F-56", of=of)


def pairs_that_are_not_the_largest_subtrees() -> Vector:
    """Each field in a pair of its own: a reader cannot know that there was a larger subtree."""
    of = [pairs('[["a", "x"], 1]', '[["a", "y", 0], 2]', '[["a", "y", 1], 3]')]
    return joins('{"a": {"x": 1, "y": [2, 3]}}', "F-54", of=of)


def pairs_that_are_not_in_document_order() -> Vector:
    """A reader cannot know that order."""
    of = [pairs('[["b", 1], 1]', '[["a"], 2]', '[["b", 0], 3]')]
    return joins('{"b": [3, 1], "a": 2}', "F-54", of=of)


def marker_is_not_null() -> Vector:
    """Null that was granted, and an item that was not."""
    of = [pairs("[[1], null]", "[[3], null]")]
    return joins("[WITHHELD, null, WITHHELD, null]", "F-56", "F-57", of=of, parts=2)


def sparse_list() -> Vector:
    """Every index is kept; how many items follow the last is not known."""
    of = [pairs("[[2], 2]"), pairs("[[5], 5]")]
    return joins("[WITHHELD, WITHHELD, 2, WITHHELD, WITHHELD, 5]", "F-56", of=of, parts=3)


def sparse_lists_in_sparse_lists() -> Vector:
    """A container of which nothing is granted is a marker, and one of which something is, none."""
    of = [pairs("[[1, 1], 7]", '[[3, "a", 1], []]')]
    document = '[WITHHELD, [WITHHELD, 7], WITHHELD, {"a": [WITHHELD, []]}]'
    return joins(document, "F-56", "F-58", of=of, parts=2)


@each(list="[]", map="{}")
def empty_container(encoded: str) -> Vector:
    """It is a field, which is granted or not."""
    document = f'{{"a": {encoded}, "b": [WITHHELD, {encoded}]}}'
    return joins(document, "F-58", of=[pairs(f'[["a"], {encoded}]', f'[["b", 1], {encoded}]')])


@each(
    empty='[[""], 1]',
    slash='[["/"], 1]',
    escape='[["~1"], 1]',
    star='[["*"], 1]',
    zero='[["0"], 1]',
    proto='[["__proto__"], 1]',
    nul='[["\\u0000"], 1]',
)
def name_in_a_path(text: str) -> Vector:
    """Nothing in a path is escaped, and no name means anything else than itself."""
    name = text.removeprefix("[[").partition("]")[0]
    return joins(f"{{{name}: 1}}", "F-58", of=[pairs(text)])


def index_0_and_name_0() -> Vector:
    """An index makes a list and a name a map."""
    of = [pairs('[["l", 0], 1]', '[["m", "0"], 2]')]
    return joins('{"l": [1], "m": {"0": 2}}', "F-53", of=of)


def names_that_differ_by_normalization() -> Vector:
    """They are two members, in paths too."""
    of = [pairs(r'[["\u00e9"], 1]'), pairs(r'[["e\u0301"], 2]')]
    return joins(r'{"\u00e9": 1, "e\u0301": 2}', "F-51", of=of)


# --- conflicts


@each(
    in_one_part=(pairs('[["a"], 1]', '[["a"], 2]'),),
    in_two_parts=(pairs('[["a"], 1]'), pairs('[["a"], 2]')),
    with_equal_values=(pairs('[["a"], 1]'), pairs('[["a"], 1]')),
    with_empty_maps=(pairs('[["a"], {}]'), pairs('[["a"], {}]')),
    of_the_root=(pairs("[[], {}]"), pairs("[[], {}]")),
    of_an_item=(pairs('[["a", 1], 1]'), pairs('[["a", 0], 1]', '[["a", 1], 1]')),
    in_another_width=(pairs("[[1], 1]"), b"\x91\x92\x91\xcd\x00\x01\x01"),
    with_maps_that_could_be_merged=(pairs('[["a"], {"x": 1}]'), pairs('[["a"], {"y": 2}]')),
)
def same_path_twice(of: tuple[bytes, ...]) -> Vector:
    """Two readers could be shown two values for one place."""
    return refused("malformed", "F-51", of=of)


@each(
    shorter_first=(pairs('[["a"], {"x": 1}]', '[["a", "y"], 2]'),),
    longer_first=(pairs('[["a", "y"], 2]', '[["a"], {"x": 1}]'),),
    shorter_first_in_another_part=(pairs('[["a"], {"x": 1}]'), pairs('[["a", "y"], 2]')),
    longer_first_in_another_part=(pairs('[["a", "y"], 2]'), pairs('[["a"], {"x": 1}]')),
    of_a_scalar=(pairs('[["a"], 1]'), pairs('[["a", "y"], 2]')),
    of_an_empty_map=(pairs('[["a"], {}]'), pairs('[["a", "y"], 2]')),
    of_an_empty_map_last=(pairs('[["a", "y"], 2]'), pairs('[["a"], {}]')),
    of_an_empty_list=(pairs('[["a"], []]'), pairs('[["a", 0], 2]')),
    of_null=(pairs('[["a"], null]'), pairs('[["a", "y", 0], 2]')),
    that_is_the_root=(pairs("[[], {}]"), pairs('[["a"], 1]')),
    that_is_the_root_last=(pairs('[["a"], 1]'), pairs("[[], {}]")),
    that_is_much_shorter=(pairs('[["a"], 1]'), pairs('[["a", "b", "c", 0, 1], 2]')),
)
def path_is_a_prefix(of: tuple[bytes, ...]) -> Vector:
    """What is below a value comes from another pair: a merge would overwrite one or hide it."""
    return refused("malformed", "F-52", of=of)


@each(
    name_first=(pairs('[["a", "0"], 1]', '[["a", 0], 2]'),),
    index_first=(pairs('[["a", 0], 1]', '[["a", "0"], 2]'),),
    in_another_part=(pairs('[["a", "x"], 1]'), pairs('[["a", 1], 2]')),
    at_the_root=(pairs('[["a"], 1]'), pairs("[[0], 2]")),
    above_other_segments=(pairs('[["a", "x", "y"], 1]'), pairs('[["a", 1, "y"], 2]')),
)
def names_and_indices(of: tuple[bytes, ...]) -> Vector:
    """A container is a map or a list."""
    return refused("malformed", "F-53", of=of)


# --- holes


def holes_at_the_default() -> Vector:
    """Item 10,000 alone has 10,000 holes before it."""
    document = f"[{'WITHHELD, ' * 10_000}1]"
    return joins(document, "F-55", "F-56", of=[pairs("[[10000], 1]")], parts=2)


def holes_beyond_the_default() -> Vector:
    """Item 10,001 alone."""
    return refused("limit_exceeded", "F-55", of=[pairs("[[10001], 1]")])


def holes_of_several_lists_at_the_limit() -> Vector:
    """Two lists of which each has two holes, one of them in the other."""
    of = [pairs("[[1, 2], 1]", "[[2], 1]"), pairs('[[3, "a", 0], 1]')]
    document = '[WITHHELD, [WITHHELD, WITHHELD, 1], 1, {"a": [1]}]'
    return joins(document, "F-55", of=of, limit_holes=3)


def holes_of_several_lists_beyond_the_limit() -> Vector:
    """The holes of all lists count together."""
    of = [pairs("[[1, 2], 1]", "[[2], 1]"), pairs('[[3, "a", 0], 1]')]
    return refused("limit_exceeded", "F-55", of=of, limit_holes=2)


def holes_filled_by_a_later_part() -> Vector:
    """What counts is what is left when all is joined."""
    of = [pairs("[[2], 2]"), pairs("[[0], 0]", "[[1], 1]")]
    return joins("[0, 1, 2]", "F-55", of=of, limit_holes=0)


def holes_counted_in_list_values_not_at_all() -> Vector:
    """A list within a value has none."""
    return joins("[[1, 2], []]", "F-55", of=[pairs("[[], [[1, 2], []]]")], limit_holes=0)


@each(greatest=LAST_INDEX, of_63_bits=2**63, of_32_bits=2**32, of_31_bits=2**31 - 1)
def index(number: int) -> Vector:
    """13 bytes ask for a list of 2^64 items: the number of holes needs more than 64 bits."""
    return refused("limit_exceeded", "F-55", of=[pairs(f"[[{number}], 1]")])


def two_greatest_indices() -> Vector:
    """2^64 - 1 and another 2^64 - 1 holes: a sum in 64 bits would be small."""
    of = [pairs(f'[["a", {LAST_INDEX}], 1]', f'[["b", {LAST_INDEX}], 1]', '[["c", 2], 1]')]
    return refused("limit_exceeded", "F-55", of=of)


# --- the order of checks


def order_reading_before_joining() -> Vector:
    """Two pairs of part 0 have one path, and part 1 is too deep: all are read first."""
    of = [pairs("[[0], 1]", "[[0], 1]"), b"\x91\x92\x90" + b"\x91" * 33]
    return refused("limit_exceeded", "F-61", "F-23", of=of)


def order_reading_before_holes() -> Vector:
    """Part 0 has too many holes, and part 1 is cut short."""
    of = [pairs(f"[[{LAST_INDEX}], 1]"), b"\x91\x92"]
    return refused("malformed", "F-61", "F-26", of=of)


def order_joining_before_holes() -> Vector:
    """Part 0 has too many holes, and part 1 the same path again: holes are counted last."""
    of = [pairs(f"[[{LAST_INDEX}], 1]"), pairs(f"[[{LAST_INDEX}], 1]")]
    return refused("malformed", "F-61", "F-51", of=of)
