"""Policies: which rule decides, what they refuse, and what they say of themselves."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings

from tests.fields.model import Rules, first, leaves, readers, segments
from tests.fields.strategies import DOCUMENTS, PATIENT, RULES
from xkeymsg import LimitExceededError, Limits, Policy, PolicyError
from xkeymsg.fields import matching
from xkeymsg.fields.pattern import pointer
from xkeymsg.fields.splitting import split

MATCHES = [
    ("", [], True),
    ("", [""], False),
    ("/", [""], True),
    ("/", [], False),
    ("//", ["", ""], True),
    ("/a/0", ["a", 0], True),
    ("/a/0", ["a", "0"], True),
    ("/a/0", ["a", "00"], False),
    ("/a/00", ["a", "00"], True),
    ("/a/00", ["a", 0], False),
    ("/a/-", ["a", "-"], True),
    ("/a/10", ["a", 10], True),
    ("/a/*", ["a", "b"], True),
    ("/a/*", ["a", 3], True),
    ("/a/*", ["a", ""], True),
    ("/a/*", ["a"], False),
    ("/a/*", ["a", "b", "c"], False),
    ("/*/b", ["b", "b"], True),
    ("/a/**", ["a"], True),
    ("/a/**", ["a", "b", 0, "c"], True),
    ("/a/**", ["ab"], False),
    ("/**", [], True),
    ("/**", ["a", "b"], True),
    ("/a~1b/m~0n/~2", ["a/b", "m~n", "*"], True),
    ("/a~1b/m~0n/~2", ["a/b", "m~n", "x"], False),
    ("/~01", ["~1"], True),
    ("/~01", ["/"], False),
    ("/~02", ["~2"], True),
    ("/~2~2", ["**"], True),
    ("/~2~2", ["a"], False),
    ("/é", ["é"], True),
    ("/é", ["e\u0301"], False),
    ("/٣", [3], False),
    ("/A", ["a"], False),
    ("/__proto__", ["__proto__"], True),
    ("/ a ", [" a "], True),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), MATCHES)
def test_a_pattern_matches_as_specified(
    pattern: str, path: list[str | int], expected: bool
) -> None:
    policy = Policy([(pattern, ["a"])])
    document: Any = 1
    for segment in reversed(path):
        document = {segment: document} if isinstance(segment, str) else [0] * segment + [document]
    decided = {one.pointer: one.rule for one in policy.explain(document)}[pointer(path)]
    assert bool(decided) == expected
    assert bool(policy.readers_of(pointer(path))) == expected
    assert bool(readers([(pattern, ["a"])], tuple(path))) == expected


@pytest.mark.parametrize(
    "pattern",
    ["a", "a/b", "*", "**", "~0", " /a", "/na*", "/*a", "/***", "/**/a", "/a/**/b", "/**/", "/a~",
     "/~3", "/~", "/~~0", "/a/~x", "/\ud800", 1, None, b"/a"],
)  # fmt: skip
def test_what_looks_like_a_pattern_and_is_none_is_refused(pattern: Any) -> None:
    """F-30"""
    with pytest.raises(PolicyError, match=r"^rule 2: ") as caught:
        Policy([("/ok", ["a"]), (pattern, ["a"])])
    assert caught.value.code == "policy_invalid"


@pytest.mark.parametrize(
    "permissions",
    [[], [""], ["A"], ["a b"], ["ä"], ["a\n"], ["a,b"], "clinic", [1], [None], ["a", ""]],
)
def test_what_is_no_permission_is_refused(permissions: Any) -> None:
    """F-34"""
    with pytest.raises(PolicyError, match=r"^rule 1: "):
        Policy([("/a", permissions)])


def test_a_policy_without_rules_is_refused() -> None:
    """F-34"""
    with pytest.raises(PolicyError, match="without rules"):
        Policy([])


def test_allow_unread_names_permissions_of_the_policy() -> None:
    """F-36"""
    assert Policy([("/a", ["x"])], allow_unread=["x"]).allow_unread == {"x"}
    with pytest.raises(PolicyError, match="'y'"):
        Policy([("/a", ["x"])], allow_unread=["x", "y"])


def test_the_first_rule_that_matches_decides_alone() -> None:
    """F-31: not the most exact one, and later ones add nothing."""
    policy = Policy([("/a/*", ["x"]), ("/a/b", ["y"]), ("/**", ["z"])])
    assert policy.readers_of("/a/b") == ("x",)
    assert policy.readers_of("/a/b/c") == ("z",)
    assert policy.readers_of("/a") == ("z",)
    assert Policy([("/a/b", ["y"]), ("/a/*", ["x"])]).readers_of("/a/b") == ("y",)


def test_a_rule_for_a_place_is_not_one_for_what_is_below() -> None:
    policy = Policy([("/a", ["x"]), ("/a/*", ["y"]), ("/b/**", ["z"])])
    told = {one.pointer: one.permissions for one in policy.explain({"a": {}, "b": []})}
    assert told == {"/a": ("x",), "/b": ("z",)}
    told = {one.pointer: one.permissions for one in policy.explain({"a": [[]], "b": {"c": 1}})}
    assert told == {"/a/0": ("y",), "/b/c": ("z",)}


def test_a_permission_that_is_named_twice_counts_once() -> None:
    assert Policy([("/a", ["x", "y", "x"])]).readers_of("/a") == ("x", "y")


def test_readers_of_a_place_that_no_rule_matches_are_nobody() -> None:
    assert Policy([("/a", ["x"])]).readers_of("/b") == ()
    assert Policy([("/a", ["x"])]).readers_of("") == ()


@pytest.mark.parametrize("text", ["a", "/*", "/a/**", "/~9", "/a*"])
def test_readers_of_what_is_no_pointer_is_an_error(text: str) -> None:
    with pytest.raises(PolicyError):
        Policy([("/a", ["x"])]).readers_of(text)


def test_explain_says_for_each_field_which_rule_decided() -> None:
    policy = Policy([("/patient/name", ["billing", "clinic"]), ("/notes/**", ["clinic"])])
    document = {"patient": {"name": "Ada"}, "notes": ["a", {}], "x~y/*": None}
    assert policy.explain(document) == [
        ("/patient/name", 1, "/patient/name", ("billing", "clinic")),
        ("/notes/0", 2, "/notes/**", ("clinic",)),
        ("/notes/1", 2, "/notes/**", ("clinic",)),
        ("/x~0y~1~2", 0, "", ()),
    ]


def test_explain_refuses_what_could_not_be_sealed_for_its_size() -> None:
    policy = Policy([("/**", ["a"])])
    circle: list[Any] = [1]
    circle.append(circle)
    with pytest.raises(LimitExceededError, match="depth"):
        policy.explain(circle)
    with pytest.raises(LimitExceededError, match="values"):
        policy.explain([1, 2, 3], Limits(nodes=2))
    assert len(policy.explain({"a": [1, 2]}, Limits(depth=2, nodes=3))) == 2


@settings(PATIENT, max_examples=100)
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


@settings(PATIENT, max_examples=60)
@given(RULES)
def test_lint_names_exactly_the_rules_that_no_field_reaches(rules: Rules) -> None:
    names = {
        name.replace("~2", "*").replace("~1", "/").replace("~0", "~")
        for pattern, _ in rules
        for name in segments(pattern)
        if name not in ("*", "**")
    }
    length = max(len(segments(pattern)) for pattern, _ in rules)
    reached = {
        first(rules, path)
        for size in range(length + 1)
        for path in product((*names, "no such name"), repeat=size)
    }
    said = Policy(rules).lint()
    assert [line.split()[1] for line in said] == [
        str(number + 1) for number in range(len(rules)) if number not in reached
    ]


def test_lint_tells_a_rule_that_others_shadow_together() -> None:
    policy = Policy([("/a/*", ["x"]), ("/a", ["x"]), ("/a/*/**", ["x"]), ("/a/**", ["y"])])
    assert policy.lint() == ["rule 4 ('/a/**') can never match: rules before it do"]
    assert Policy([("/a", ["x"]), ("/a", ["x"])]).lint() != []
    assert Policy([("/a/b", ["x"]), ("/*/b", ["y"]), ("/**", ["z"])]).lint() == []


def test_lint_is_quick_whatever_the_rules_are() -> None:
    """Each of these names one segment of 60: that is 2^60 sets of rules that can match."""
    length = 60
    rules = [
        ("/" + "/".join("x" if at == number else "*" for at in range(length)), ["p"])
        for number in range(length)
    ]
    start = time.process_time()
    assert Policy([*rules, ("/**", ["q"])]).lint() == []
    told = Policy([("/" + "/".join("*" * length), ["p"]), *rules]).lint()
    assert len(told) == length
    long = Policy([*[("/*/**", ["p"])] * 200, ("/*" * 5_000, ["p"])])
    assert long.lint()[-1].startswith("rule 201 ")
    assert time.process_time() - start < 5


def test_what_a_policy_remembers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names may be anybody's: neither many of them nor long ones stay."""
    monkeypatch.setattr(matching, "_STATES", 20)
    policy = Policy([("/*/x/a", ["p"]), ("/*/*/b", ["q"]), ("/**", ["r"])])
    for number in range(200):
        document = {f"{number}": {"x": {"a": 1, "b": 2, f"{number}": 3}, "y": {"b": 4}}}
        found = split(document, policy, Limits())
        assert [sorted(part.permissions) for part in found.parts] == [["p"], ["q"], ["r"]]
        assert [len(part.pairs) for part in found.parts] == [1, 2, 1]
        states, kept = [policy.start], 0
        for state in states:
            kept += len(state.members)
            states += {id(each): each for each in state._paths.values()}.values()
            states += [state._other] if state._other else []
        assert len(states) <= 60
        assert kept <= 25
    split({"x" * 2000: {"x": {"a": 1}}}, policy, Limits())
    assert not any(len(name) == 2000 for names in policy.start.members for name in names)


def test_lint_names_permissions_without_readers() -> None:
    policy = Policy([("/a", ["x", "y", "z"])], allow_unread=["z"])
    assert policy.lint({"x": ["key"], "y": []}) == ["permission 'y' has no readers"]
    assert policy.lint({"x": ["key"], "y": ["key"], "unknown": []}) == []


def test_a_policy_shows_no_rule() -> None:
    assert repr(Policy([("/secret", ["x"])])) == "<Policy of 1 rules>"
