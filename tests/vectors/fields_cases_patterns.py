"""Patterns: F-30, F-31 and F-62 to F-64. What the pattern matches is x's, all else is y's."""

from __future__ import annotations

from tests.vectors.fields_builder import Rules, each, not_split, splits
from tests.vectors.fields_cases_split import XY
from tests.vectors.fields_vector import Vector

LISTS = '{"a": ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9", ["i10"]], "ab": 1}'
NAMES = '{"a": {"0": 1, "00": 2, "-": 3, "": 4, "b": {"": 5, "c": 6}, "+0": 7}, "ab": 8, "": 9}'
ODD = (
    '{"a/b": {"m~n": {"*": 1, "x": 2, "**": 3}}, "a": {"b": 4}, "*": 5, "**": {"x": 6}, "~1": 7, '
    '"~2": 8, "/": 9, "~": 10, "..": {"a": 11}, "?": 12, "[a]": 13, "\\\\*": 14, "a.b": 15, '
    '"\\"": 16, " c ": 17, ":d": 18, "%2F": 19, "-": 20, "{e}": 21}'
)
EMPTY = '{"a": [], "b": {}, "c": [[]], "d": {"e": {}}}'
DEEP = '{"ssn": 1, "a": {"ssn": {"n": 2}, "b": [{"ssn": 3}, {"c": {"ssn": 4}}]}, "b": {"ssn": 5}}'


def matched(document: str, pattern: str) -> Vector:
    rest = [] if pattern in ("", "/**") else [("y", "/**")]
    return splits(document, "F-31", rules=[("x", pattern), *rest], readers=XY)


@each(
    index="/a/0",
    index_of_two_digits="/a/10",
    below_an_index="/a/10/0",
    leading_zero="/a/00",
    minus='/a/"-"',
    minus_one="/a/-1",
    star="/a/*",
    two_stars="/a/**",
    star_and_star="/*/*",
    star_first="/*",
    all="/**",
    list_itself="/a",
    beyond="/a/11",
    below="/a/0/0",
    quoted='/"a"/"0"',
)
def in_lists(pattern: str) -> Vector:
    """An index counts as its decimal digits."""
    return matched(LISTS, pattern)


@each(
    digit="/a/0",
    two_digits="/a/00",
    minus='/a/"-"',
    star="/a/*",
    container="/a/b",
    two_stars="/a/**",
    two_stars_below="/a/b/**",
    two_stars_below_all="/*/*/**",
    empty_name='/""',
    empty_name_below='/a/""',
    empty_name_below_that='/a/b/""',
    two_empty_names='/""/""',
    star_in_the_middle="/*/b/c",
    empty="",
)
def in_maps(pattern: str) -> Vector:
    """A segment equals a name; /a covers everything below a, and not what begins with a."""
    return matched(NAMES, pattern)


@each(
    first="/**/ssn",
    in_the_middle="/a/**/ssn",
    before_a_star="/**/b/*",
    before_two_names="/**/b/ssn",
    before_an_index="/**/0",
    last="/a/b/**",
    behind_a_star="/*/**/ssn",
    before_a_star_alone="/a/**/*",
)
def at_any_depth(pattern: str) -> Vector:
    """** matches any number of segments, also none."""
    return matched(DEEP, pattern)


@each(
    escapes="/a~1b/m~0n/~2",
    quotes='/"a/b"/"m~n"/"*"',
    star_behind_escapes="/a~1b/m~0n/*",
    slash_is_no_separator="/a/b",
    star="/~2",
    any="/*",
    two_stars="/~2~2/x",
    two_stars_in_quotes='/"**"',
    two_stars_as_a_leaf="/a~1b/m~0n/~2~2",
    escape_of_an_escape="/~01",
    escape_of_a_star="/~02",
    only_a_slash="/~1",
    only_a_tilde="/~0",
    dots='/".."/a',
    question_mark="/?",
    brackets='/"[a]"',
    backslash_and_star="/\\~2",
    dot='/"a.b"',
    quote='/"\\""',
    escape_of_json='/"\\u0061\\u002eb"',
    blanks='/" c "',
    colon='/":d"',
    percent='/"%2F"',
    minus='/"-"',
    braces='/"{e}"',
)
def of_odd_names(pattern: str) -> Vector:
    """Without quotes, unescaping goes once from left to right; in quotes, it is that of JSON."""
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
    """An empty container is a field, and has nothing below it."""
    return matched(EMPTY, pattern)


@each(scalar='"a"', empty_list="[]", empty_map="{}", map='{"": 1}')
def empty_pattern(document: str) -> Vector:
    """It covers the whole document."""
    return splits(document, "F-31", rules=[("x", "")])


def star_and_the_root() -> Vector:
    """/* matches exactly one segment, so not []."""
    return matched("1", "/*")


# --- filters

CONTACTS = (
    '{"c": [{"system": "email", "value": 1}, {"system": "phone", "value": 2}, {"value": 3}, "x"], '
    '"one": {"n": 1, "t": true, "z": null, "value": 4}, "system": "email"}'
)


@each(
    items='/c/*[system="email"]',
    below='/c/*[system="email"]/value',
    anywhere='/**/c/*[system="email"]/value',
    of_a_map="/one[n=1]/value",
    boolean="/one[t=true]",
    null="/one[z=null]",
    two="/one[n=1][t=true]",
    two_of_which_one_differs="/one[n=1][t=false]",
    quoted='/c/*["system"="email"]',
    another_value='/c/*[system="fax"]',
    absent="/one[a=1]",
    index='/c/0[system="email"]',
    another_index='/c/1[system="email"]',
    scalar="/one/n[n=1]",
    before_two_stars='/c/*[system="email"]/**',
)
def filter_of(pattern: str) -> Vector:
    """A filter tests a member of the map that its segment reaches."""
    return splits(CONTACTS, "F-31", "F-63", rules=[("x", pattern), ("y", "/**")], readers=XY)


TEST = [("x", '/*[t="x"]/v'), ("y", "")]
ONE = [("x", "/*[t=1]/v"), ("y", "")]
WORD = [("x", "/*[t=true]/v"), ("y", "")]


def wanting(value: str) -> Rules:
    return [("x", f"/*[t={value}]/v"), ("y", "")]


@each(
    list=('{"a": [{"t": "x", "v": 1}]}', TEST),
    empty_list=('{"a": []}', TEST),
    case=('{"a": {"t": "X", "v": 1}}', TEST),
    blank=('{"a": {"t": "x ", "v": 1}}', TEST),
    fullwidth=('{"a": {"t": "\uff58", "v": 1}}', TEST),
    bytes=('{"a": {"t": h"78", "v": 1}}', TEST),
    list_of_values=('{"a": {"t": ["w", "x"], "v": 1}}', TEST),
    name_in_another_case=('{"a": {"T": "x", "v": 1}}', TEST),
    name_and_value_in_another_case=('{"a": {"T": "X", "v": 1}}', TEST),
    other_name_beside_another_value=('{"a": {"t": "y", "T": "x", "v": 1}}', TEST),
    text_of_an_integer=('{"a": {"t": "1", "v": 1}}', ONE),
    float=('{"a": {"t": 1.0, "v": 1}}', ONE),
    decimal=('{"a": {"t": d"10E-1", "v": 1}}', ONE),
    text_of_a_boolean=('{"a": {"t": "TRUE", "v": 1}}', WORD),
    integer_for_true=('{"a": {"t": 1, "v": 1}}', WORD),
    float_for_true=('{"a": {"t": 1.0, "v": 1}}', WORD),
    decimal_for_true=('{"a": {"t": d"1E0", "v": 1}}', WORD),
    text_of_one_for_true=('{"a": {"t": "1", "v": 1}}', WORD),
    zero_for_false=('{"a": {"t": 0, "v": 1}}', wanting("false")),
    true_for_one=('{"a": {"t": true, "v": 1}}', ONE),
    word_for_one=('{"a": {"t": "True", "v": 1}}', ONE),
    text_of_a_float=('{"a": {"t": "1.0", "v": 1}}', ONE),
    text_with_a_leading_zero=('{"a": {"t": "01", "v": 1}}', ONE),
    text_with_a_sign_and_an_exponent=('{"a": {"t": " +.1E1 ", "v": 1}}', ONE),
    text_of_digits_in_another_width=('{"a": {"t": "\uff11", "v": 1}}', ONE),
    bytes_of_a_number=('{"a": {"t": h"31", "v": 1}}', ONE),
    list_with_a_number=('{"a": {"t": [2, 1.0], "v": 1}}', wanting('"1"')),
    true_for_the_text_of_one=('{"a": {"t": true, "v": 1}}', wanting('"1"')),
    one_for_the_text_true=('{"a": {"t": 1, "v": 1}}', wanting('"true"')),
    float_for_a_text=('{"a": {"t": 1.0, "v": 1}}', wanting('"1"')),
    decimal_for_a_text=('{"a": {"t": d"100E-2", "v": 1}}', wanting('"1"')),
    float_for_a_text_of_three_digits=('{"a": {"t": 100.0, "v": 1}}', wanting('"100"')),
    exponent_for_a_text=('{"a": {"t": d"1E2", "v": 1}}', wanting('"100"')),
    long_float_for_a_text=('{"a": {"t": 1e16, "v": 1}}', wanting('"10000000000000000"')),
    fraction_for_a_text=('{"a": {"t": 0.1, "v": 1}}', wanting('"0.10"')),
    shortest_digits_of_a_float=('{"a": {"t": 1e23, "v": 1}}', wanting(str(10**23))),
    exact_digits_of_a_float=('{"a": {"t": 1e23, "v": 1}}', wanting(str(int(1e23)))),
    integer_of_400_digits=(f'{{"a": {{"t": {10**399}, "v": 1}}}}', wanting(f'"{10**399}"')),
    null_as_text=('{"a": {"t": "NULL", "v": 1}}', wanting("null")),
    uuid=(
        '{"a": {"t": u"018f428e-34f6-4707-8009-5ad742f901e7", "v": 1}}',
        wanting('"018F428E-34F6-4707-8009-5AD742F901E7"'),
    ),
    time=(
        '{"a": {"t": t"2026-03-01T09:30:00-03:30", "v": 1}}',
        wanting('"2026-03-01 09:30:00-03:30"'),
    ),
    time_with_fraction_and_seconds=(
        '{"a": {"t": t"1969-12-31T23:59:59.250000+00:00:15", "v": 1}}',
        wanting('"1969-12-31 23:59:59.250000+00:00:15"'),
    ),
    time_of_an_early_year=(
        '{"a": {"t": t"0044-03-15T12:00:00+00:00", "v": 1}}',
        wanting('"0044-03-15 12:00:00+00:00"'),
    ),
    bytes_not_utf_8=('{"a": {"t": h"78ffe282", "v": 1}}', wanting('"X\ufffd\ufffd"')),
)
def filter_that_cannot_be_decided(form: tuple[str, Rules]) -> Vector:
    """What the filter means is there, in another form: sealing stops."""
    document, rules = form
    return not_split("field_ambiguous", document, "F-63", rules=rules, readers=XY, pointers=["/a"])


@each(
    another_text='{"a": {"t": "y", "v": 1}}',
    map='{"a": {"t": {"x": "x"}, "v": 1}}',
    empty_text='{"a": {"t": "", "v": 1}}',
    null='{"a": {"t": null, "v": 1}}',
    exact_beside_a_look_alike='{"a": {"t": "x", "T": "x", "v": 1}}',
    another_value_under_a_look_alike='{"a": {"T": "y", "v": 1}}',
    time='{"a": {"t": t"2026-03-01T09:30:00+00:00", "v": 1}}',
    scalar='{"a": "x"}',
)
def filter_that_is_decided(document: str) -> Vector:
    """Nothing there could be taken for the value."""
    return splits(document, "F-63", rules=TEST, readers=XY)


@each(
    two_texts_of_a_number=('{"a": {"t": "01", "v": 1}}', '"1"'),
    two_versions=('{"a": {"t": "1.10", "v": 1}}', '"1.1"'),
    text_of_one_and_text_true=('{"a": {"t": "1", "v": 1}}', '"true"'),
    other_number=('{"a": {"t": 1.5, "v": 1}}', "1"),
    false_for_one=('{"a": {"t": false, "v": 1}}', "1"),
    long_integer_for_an_empty_text=(f'{{"a": {{"t": {2**1024}, "v": 1}}}}', '""'),
    null_for_an_empty_text=('{"a": {"t": null, "v": 1}}', '""'),
    null_for_zero=('{"a": {"t": null, "v": 1}}', "0"),
    text_with_a_separator=('{"a": {"t": "1_0", "v": 1}}', "10"),
    digits_of_another_script=('{"a": {"t": "\u0661", "v": 1}}', "1"),
    point_alone=('{"a": {"t": ".", "v": 1}}', "0"),
    exponent_of_six_digits=('{"a": {"t": "1e000000", "v": 1}}', "1"),
)
def filter_on_another_value(form: tuple[str, str]) -> Vector:
    """Two texts are alike as texts alone, and what writes no number is not like one."""
    document, value = form
    return splits(document, "F-63", rules=wanting(value), readers=XY)


def filter_of_both_spellings() -> Vector:
    """A member that is the exact value of another filter there is what it looks like."""
    rules = [("x", '/*[t="x"]'), ("x,y", '/*[t="X"]'), ("y", "")]
    return splits('{"a": {"t": "X"}, "b": {"t": "x"}}', "F-63", rules=rules, readers=XY)


def filter_on_a_list_that_an_earlier_rule_covers() -> Vector:
    """A filter is not tested where an earlier rule has decided."""
    rules = [("y", "/a"), ("x", '/*[t="x"]'), ("y", "")]
    return splits('{"a": [1], "b": {"t": "x"}}', "F-63", rules=rules, readers=XY)


def filter_below_a_place_that_its_own_pattern_covers() -> Vector:
    """Nor where the same pattern has decided."""
    rules = [("x", '/**/*[t="x"]'), ("y", "")]
    document = '{"a": {"t": "x", "b": {"t": "X"}, "c": [1]}, "d": 1}'
    return splits(document, "F-63", rules=rules, readers=XY)


# --- look-alikes


@each(
    case=('{"SSN": 1}', "/ssn", "/SSN"),
    case_in_the_rule=('{"ssn": 1}', "/SSN", "/ssn"),
    composed=('{"\u00e9": 1}', "/e\u0301", "/\u00e9"),
    decomposed=('{"e\u0301": 1}', "/\u00e9", "/e\u0301"),
    sharp_s=('{"strasse": 1}', "/stra\u00dfe", "/strasse"),
    blank=('{"first name": 1}', "/firstname", "/first name"),
    ligature=('{"file": 1}', "/\ufb01le", "/file"),
    unseen_controls=('{"ssn": 1}', "/s\U0001bca0s\U0001bca3n", "/ssn"),
    unseen_blanks=('{"ssn": 1}', "/s\U00013441s\U00016fe4n", "/ssn"),
    enclosing_marks=('{"ssn": 1}', "/s\u20dds\u20e3n\u0488\ua672\u1abe", "/ssn"),
    many_unseen_characters=('{"ssn": 1}', f"/ssn{chr(0x200B) * 254}", "/ssn"),
    stacked_marks=('{"x": 1}', "/x\u0336", "/x"),
    below=('{"a": {"B": {"c": 1}}}', "/a/b", "/a/B"),
    above=('{"A": {"b": 1}}', "/a/b", "/A"),
    anywhere=('{"c": [{"SSN": 1}]}', "/**/ssn", "/c/0/SSN"),
    index=("[1, 2]", "/\uff11", "/1"),
    name_as_an_index=('{"\uff11": 2}', "/1", "/\uff11"),
)
def look_alike_by(form: tuple[str, str, str]) -> Vector:
    """A person would take the name for that of the rule, and it would be open: sealing stops."""
    document, pattern, place = form
    rules = [("x", pattern), ("y", "")]
    return not_split("field_ambiguous", document, "F-64", rules=rules, readers=XY, pointers=[place])


@each(
    same_readers=('{"SSN": 1}', [("x", "/ssn"), ("x", "/b"), ("y", "/a"), ("x", "")]),
    same_readers_for_this_value=('{"A": {"b": 1}}', [("y", "/a/c"), ("x", "")]),
    other_rule_with_the_same=('{"A": {"b": 1}}', [("x", "/a/b"), ("x", "/*/b"), ("y", "")]),
    name_of_another_rule=('{"ssn": 1, "SSN": 2}', [("x", "/ssn"), ("y", "/SSN")]),
    earlier_rule=('{"a": {"SSN": 1}}', [("y", "/a"), ("x", "/*/ssn"), ("y", "")]),
    another_accent=('{"\u00e8": 1, "e": 2}', [("x", "/\u00e9"), ("y", "")]),
    vowels_of_hindi=(
        '{"\u092a\u0924\u093f": 1}', [("x", "/\u092a\u0924\u093e"), ("y", "")],
    ),
    long_names=(f'{{"{"A" * 300}": 1}}', [("x", f"/{'a' * 300}"), ("y", "")]),
)  # fmt: skip
def no_look_alike_of(form: tuple[str, Rules]) -> Vector:
    """Nobody would read more by the rule that is meant, or the names differ."""
    document, rules = form
    return splits(document, "F-64", rules=rules, readers=XY)


@each(list='{"\uff21": [1]}', text='{"\uff21": {"t": "-1"}}', nested='{"\uff21": [{"t": 1}]}')
def look_alike_with_a_filter_that_cannot_be_decided(document: str) -> Vector:
    """Under the name of the rule, its filter could not be decided: sealing stops."""
    rules = [("x", "/A[t=-1]"), ("x", "")]
    return not_split(
        "field_ambiguous", document, "F-64", rules=rules, readers=XY, pointers=["/\uff21"]
    )


def look_alike_in_a_map_of_both() -> Vector:
    """The name is there in the spelling of the rule as well: the other one is open all the same."""
    rules = [("x", "/ssn"), ("y", "")]
    return not_split(
        "field_ambiguous",
        '{"ssn": 1, "Ssn": 2}',
        "F-64",
        rules=rules,
        readers=XY,
        pointers=["/Ssn"],
    )


# --- no pattern


def pattern_of_256_segments() -> Vector:
    """As deep as a document can be."""
    rules = [("x", "/a" * 256), ("x", "/b" * 255 + "/**"), ("y", "")]
    return splits('{"a": 1}', "F-30", rules=rules, readers=XY)


@each(
    no_slash="a",
    too_many_segments="/a" * 257,
    too_many_segments_with_two_stars="/a" * 256 + "/**",
    no_slash_but_a_star="*",
    no_slash_but_two_stars="**",
    space_before=" /a",
    blank_first="/ a",
    blank_last="/a ",
    no_break_space_last="/a\u00a0",
    slash_last="/a/",
    slash_alone="/",
    two_slashes="/a//b",
    two_stars_twice="/**/**",
    two_stars_first_and_last="/**/a/**",
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
    surrogate_in_quotes='/"\\ud800"',
    pointer_in_a_uri="#/a",
    dollar="$.a",
    dot="/a.b",
    minus="/a/-",
    colon="/a/:i",
    braces="/a/{i}",
    brackets="/a[0]",
    empty_brackets="/a[]",
    percent="/a%2Fb",
    percent_in_lower_case="/a%2fb",
    quote_within='/a"b',
    quote_open='/"a',
    quotes_and_more='/"a"b',
    escape_that_json_lacks='/"\\x"',
    control_character_in_quotes='/"a\nb"',
    filter_without_a_value="/a[k]",
    filter_with_a_bare_text="/a[k=v]",
    filter_with_a_float="/a[k=1.5]",
    filter_with_a_leading_zero="/a[k=01]",
    filter_with_two_equals='/a[k=="v"]',
    filter_with_another_operator='/a[k!="v"]',
    filter_with_blanks='/a[k = "v"]',
    filter_of_two_stars="/**[k=1]",
    filter_alone='/[k="v"]',
    filter_and_more="/a[k=1]b",
)
def pattern_is(pattern: str) -> Vector:
    """No pattern, though it may be one in other languages."""
    return not_split("policy_invalid", '{"a": 1}', "F-30", rules=[("x", pattern), ("x", "/**")])


def pattern_behind_one_that_matches_all() -> Vector:
    """All patterns are checked, also those that are never tried."""
    return not_split("policy_invalid", "1", "F-30", rules=[("x", "/**"), ("x", "/na*")])


@each(
    all=["/**", "/a"],
    same=["/a", "/a/**"],
    above=["/a", "/a/b/*"],
    star=["/a/*", "/a/b"],
    two_stars=["/**/b", "/a/*/b/c"],
    two_together=["/b", "/*/**/b", "/**/b"],
    without_filter=["/a", '/*/b[t="x"]', '/a/b[t="x"]'],
    with_fewer_filters=['/*[t="x"]', '/a[t="x"][u=1]'],
    filters_that_contradict=["/a[t=1][t=2]"],
    member_of_a_scalar=['/a[t="x"]/t/b'],
)
def rule_that_can_never_match(patterns: list[str]) -> Vector:
    """The last rule is hidden by those before it: its author meant something else."""
    rules = [("x", pattern) for pattern in patterns]
    return not_split("policy_invalid", '{"a": 1}', "F-62", rules=rules)


@each(
    more_than_a_star=["/a/b", "/*/b", "/a", ""],
    more_than_a_filter=['/a[t="x"]', '/a[t="y"]', "/a"],
    deeper_than_a_star=["/a", "/*/a", "/**/a"],
)
def rules_that_can_all_match(patterns: list[str]) -> Vector:
    """The first is the narrower one."""
    rules = [("x" if number % 2 else "y", pattern) for number, pattern in enumerate(patterns)]
    return splits('{"a": {"b": 1}}', "F-62", rules=rules, readers=XY)
