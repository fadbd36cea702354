"""Documents that are not sealed: F-2 to F-6, F-32, F-33, F-35, F-36, F-47, F-49."""

from __future__ import annotations

from tests.vectors.fields_builder import each, not_split
from tests.vectors.fields_cases_split import NINE, XY, subsets
from tests.vectors.fields_vector import Vector


@each(root="WITHHELD", item="[1, WITHHELD]", member='{"a": {"b": WITHHELD}}')
def marker(document: str) -> Vector:
    """The marker of a reader is no value: who seals what it read must not make up fields."""
    return not_split("malformed", document, "F-2")


@each(
    nan="NaN",
    infinity="Infinity",
    negative_infinity="-Infinity",
    lone_high_surrogate=r'"\ud800"',
    lone_low_surrogate=r'"a\udfff"',
    name_with_a_surrogate=r'{"\ud800": 1}',
)
def no_value(document: str) -> Vector:
    """The format has no such number, and no such text."""
    return not_split("malformed", f'{{"a": [{document}]}}', "F-3")


@each(
    instant_before_1='t"0001-01-01T00:00:00+00:00:01"',
    instant_after_9999='t"9999-12-31T23:59:59-00:01"',
)
def time_with(document: str) -> Vector:
    """The wall is in its range, the instant is not."""
    return not_split("malformed", document, "F-4")


@each(
    integer_of_4301_digits="1" + "0" * 4300,
    integer_of_4301_digits_below_zero="-1" + "0" * 4300,
    decimal_of_4301_digits=f'd"{"1" * 4301}E0"',
    decimal_with_exponent_6177='d"1E6177"',
    decimal_with_exponent_minus_6177='d"1E-6177"',
    zero_with_exponent_6177='d"0E6177"',
)
def number(document: str) -> Vector:
    """Every reader would refuse it."""
    return not_split("limit_exceeded", document, "F-5")


@each(
    list="[" * 33 + "]" * 33,
    map='{"a": ' * 33 + "1" + "}" * 33,
    far_too_deep="[" * 200 + "1" + "]" * 200,
)
def too_deep(document: str) -> Vector:
    """33 containers one in another."""
    return not_split("limit_exceeded", document, "F-6")


def too_deep_for_a_lower_limit() -> Vector:
    """A sender's own limit may be lower."""
    return not_split("limit_exceeded", "[[]]", "F-6", limit_depth=1)


ALTERNATING = [("x", "/0"), ("x", "/2"), ("y", "/**")]


def too_many_fields() -> Vector:
    """Pairs of all parts count, though no reader gets all three."""
    return not_split(
        "limit_exceeded",
        "[0, 1, 2]",
        "F-6",
        rules=ALTERNATING,
        readers={"x": "x", "y": "y"},
        limit_fields=2,
    )


def too_many_nodes() -> Vector:
    """One more than in nodes_at_the_limit."""
    return not_split(
        "limit_exceeded", "[0, 1, 2]", "F-6", rules=ALTERNATING, readers=XY, limit_nodes=13
    )


def too_many_holes_for_one_recipient() -> Vector:
    """Who holds both has no hole; y alone has two."""
    rules = [("x", "/0"), ("x", "/1"), ("y", "/2")]
    return not_split("limit_exceeded", "[0, 1, 2]", "F-6", rules=rules, readers=XY, limit_holes=1)


# --- no rule


def no_rule_matches() -> Vector:
    """A new field stops the sealing, and the error names all of them in document order."""
    document = '{"b": 1, "new": {"y": [2, 3], "x": {}}, "a": 4, "z": []}'
    pointers = ["/new/y/0", "/new/y/1", "/new/x", "/z"]
    rules = [("x", "/a"), ("x", "/b"), ("x", "/new/y/2"), ("x", "/z/*")]
    return not_split("field_denied", document, "F-32", rules=rules, pointers=pointers)


@each(
    root=("1", "/*", ""),
    empty_list=("[]", "/*", ""),
    empty_name=('{"": 1}', "/a", '/""'),
    tilde=('{"~": 1}', "/~1", "/~0"),
    slash=('{"a/b": 1}', "/a/b", "/a~1b"),
    star=('{"*": 1}', "/a", "/~2"),
    two_stars=('{"**": 1}', "/a", "/~2~2"),
    escape=('{"~1": 1}', "/~1", "/~01"),
    all_together=('{"~/*": {"*/~": [1]}}', "/a", "/~0~1~2/~2~1~0/0"),
    number=('{"00": 1}', "/0", "/00"),
    dot=('{"a.b": 1}', "/a/b", '/"a.b"'),
    dot_and_slash=('{"a.b/~*": 1}', "/a", '/"a.b/~*"'),
    brackets=('{"a[0]": 1}', "/a/0", '/"a[0]"'),
    quote=('{"\\"\\\\": 1}', "/a", r'/"\"\\"'),
    minus=('{"-": 1, "-1": 2}', "/-1", '/"-"'),
    colon=('{":a": 1}', "/a", '/":a"'),
    percent=('{"a%2f": 1}', "/a", '/"a%2f"'),
    blank=('{" a": 1}', "/b", '/" a"'),
    blank_within=('{"a b": 1}', "/b", "/a b"),
)
def pointer(form: tuple[str, str, str]) -> Vector:
    """The pointer is the pattern of this field."""
    document, pattern, name = form
    rules = [("x", pattern)]
    return not_split("field_denied", document, "F-32", "F-33", rules=rules, pointers=[name])


# --- policy and readers


@each(
    used=[("x", "/a"), ("y", "/**")],
    not_used=[("y", "/absent"), ("x", "/**")],
    beside_another=[("x,y", "/**")],
)
def permission_without_recipient(rules: list[tuple[str, str]]) -> Vector:
    """A misspelt permission shows with the first document, whatever fields it has."""
    return not_split("policy_invalid", '{"a": 1, "b": 2}', "F-35", rules=rules)


def allow_unread_of_another_permission() -> Vector:
    """It permits one permission and no other."""
    rules = [("y,z", "/a"), ("x", "/**")]
    return not_split("policy_invalid", '{"a": 1}', "F-35", rules=rules, allow_unread=["y"])


def allow_unread_that_no_rule_names() -> Vector:
    """Misspelt, or left over."""
    return not_split("policy_invalid", "1", "F-36", allow_unread=["archive"])


def no_rules() -> Vector:
    """A policy without rules denies every document."""
    return not_split("policy_invalid", "1", "F-34", rules=[])


@each(
    upper_case="Clinic",
    slash="a/b",
    star="*",
    at_sign="a@b",
    non_ascii="caf\u00e9",
    arabic_digit="\u0661",
    colon="a:b",
)
def permission_with(name: str) -> Vector:
    """Permissions may come from tags, which NATS lowers."""
    readers = {"bob": "x", "carol": name}
    rules = [(name, "/a"), ("x", "/**")]
    return not_split("policy_invalid", '{"a": 1}', "F-34", rules=rules, readers=readers)


def no_recipient_left() -> Vector:
    """Nobody holds what this document needs; a document for nobody would be refused by all."""
    rules = [("y", "/absent"), ("x", "/**")]
    return not_split(
        "malformed", "1", "F-47", rules=rules, readers={"bob": "y"}, allow_unread=["x"]
    )


def no_recipient_at_all() -> Vector:
    """All is allowed to be unread."""
    return not_split("malformed", "1", "F-47", readers={}, allow_unread=["x"])


# --- numbers


@each(parts=(65, False), parts_and_metadata=(64, True))
def too_many(form: tuple[int, bool]) -> Vector:
    """64 parts, that of type 3 included."""
    k, metadata = form
    rules = [(f"p{n}", f"/{n}") for n in range(k)]
    document = f"[{', '.join('0' * k)}]"
    held = ",".join(name for name, _ in rules)
    return not_split(
        "limit_exceeded", document, "F-49", rules=rules, readers={"bob": held}, metadata=metadata
    )


def too_many_views() -> Vector:
    """257 readers, each with another set of parts."""
    document = f"[{', '.join('0' * 9)}]"
    return not_split("limit_exceeded", document, "F-49", rules=NINE, readers=subsets(257))


# --- the order


def order_policy_before_values() -> Vector:
    """The policy and its readers come before the document."""
    rules = [("x,y", "/a"), ("x", "/**")]
    return not_split("policy_invalid", "NaN", "F-35", rules=rules)


def order_value_before_limit_behind() -> Vector:
    """Single values come in document order: first NaN, then a Decimal that is too long."""
    return not_split("malformed", '[NaN, d"1E6177"]', "F-3")


def order_limit_before_value_behind() -> Vector:
    """First a Decimal that is too long, then NaN."""
    return not_split("limit_exceeded", '[d"1E6177", NaN]', "F-5")


@each(value="[NaN, {deep}]", depth="[{deep}, NaN]")
def order_first_of_value_and_depth(form: str) -> Vector:
    """The depth comes in document order with the values."""
    document = form.replace("{deep}", "[" * 32 + "]" * 32)
    code, rule = ("malformed", "F-3") if form.startswith("[NaN") else ("limit_exceeded", "F-6")
    return not_split(code, document, rule)


def order_values_before_field_denied() -> Vector:
    """Values of all fields come before fields that no rule matches."""
    return not_split("malformed", '{"b": 1, "a": NaN}', "F-3", rules=[("x", "/a")])


def order_field_denied_before_no_recipient() -> Vector:
    """Nobody reads x, and b has no rule."""
    return not_split(
        "field_denied",
        '{"a": 1, "b": 1}',
        "F-32",
        rules=[("x", "/a")],
        readers={},
        allow_unread=["x"],
        pointers=["/b"],
    )


def order_field_ambiguous_before_field_denied() -> Vector:
    """A filter comes before what it decides, even if that is later in the document."""
    return not_split(
        "field_ambiguous",
        '{"b": 1, "a": {"S": 2}}',
        "F-64",
        rules=[("x", "/a/s"), ("y", "/a")],
        readers={"bob": "x", "carol": "y"},
        pointers=["/a/S"],
    )


def order_values_before_field_ambiguous() -> Vector:
    """Values and names come first, wherever they are."""
    return not_split(
        "malformed",
        '{"A": 1, "b": NaN}',
        "F-3",
        rules=[("x", "/a"), ("y", "")],
        readers={"bob": "x", "carol": "y"},
    )


def order_filter_before_what_is_below() -> Vector:
    """Of two ambiguous places the first is named, and a container comes before its items."""
    return not_split(
        "field_ambiguous",
        '{"a": {"t": "X", "B": 1}}',
        "F-63",
        "F-65",
        rules=[("x", '/a[t="x"]'), ("x", "/a/b"), ("y", "")],
        readers={"bob": "x", "carol": "y"},
        pointers=["/a"],
    )


def order_no_recipient_before_numbers() -> Vector:
    """65 parts, and nobody to read them."""
    rules = [(f"p{n}", f"/{n}") for n in range(65)]
    document = f"[{', '.join('0' * 65)}]"
    names = [name for name, _ in rules]
    return not_split("malformed", document, "F-47", rules=rules, readers={}, allow_unread=names)
