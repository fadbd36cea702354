"""What another policy changes is found, also where only the order of rules changes."""

from __future__ import annotations

import random  # noqa: TID251 - reproducible
from typing import Any

import pytest

from xkeymsg import Policy
from xkeymsg.cli.console.differences import PolicyDifference, differences
from xkeymsg.errors import PolicyError

Rules = list[tuple[str, list[str]]]
NAMES = ("a", "b", "c")
ONE: Rules = [("/a/*/x", ["clinic"]), ("/a/b", ["research"]), ("/**", ["audit"])]


def changes(before: Rules, after: Rules) -> set[PolicyDifference]:
    return set(differences(Policy(before), Policy(after))[0])


def test_equal_policies_do_not_differ() -> None:
    assert differences(Policy(ONE), Policy(ONE)) == ([], 3)


def test_a_rule_that_moves_changes_only_what_it_shares() -> None:
    moved = [ONE[1], ONE[0], ONE[2]]
    assert changes(ONE, moved) == {PolicyDifference(("/a/b", "/a/*/x"), ("clinic",), ("research",))}


def test_readers_that_change() -> None:
    wider: Rules = [("/a/*/x", ["clinic", "research"]), *ONE[1:]]
    assert changes(ONE, wider) == {
        PolicyDifference(("/a/*/x",), ("clinic",), ("clinic", "research"))
    }


def test_a_new_rule_that_takes_a_part_of_others() -> None:
    found = changes([("/a", ["clinic"]), ("/**", ["audit"])],
                    [("/*/x", ["research"]), ("/a", ["clinic"]), ("/**", ["audit"])])  # fmt: skip
    assert PolicyDifference(("/*/x",), ("audit",), ("research",)) in found
    shared = [each for each in found if each.before == ("clinic",)]
    assert [(set(each.patterns), each.after) for each in shared] == [
        ({"/*/x", "/a"}, ("research",))
    ]


def test_a_place_without_a_rule() -> None:
    found = changes([("/a", ["x"])], [("/a", ["x"]), ("/b", ["y"])])
    assert found == {PolicyDifference(("/b",), None, ("y",))}


def test_deep_patterns_and_filters() -> None:
    before: Rules = [("/**/name", ["clinic"]), ('/c/*[kind="x"]', ["research"]), ("/**", ["a"])]
    after = [before[1], before[0], before[2]]
    [found] = changes(before, after)
    assert set(found.patterns) == {"/**/name", '/c/*[kind="x"]'}
    assert found[1:] == (("clinic",), ("research",))


def test_too_much_is_refused() -> None:
    many: Rules = [(f"/a{n}", ["x"]) for n in range(200)]
    with pytest.raises(PolicyError, match="at most 300"):
        differences(Policy(many), Policy(many))


def test_every_difference_of_random_documents_is_found() -> None:
    """Each field of a document that two policies treat differently shows in a change."""
    chance, compared = random.Random(1), 0
    for _ in range(300):
        rules = [(pattern(chance), [chance.choice("xyz")]) for _ in range(4)]
        try:
            one, other = (Policy([*chance.sample(rules, size), ("/**", ["w"])]) for size in (3, 4))
        except PolicyError:
            continue  # a rule that matches nothing
        shown = {(each.before, each.after) for each in differences(one, other)[0]}
        value = document(chance)
        for was, will in zip(one.explain(value), other.explain(value), strict=True):
            changed = tuple(was.permissions), tuple(will.permissions)
            compared += changed[0] != changed[1]
            assert changed[0] == changed[1] or changed in shown
    assert compared > 500


def pattern(chance: random.Random) -> str:
    steps = [chance.choice((*NAMES, "*")) for _ in range(chance.randint(1, 3))]
    if chance.random() < 0.3:
        steps.insert(0, "**")
    return "/" + "/".join(steps)


def document(chance: random.Random, depth: int = 0) -> Any:
    if depth == 4 or (depth and chance.random() < 0.2):
        return 1
    return {name: document(chance, depth + 1) for name in NAMES}
