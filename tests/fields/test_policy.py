"""Policies: which rule decides, what they refuse, and what they say of themselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from tests.cases import for_each
from tests.examples import examples
from tests.fields.inside import states_of
from tests.fields.model import Rules, first, leaves, readers
from tests.fields.strategies import ANY_RULES, DOCUMENTS, FILTERED, PATIENT, RULES
from tests.reference import fields_model, fields_policy
from xkeymsg import (
    WITHHELD,
    FieldAmbiguousError,
    LimitExceededError,
    Limits,
    MalformedError,
    Policy,
    PolicyError,
)
from xkeymsg.fields import matching
from xkeymsg.fields.pattern import parse_pattern, pointer
from xkeymsg.fields.split import split

MATCHES = [
    ("", [], True),
    ("", [""], True),
    ("/**", [], True),
    ("/**", ["a", "b"], True),
    ('/""', [""], True),
    ('/""', [], False),
    ('/""/""', ["", ""], True),
    ("/a", ["a"], True),
    ("/a", ["a", "b", 0, "c"], True),
    ("/a", ["ab"], False),
    ("/a", ["b", "a"], False),
    ("/a/**", ["a"], True),
    ("/a/**", ["a", "b", 0, "c"], True),
    ("/a/0", ["a", 0], True),
    ("/a/0", ["a", 0, "b"], True),
    ("/a/0", ["a", "0"], True),
    ("/a/0", ["a", "00"], False),
    ("/a/00", ["a", "00"], True),
    ("/a/00", ["a", 0], False),
    ('/a/"-"', ["a", "-"], True),
    ("/a/10", ["a", 10], True),
    ("/a/*", ["a", "b"], True),
    ("/a/*", ["a", 3], True),
    ("/a/*", ["a", ""], True),
    ("/a/*", ["a"], False),
    ("/a/*", ["a", "b", "c"], True),
    ("/*/b", ["b", "b"], True),
    ("/**/b", ["b"], True),
    ("/**/b", ["a", 0, "b", "c"], True),
    ("/**/b", ["a", "c"], False),
    ("/a/**/b/*", ["a", "b", "b"], True),
    ("/a/**/b/*", ["a", "c", "b", 1, "d"], True),
    ("/a/**/b/*", ["a", "c", "b"], False),
    ("/a/**/b/*", ["c", "b", "d"], False),
    ("/a~1b/m~0n/~2", ["a/b", "m~n", "*"], True),
    ("/a~1b/m~0n/~2", ["a/b", "m~n", "x"], False),
    ('/"a/b"/"m~n"/"*"', ["a/b", "m~n", "*"], True),
    ("/~01", ["~1"], True),
    ("/~01", ["/"], False),
    ("/~02", ["~2"], True),
    ("/~2~2", ["**"], True),
    ("/~2~2", ["a"], False),
    ('/"**"', ["a"], False),
    ('/"a.b"', ["a.b"], True),
    ('/"[0]"', [0], False),
    ("/é", ["é"], True),
    ("/__proto__", ["__proto__"], True),
    ('/" a "', [" a "], True),
    ("/a b", ["a b"], True),
    ("/-1/a:b/a-/%20", ["-1", "a:b", "a-", "%20"], True),
]


@for_each(("pattern", "path", "expected"), MATCHES)
def test_a_pattern_matches_as_specified(
    pattern: str, path: list[str | int], expected: bool
) -> None:
    """F-31"""
    policy = Policy([(pattern, ["a"])])
    document: Any = 1
    for segment in reversed(path):
        document = {segment: document} if isinstance(segment, str) else [0] * segment + [document]
    decided = {one.pointer: one.rule for one in policy.explain(document)}[pointer(path)]
    assert bool(decided) == expected
    assert bool(policy.readers_of(pointer(path))) == expected


@for_each(
    ("pattern", "right"),
    [
        ("a", "/a"), ("a/b", "/a/b"), ("*", "/*"), ("**", "/**"), ("~0", "/~0"), (" /a", "/a"),
        ("#/a/b", "/a/b"), (".", '/"."'), ("$.a.b[*].c", "/a/b/*/c"), ("$..ssn", "/**/ssn"),
        ("$['a']['b c'][0]", '/"a"/"b c"/0'), (".a.b[]", "/a/b/*"), ("a.b", "/a/b"),
        ("@.a", "/a"), ("/a.b", "/a/b"), ("/a.b", '/"a.b"'), ("/a//b", "/a/b"), ("/a/", "/a"),
        ("/a/", '/a/""'), ("/a%2Fb", "/a/b"), ("/a%2fb", '/"a%2fb"'),
        ("/a[0]/b", "/a/0/b"), ("/a/[0]/b", "/a/0/b"), ("/a[*]/b", "/a/*/b"), ("/a[]", "/a/*"),
        ("/a/{i}/b", "/a/*/b"), ("/a/{}", "/a/*"), ("/a/:i/b", "/a/*/b"), ("/a/-/b", "/a/*/b"),
        ("/a/-", '/a/"-"'), ("/:a", '/":a"'), ("/a/[i]/b", '/a/"[i]"/b'), ("/na*", '/"na*"'),
        ("/*a", '/"*a"'), ("/***", '/"***"'), ("/a~", '/"a~"'), ("/~3", '/"~3"'),
        ("/~~0", '/"~~0"'), ("/a ", "/a"), ("/ a", '/" a"'), ("/a/ /b", '/a/" "/b'),
        ("/a\u00a0", "/a"), ("/{a,b}", '/"{a,b}"'), ('/a"b', '/"a\\"b"'), ("/a]", '/"a]"'),
        ("/a[k=v]", '/a[k="v"]'), ("/a[k='v']", '/a[k="v"]'), ("/a[ k = 'v' ]", '/a[k="v"]'),
        ('/a[k=="v"]', '/a[k="v"]'), ("/a[k==1]", "/a[k=1]"), ("/a/[k=v]/b", '/a/*[k="v"]/b'),
        ("/a[?(@.k=='v.w')].b", '/a/*[k="v.w"]/b'), ("/a[?@.k == true]", "/a/*[k=true]"),
        ("/**[k=1]", '/"**[k=1]"'), ("/a[k=01]", '/a[k="01"]'),
        ("a/é[k=ü]", '/a/é[k="ü"]'),
    ],
)  # fmt: skip
def test_what_other_languages_write_is_refused_with_the_right_spelling(
    pattern: str, right: str
) -> None:
    """F-30"""
    with pytest.raises(PolicyError, match=r"^rule 2: ") as caught:
        Policy([("/ok", ["a"]), (pattern, ["a"])])
    assert caught.value.code == "policy_invalid"
    assert f"'{right}'" in str(caught.value).partition("write ")[2]
    Policy([(right, ["a"])])


@for_each(
    ("pattern", "advice"),
    [
        ("/", """write "" or "/**" for the whole document, or '/""'"""),
        ("!/payment", "negation is not supported: put the exception into an earlier rule"),
        ('/a/*[k="v",l="w"]', """for each, as in [a="x"][b="y"]: '/a/*[k="v"][l="w"]'"""),
        ('/a/*[k="v" and l=1]', """'/a/*[k="v"][l=1]'"""),
        ('/a/*[k="v" & l="w"]', """'/a/*[k="v"][l="w"]'"""),
        ('/a/*[k="v"|"w"]', "write one pattern for each value"),
        ('/a/*[k!="v"]', "a filter only tests equality"),
        ("/a/*[k>3]", "a filter only tests equality"),
        ("/a/*[k=3.5]", "a filter tests strings, integers, true, false and null, but no fractions"),
    ],
)  # fmt: skip
def test_what_has_no_equivalent_is_refused_with_advice(pattern: str, advice: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy([(pattern, ["a"])])
    assert advice in str(caught.value)


def test_a_pattern_of_an_earlier_rule_gets_advice_about_readers() -> None:
    with pytest.raises(
        PolicyError, match=r"hidden by rule 1 \('/a'\); only the first matching rule applies"
    ):
        Policy([("/a", ["a"]), ("/a", ["b"])])
    with pytest.raises(PolicyError, match=r"hidden by rule 1 \('/a'\)$"):
        Policy([("/a", ["a"]), ("/a/b", ["b"])])
    with pytest.raises(PolicyError, match=r"hidden by rule 1 \('/a'\)$"):
        Policy([(["/a", "/a"], ["a"])])


def test_a_look_alike_names_the_rule_that_has_the_name() -> None:
    rules = [(["/**/email", "/ip"], ["a"]), (["/time", "/user/id"], ["a", "b"]), ("", ["a", "c"])]
    with pytest.raises(FieldAmbiguousError, match=r"\"user\" of rule 2 \('/user/id'\)"):
        Policy(rules).explain({"User": {"id": 1}})
    filtered = [("/**/email", ["a"]), ('/user[k="v"]/id', ["b"]), ("", ["a", "c"])]
    with pytest.raises(FieldAmbiguousError, match=r"of rule 2 \('/user\[k=\"v\"\]/id'\)"):
        Policy(filtered).explain({"User": {"id": 1, "k": "v"}})


@for_each(
    "pattern",
    ["//", "/**/**", "/**/a/**", "/a/**/b/**/c", "/**a/**", "/a\ud800", '/"\ud800"',
     '/"\\ud800"', '/"a', '/a"', '/"\\x"', '/"a\nb"', '/"a"b', '/"a""b"', "/a[k]", "/a[k=]",
     "/a[=1]", '/a[k="v]', '/a[k!="v"]', "/a[k<1]", "/a[k=1", "/a[k=1]]", "/a[k=1]b", "/[k=1]",
     "/a[k=True]", "/a[k=+1]", "/a[k= 1]", "/a[ k=1]", "/a[-=1]", "/a[:k=1]", "/a[k.l=1]",
     "/a[k/l=1]", '/a[k="\\ud800"]', "/a[k=" + "1" * 4301 + "]", 1, None, b"/a", [], ["/a", "b"],
     ["/a", 1]],
)  # fmt: skip
def test_what_is_not_a_pattern_is_refused(pattern: Any) -> None:
    """F-30"""
    with pytest.raises(PolicyError, match=r"^rule 2: ") as caught:
        Policy([("/ok", ["a"]), (pattern, ["a"])])
    assert caught.value.code == "policy_invalid"


@given(st.text() | st.lists(st.sampled_from([*"/\"[]{}.*~0a=:-%2F '\\$@?", "**"])).map("".join))
def test_any_text_is_a_pattern_or_an_error_that_offers_patterns(text: str) -> None:
    """F-30; and reading it takes no time to speak of, whatever it is."""
    try:
        expected = fields_policy.read_pattern(text)
    except fields_model.FieldsRefusalError:
        with pytest.raises(PolicyError):
            parse_pattern(text)
    else:
        assert [
            (one.name, one.deep, {(each.name, each.kind, each.value) for each in one.filters})
            for one in parse_pattern(text)
        ] == [
            (one.name, one.deep, {(name, type(value), value) for name, value in one.filters})
            for one in expected
        ]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.integers(0, 99)))
def test_a_pointer_is_a_pattern_of_its_place_and_of_no_other(path: list[str | int]) -> None:
    """F-33"""
    parsed = parse_pattern(pointer(path))
    assert [one.name for one in parsed] == [str(segment) for segment in path]
    assert not any(one.deep or one.filters for one in parsed)


@for_each(
    "permissions",
    [[], [""], ["A"], ["a b"], ["ä"], ["a\n"], ["a,b"], "clinic", [1], [None], ["a", ""]],
)
def test_what_is_no_permission_is_refused(permissions: Any) -> None:
    """F-34"""
    with pytest.raises(PolicyError, match=r"^rule 1: "):
        Policy([("/a", permissions)])


def test_a_policy_without_rules_is_refused() -> None:
    """F-34"""
    with pytest.raises(PolicyError, match="at least one rule"):
        Policy([])


def test_allow_unread_names_permissions_of_the_policy() -> None:
    """F-36"""
    assert Policy([("/a", ["x"])], allow_unread=["x"]).allow_unread == {"x"}
    with pytest.raises(PolicyError, match="'y'"):
        Policy([("/a", ["x"])], allow_unread=["x", "y"])


def test_the_first_rule_that_matches_decides_alone() -> None:
    """F-31: not the most exact one, and later ones add nothing."""
    policy = Policy([("/a/b/*", ["x"]), ("/a/b", ["y"]), ("/a/*/c", ["w"]), ("/**", ["z"])])
    assert policy.readers_of("/a/b/c") == ("x",)
    assert policy.readers_of("/a/b/c/d") == ("x",)
    assert policy.readers_of("/a/b") == ("y",)
    assert policy.readers_of("/a/c/c") == ("w",)
    assert policy.readers_of("/a") == ("z",)


def test_a_rule_for_a_place_is_one_for_what_is_below() -> None:
    policy = Policy([("/a/0", ["x"]), ("/a", ["y"]), ("/b/*", ["z"])])
    document: Any = {"a": [{"c": [1]}, {"d": {}}], "b": [[2]]}
    told = {one.pointer: one.permissions for one in policy.explain(document)}
    assert told == {"/a/0/c/0": ("x",), "/a/1/d": ("y",), "/b/0/0": ("z",)}
    assert policy.explain({"a": 1, "b": []})[0].permissions == ("y",)
    assert policy.explain({"a": 1, "b": []})[1].permissions == ()


def test_a_rule_can_have_several_patterns() -> None:
    policy = Policy([(["/a", '/"b.c"'], ["x"]), ("", ["y"])])
    assert policy.rules[0] == (("/a", '/"b.c"'), ("x",))
    assert [each[1:] for each in policy.explain({"a": 1, "b.c": 2, "d": 3})] == [
        (1, "/a", ("x",)),
        (1, '/"b.c"', ("x",)),
        (2, "", ("y",)),
    ]


def test_a_permission_that_is_named_twice_counts_once() -> None:
    assert Policy([("/a", ["x", "y", "x"])]).readers_of("/a") == ("x", "y")


def test_readers_of_a_place_that_no_rule_matches_are_nobody() -> None:
    assert Policy([("/a", ["x"])]).readers_of("/b") == ()
    assert Policy([("/a", ["x"])]).readers_of("") == ()


@for_each("text", ["a", "/*", "/**/a", "/~9", "/a*"])
def test_readers_of_what_is_no_pointer_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError):
        Policy([("/a", ["x"])]).readers_of(text)


def test_explain_says_for_each_field_which_rule_decided() -> None:
    policy = Policy([("/patient/name", ["billing", "clinic"]), ("/notes/**", ["clinic"])])
    document = {"patient": {"name": "Ada"}, "notes": ["a", {}], "x~y/*": None, "a.b": 1}
    assert policy.explain(document) == [
        ("/patient/name", 1, "/patient/name", ("billing", "clinic")),
        ("/notes/0", 2, "/notes/**", ("clinic",)),
        ("/notes/1", 2, "/notes/**", ("clinic",)),
        ("/x~0y~1~2", 0, "", ()),
        ('/"a.b"', 0, "", ()),
    ]


def test_explain_refuses_what_could_not_be_sealed_for_its_size() -> None:
    policy = Policy([("/**", ["a"])])
    circle: list[Any] = [1]
    circle.append(circle)
    with pytest.raises(LimitExceededError, match="depth"):
        policy.explain(circle)
    with pytest.raises(LimitExceededError, match="values"):
        policy.explain([1, 2, 3], Limits(nodes=2))
    assert len(policy.explain({"a": [1, 2]}, Limits(depth=2, nodes=4))) == 2


@for_each(
    "document",
    [
        {"a": {"k": Decimal("sNaN")}},
        {"a": {"k": Decimal("NaN")}},
        {"a": {"k": float("inf")}},
        {"a": {"k": object()}},
        {"a": {"k": {1: 2}}},
        {1: 2},
        {"a": {None: 1}},
        {"\ud800": 1},
        {"a": WITHHELD},
    ],
)
def test_explain_refuses_what_no_document_can_hold(document: Any) -> None:
    policy = Policy([("/a[k=1]", ["a"]), ("", ["b"])])
    with pytest.raises(MalformedError):
        policy.explain(document)


@for_each("permissions", [None, 1, "x", b"x", [["x"]], [None], [1, "x"], ["S" * 3]])
def test_permissions_of_another_type_are_refused(permissions: Any) -> None:
    """F-34: also in `allow_unread`, where a text would be a set of letters."""
    with pytest.raises(PolicyError, match=r"^rule 1: "):
        Policy([("/a", permissions)])
    with pytest.raises(PolicyError, match=r"^allow_unread: "):
        Policy([("/a", ["x"])], allow_unread=permissions)


def test_a_pattern_has_at_most_256_segments() -> None:
    """F-30: what a policy costs grows with the square of the length of its patterns."""
    assert len(parse_pattern("/a" * 256)) == 256
    assert len(parse_pattern("/a" * 255 + "/**")) == 255
    for text in ("/a" * 257, "/a" * 256 + "/**", "/**" + "/a" * 100_000):
        with pytest.raises(PolicyError, match="more than 256 segments") as caught:
            parse_pattern(text)
        assert len(str(caught.value)) < 300


@settings(PATIENT, max_examples=examples(50))
@given(DOCUMENTS, RULES)
def test_explain_and_readers_of_agree_with_the_slow_way(document: Any, rules: Rules) -> None:
    policy = Policy(rules)
    told = policy.explain(document)
    for one, (path, _) in zip(told, leaves(document), strict=True):
        number = first(rules, path)
        assert one.rule == (0 if number is None else number + 1)
        assert one.pointer == pointer(path)
        assert policy.readers_of(one.pointer) == one.permissions
        assert frozenset(one.permissions) == readers(rules, path)


# --- rules that can never match -------------------------------------------------------------------


@for_each(
    ("rules", "dead", "why"),
    [
        (["/**", "/private"], 2, r"rule 1 \('/\*\*'\)"),
        (["/a", "/a"], 2, "rule 1"),
        (["/a", "/a/**"], 2, "rule 1"),
        (["/a", "/a/b/c"], 2, "rule 1"),
        (["/a/*", "/a/b"], 2, "rule 1"),
        (["/**/b", "/a/*/b/c"], 2, "rule 1"),
        (["/**/b", "/**/a/b"], 2, "rule 1"),
        (["/*", "/**/b"], 2, "rule 1"),
        (["/b", "/*/**/b", "/**/b"], 3, r"hidden by rule 1 \('/b'\), rule 2 \('/\*/\*\*/b'\)$"),
        (["/a", '/a[t="x"]/b'], 2, "rule 1"),
        (['/*[t="x"]', '/a[t="x"][u=1]/b'], 2, "rule 1"),
        (["/a[t=1][t=2]"], 1, "contradict"),
        (["/a[t=1]/t/b"], 1, "contradict"),
        (["/a[t=1]/t[u=1]"], 1, "contradict"),
        (["", "/a"], 2, r"rule 1 \(''\)"),
        ([["/a", "/a/b"]], 1, "rule 1"),
        (["/b", ["/a", "/b/c"]], 2, "rule 1"),
    ],
)  # fmt: skip
def test_a_rule_that_can_never_match_is_refused(rules: Any, dead: int, why: str) -> None:
    """F-62"""
    with pytest.raises(PolicyError, match=rf"^rule {dead}: .* can never match: .*{why}"):
        Policy([(pattern, ["x"]) for pattern in rules])


@for_each(
    "rules",
    [
        ["/a/b", "/a", "/**"],
        ["/a/b", "/*/b", "/**/b", ""],
        ['/a[t="x"]', "/a"],
        ['/a[t="x"]', '/a[t="y"]', '/a[u="x"]', "/a"],
        ['/a[t="x"]/b', '/a[t="x"]/t', '/a[t="x"]', "/a/t/b", "/a/t"],
        ["/a[t=1]", "/a[t=true]", '/a[t="true "]', "/a[t=null]"],
        ['/a[t="x"]', '/a[T="X"]'],
        ["/**/a", "/b", "/*/b"],
        ['/**/a[t="x"]/b', "/a/b"],
    ],
)
def test_a_rule_that_matches_something_is_not_refused(rules: list[str]) -> None:
    """F-62"""
    Policy([(pattern, ["x"]) for pattern in rules])


def test_a_file_names_the_line_of_a_rule_that_can_never_match() -> None:
    """F-39, F-62"""
    text = (
        '[[rule]]\npattern = "/**"\nreaders = ["x"]\n\n[[rule]]\npattern = "/a"\nreaders = ["y"]\n'
    )
    with pytest.raises(
        PolicyError, match=r"^p\.toml, line 5, rule 2: '/a' can never match: hidden by rule 1 "
    ):
        Policy.parse(text, "p.toml")


NAMES: Final = ("a", "A", "0", "t", "c")
MEMBERS: Final[list[dict[str, Any]]] = [
    {}, {"t": "x"}, {"T": "x"}, {"t": 1}, {"a": "1"}, {"t": None, "a": True}, {"t": "x", "a": "1"},
    {"t": 1, "a": "1"}, {"t": "x", "T": "x"}, {"t": None}, {"a": True},
]  # fmt: skip


def places(longest: int) -> Iterator[fields_policy.Place]:
    """Every place of at most so many names, with all sorts of members on its way."""
    for size in range(longest + 1):
        for names in product(NAMES, repeat=size):
            for held in product(MEMBERS, repeat=size):
                value: Any = "value"
                place: list[tuple[str, Any]] = []
                for at in reversed(range(size)):
                    below = {names[at + 1]: value} if at + 1 < size else {}
                    if below and names[at + 1] in held[at]:
                        if value != "value":
                            break
                        below = {}  # the member itself is the field
                        place[0] = names[at + 1], held[at][names[at + 1]]
                    value = {**held[at], **below} or "value"
                    place.insert(0, (names[at], value))
                else:
                    yield tuple(place)


PLACES: Final = list(places(2))


@settings(PATIENT, max_examples=examples(30), phases=[Phase.explicit, Phase.generate])
@given(st.lists(FILTERED.filter(lambda text: text.count("/") < 3), min_size=1, max_size=4))
def test_the_test_for_dead_rules_agrees_with_brute_force(patterns: list[str]) -> None:
    """F-62: of all short documents, some has a field that a rule decides, unless it is dead."""
    assume(not any(pattern.count("**") > 1 for pattern in patterns))
    rules = [fields_policy.Rule(frozenset("p"), pattern) for pattern in patterns]
    policy = fields_policy.Policy(tuple(rules))
    left = set(range(len(rules)))
    for place in PLACES:
        found = policy.first(place)
        if found in left and not any(policy.is_odd(place[:end]) for end in range(len(place) + 1)):
            left.remove(found)
    dead = {number for number in range(len(rules)) if not policy.is_reachable(number)}
    assert dead <= left
    if not any("**" in pattern for pattern in patterns):
        assert dead == left


@settings(PATIENT, max_examples=examples(100))
@given(ANY_RULES)
def test_dead_rules_are_the_same_as_those_of_the_reference(rules: Rules) -> None:
    """F-30, F-62"""
    policy = fields_policy.Policy(
        tuple(fields_policy.Rule(frozenset(held), pattern) for pattern, held in rules)
    )
    try:
        policy.check()
    except fields_model.FieldsRefusalError as error:
        number = rf"{error.number}: .* can never" if error.rule == "F-62" else r"\d+: "
        with pytest.raises(PolicyError, match=f"^rule {number}"):
            Policy(rules)
    else:
        Policy(rules)


def test_dead_rules_are_found_quickly_whatever_the_rules_are() -> None:
    """Each of the first names one segment of 60: that is 2^60 sets of rules that can match."""
    length = 60
    rules = [
        ("/" + "/".join("x" if at == number else "*" for at in range(length)), ["p"])
        for number in range(length)
    ]
    start = time.process_time()
    Policy([*rules, ("/**", ["q"])])
    with pytest.raises(PolicyError, match="rule 2: "):
        Policy([("/" + "/".join("*" * length), ["p"]), *rules])
    Policy([(f"/a/{number}/x/*/y", ["p"]) for number in range(1000)])
    Policy([(f"/**/{number}/x", ["p"]) for number in range(1000)])
    Policy([(f'/a/*[k="{number}"]/x', ["p"]) for number in range(200)])
    Policy([("/*" * 256, ["p"]), ("/**/x", ["p"])])
    with pytest.raises(PolicyError, match="rule 3: "):
        Policy([("/**/*[k=1]", ["p"]), ("/*", ["p"]), ("/a/**" + "/b" * 254, ["p"])])
    assert time.process_time() - start < 30


def test_what_a_policy_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names may be anybody's: neither many of them nor long ones stay."""
    monkeypatch.setattr(matching, "STATES", 20)
    policy = Policy([("/*/x/a", ["p"]), ("/*/*/b", ["q"]), ("/**", ["r"])])
    for number in range(200):
        document = {f"{number}": {"x": {"a": 1, "b": 2, f"{number}": 3}, "y": {"b": 4}}}
        found = split(document, policy, Limits())
        assert [sorted(part.permissions) for part in found.parts] == [["p"], ["q"], ["r"]]
        assert [len(part.pairs) for part in found.parts] == [1, 2, 1]
        states = states_of(policy)
        assert len(states) <= 60
        assert sum(len(state.members) for state in states) <= 25
    split({"x" * 2000: {"x": {"a": 1}}}, policy, Limits())
    assert not any(len(name) == 2000 for names in policy.start.members for name in names)


def test_a_policy_shows_no_rule() -> None:
    assert repr(Policy([("/secret", ["x"])])) == "<Policy of 1 rules>"
