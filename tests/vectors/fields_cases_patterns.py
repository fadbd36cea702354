"""Patterns: F-30 and F-31. What the pattern matches is x's, everything else is y's."""

from __future__ import annotations

from tests.vectors.fields_builder import each, not_split, splits
from tests.vectors.fields_cases_split import XY
from tests.vectors.fields_vector import Vector

LISTS = '{"a": ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9", "i10"], "ab": 1}'
NAMES = '{"a": {"0": 1, "00": 2, "-": 3, "": 4, "b": {"": 5, "c": 6}, "+0": 7}, "ab": 8, "": 9}'
ODD = (
    '{"a/b": {"m~n": {"*": 1, "x": 2, "**": 3}}, "a": {"b": 4}, "*": 5, "**": {"x": 6}, "~1": 7, '
    '"~2": 8, "/": 9, "~": 10, "..": {"a": 11}, "?": 12, "[a]": 13, "\\\\*": 14, "a.b": 15}'
)
EMPTY = '{"a": [], "b": {}, "c": [[]], "d": {"e": {}}}'


def matched(document: str, pattern: str) -> Vector:
    return splits(document, "F-31", rules=[("x", pattern), ("y", "/**")], readers=XY)


@each(
    index="/a/0",
    index_of_two_digits="/a/10",
    leading_zero="/a/00",
    minus="/a/-",
    minus_one="/a/-1",
    star="/a/*",
    two_stars="/a/**",
    star_and_star="/*/*",
    star_first="/*",
    all="/**",
    list_itself="/a",
    beyond="/a/11",
    below="/a/0/0",
    fullwidth_digit="/a/\uff10",
)
def in_lists(pattern: str) -> Vector:
    """An index counts as its decimal digits."""
    return matched(LISTS, pattern)


@each(
    digit="/a/0",
    two_digits="/a/00",
    minus="/a/-",
    star="/a/*",
    two_stars="/a/**",
    two_stars_below="/a/b/**",
    two_stars_below_all="/*/*/**",
    empty_name="/",
    empty_name_below="/a/",
    empty_name_below_that="/a/b/",
    two_empty_names="//",
    star_in_the_middle="/*/b/c",
    empty="",
    upper_case="/A/b/**",
)
def in_maps(pattern: str) -> Vector:
    """A segment equals a name; /a/** does not match what only begins with a."""
    return matched(NAMES, pattern)


@each(
    escapes="/a~1b/m~0n/~2",
    star_behind_escapes="/a~1b/m~0n/*",
    slash_is_no_separator="/a/b",
    star="/~2",
    any="/*",
    two_stars="/~2~2/x",
    two_stars_as_a_leaf="/a~1b/m~0n/~2~2",
    escape_of_an_escape="/~01",
    escape_of_a_star="/~02",
    only_a_slash="/~1",
    only_a_tilde="/~0",
    dots="/../a",
    question_mark="/?",
    brackets="/[a]",
    backslash_and_star="/\\~2",
    dot="/a.b",
)
def of_odd_names(pattern: str) -> Vector:
    """Unescaping goes once from left to right, and nothing else has a meaning."""
    return matched(ODD, pattern)


@each(
    container="/a",
    star="/a/*",
    two_stars="/a/**",
    map="/b",
    all="/*",
    all_below="/*/*",
    two_stars_behind_a_star="/*/**",
)
def of_empty_containers(pattern: str) -> Vector:
    """An empty container is a field, and what holds something is none."""
    return matched(EMPTY, pattern)


@each(scalar='"a"', empty_list="[]", empty_map="{}")
def empty_pattern(document: str) -> Vector:
    """It matches the root, if the root is a field."""
    return splits(document, "F-31", rules=[("x", ""), ("y", "/**")], readers=XY)


def empty_pattern_and_a_container() -> Vector:
    """The root holds something, so that it is no field: the pattern matches nothing."""
    return matched('{"": 1}', "")


def two_stars_and_the_root() -> Vector:
    """/** matches every path, also []."""
    return splits("1", "F-31", rules=[("x", "/**")])


def star_and_the_root() -> Vector:
    """/* matches exactly one segment, so not []."""
    return matched("1", "/*")


@each(composed=r"/\u00e9", decomposed=r"/e\u0301")
def normalization_of(pattern: str) -> Vector:
    """Names are compared code point by code point."""
    document = r'{"\u00e9": 1, "e\u0301": 2, "E": 3}'
    return matched(document, pattern.encode().decode("unicode_escape"))


@each(
    no_slash="a",
    no_slash_but_a_star="*",
    no_slash_but_two_stars="**",
    space_before=" /a",
    two_stars_first="/**/name",
    two_stars_in_the_middle="/a/**/b",
    two_stars_twice="/**/**",
    two_stars_before_an_empty_name="/**/",
    star_at_the_end="/na*",
    star_at_the_beginning="/*name",
    star_in_the_middle="/n*e",
    three_stars="/***",
    tilde_at_the_end="/a~",
    tilde_alone="/~",
    tilde_and_3="/~3",
    tilde_and_a_letter="/~a",
    tilde_before_a_slash="/a~/b",
    two_tildes="/~~0",
    tilde_and_a_star="/~*",
    tilde_and_another_digit_2="/~\u0662",
    star_beside_an_escape="/*~2",
    surrogate="/a\ud800",
    pointer_in_a_uri="#/a",
    dollar="$.a",
)
def pattern_is(pattern: str) -> Vector:
    """No pattern, though it may be one in other languages."""
    return not_split("policy_invalid", '{"a": 1}', "F-30", rules=[("x", pattern), ("x", "/**")])


def pattern_behind_one_that_matches_all() -> Vector:
    """All patterns are checked, also those that are never tried."""
    return not_split("policy_invalid", "1", "F-30", rules=[("x", "/**"), ("x", "/na*")])
