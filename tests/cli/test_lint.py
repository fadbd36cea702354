"""`xkeymsg policy lint`: policies that people wrote for ten documents, and each finding alone.

A folder of `policies` has a document or two, who was meant to read each field (`readers.json`), and
policies. Those called `right` do what was meant. Some others do too; `lint` must name all the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.cases import for_each
from tests.running import run
from xkeymsg import Policy, PolicyError, XKeyMsgError
from xkeymsg.cli.findings import Finding, lines
from xkeymsg.cli.lint import findings
from xkeymsg.cli.similarity import is_similar

FOLDER = Path(__file__).parent / "policies"
POLICIES = sorted(FOLDER.glob("*/*.toml"))
Rules = list[tuple[Any, str]]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def documents_of(folder: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in folder.glob("document*.json")}


def pointers(value: Any, above: str = "") -> Iterator[str]:
    """The JSON pointers of the fields of a document, in its order."""
    items: Any = {}
    if isinstance(value, dict | list):
        items = value if isinstance(value, dict) else dict(enumerate(value))
    for name, item in items.items():
        yield from pointers(item, f"{above}/{str(name).replace('~', '~0').replace('/', '~1')}")
    if not items:
        yield above


def does_what_was_meant(policy: Policy, folder: Path) -> bool:
    for name, document in documents_of(folder).items():
        meant = {
            pointer: frozenset(who.split())
            for who, fields in json.loads(
                (folder / name.replace("document", "readers")).read_text()
            ).items()
            for pointer in fields
        }
        try:
            decisions = policy.explain(document)
        except XKeyMsgError:
            return False
        got = [frozenset(each.permissions) for each in decisions]
        shown = dict(zip(pointers(document), got, strict=True))
        assert shown.keys() == meant.keys()
        if shown != meant:
            return False
    return True


def found_in(path: Path) -> list[Finding]:
    return findings(Policy.load(path), documents_of(path.parent))


@for_each("path", POLICIES, ids=name_of)
def test_a_policy_that_does_not_do_what_was_meant_is_named(path: Path) -> None:
    try:
        policy = Policy.load(path)
    except PolicyError:
        assert not path.stem.startswith("right")
        return
    found = found_in(path)
    if path.stem.startswith("right"):
        assert [str(each) for each in found if each.is_error] == []
    elif not does_what_was_meant(policy, path.parent):
        assert found


@for_each("folder", sorted(FOLDER.iterdir()), ids=lambda folder: folder.name)
def test_the_data_has_a_policy_that_was_wrong(folder: Path) -> None:
    wrong = 0
    for path in folder.glob("policy*.toml"):
        try:
            wrong += not does_what_was_meant(Policy.load(path), folder)
        except PolicyError:
            wrong += 1
    assert bool(wrong) == (folder.name != "clinic")


NAMED: dict[str, str | None] = {
    "clinic/policy": None,
    "orders/policy": "'/shipTo/country' can never match: hidden by rule 2 ('/shipTo')",
    "orders/policy2": "rule 4 ('/loyalty') matches nothing in the documents; did you mean"
    " /customer/loyalty?",
    "payments/policy": "note: rule 2 ('/card/number') restricts \"number\" to audit, fraud, but"
    " rule 5 ('/**') gives /refunds/*/card/number to finance, support, too; did you mean"
    " /**/number?",
    "telemetry/policy": "document.json cannot be sealed: field_ambiguous: /readings: a filter"
    " expects a map",
    "telemetry/policy2": "matches nothing in the documents; its place exists, but its filter never"
    " matches",
    "staff/policy": "'/employeeId' can never match: hidden by rule 1 ('/employeeId'); only the"
    " first matching rule applies: list all readers in it",
    "staff/policy2": "'/reviews/*/privateNote' can never match: hidden by rule 2 ('/reviews')",
    "staff/policy3": "note: only the first matching rule applies: employee, hr cannot read all"
    " fields that rules 2, 3, 4 decide, although rule 5 ('/**') gives every other field",
    "claims/policy": "rule 4 ('/reserve') matches nothing in the documents; did you mean"
    " /reserves?",
    "claims/policy2": "note: rule 4 ('/**/note') restricts \"note\" to adjuster, legal, but rule 7"
    " ('') gives /notes to claimant, too: the names are similar",
    "logs/policy": 'document.json cannot be sealed: field_ambiguous: /request/headers/'
    'x-forwarded-for: "x-forwarded',
    "logs/policy2": "of rule 1 ('/request/headers/X-Forwarded-For')",
    "logs/policy3": "matches nothing in the documents; did you mean /request/headers/cookie?",
    "logs/policy4": "note: rule 1 ('/**/token') restricts \"token\" to security, but rule 3 ('')"
    " gives /request/body/refreshToken to dev, too: the names are similar",
    "units/policy": "note: rule 1 ('/org/head/salary') restricts \"salary\" to hr, but rule 3"
    " ('/*') gives /org/children/*/children/*/head/salary and 1 more to everyone, lead,"
    " too; did you mean"
    " /**/salary?",
    "parcels/policy": "matches a list at /features/0/geometry/coordinates/0/2 but a single value at"
    " /features/1/geometry/coordinates/0/2",
    "products/policy": "invalid pattern '/attributes/a.b': it contains a dot",
    "products/policy2": "did you mean /attributes/\"qualite\\u0301\"?",
    "products/policy3": "rule 5 ('/attributes/qualite\\u0301') contains invisible or",
    "products/policy5": "note: rule 1 ('/prices/purchase') restricts \"purchase\" to buyer,"
    " but rule"
    " 5 ('/prices') gives /prices/tiers/*/purchase to shop, too; did you mean /**/purchase?",
}  # fmt: skip


@for_each("name", NAMED)
def test_lint_names_the_mistake_in_a_policy(name: str) -> None:
    expected = NAMED[name]
    try:
        shown = lines(found_in(FOLDER / f"{name}.toml"))
    except PolicyError as error:
        shown = [str(error)]
    if expected is None:
        assert shown == []
    else:
        assert any(expected in line for line in shown), shown


def test_a_document_that_cannot_be_sealed_does_not_make_all_rules_unused() -> None:
    shown = lines(found_in(FOLDER / "logs" / "policy.toml"))
    assert [line for line in shown if "matches nothing" in line] == []
    assert sum("cannot be sealed" in line for line in shown) == 2
    assert any("access_token" in line for line in shown)


def linted(rules: Rules, *documents: Any, readers: dict[str, Any] | None = None) -> list[str]:
    policy = Policy([(pattern, who.split()) for pattern, who in rules])
    named = {f"d{number}": each for number, each in enumerate(documents)}
    return lines(findings(policy, named, readers), whole=True)


REST = ("", "all hr")


@for_each(
    ("rules", "documents", "said"),
    [
        # Rules for everything else.
        ([("/salary", "hr"), ("/*", "all hr")], [],
         "note: rule 2 ('/*') gives every other field to all, hr, although rule 1 gives '/salary'"
         " to hr only: forgotten and new fields are open"),
        ([("/org/head/salary", "hr"), ("/org", "all hr")], [],
         "note: rule 2 ('/org') gives every other field below /org to all, hr, although rule 1"),
        ([("/ship/zip", "hr"), REST], [{"ship": {"zip": 1}, "b": 1},
                                       {"ship": {"postcode": 1}, "b": 2}],
         "note: d1: rule 2 decides /ship/postcode"),
        # The same or a similar name elsewhere.
        ([("/a/ssn", "hr"), REST], [{"a": {"ssn": 1}, "b": [{"SSN": 2}]}],
         "note: rule 1 ('/a/ssn') restricts \"ssn\" to hr, but rule 2 ('') gives /b/*/SSN to"
         " all, too; did you mean /**/ssn?"),
        ([("/**/token", "hr"), REST], [{"token": 1, "x": {"accessToken": [1]}}],
         "gives /x/accessToken to all, too: the names are similar"),
        ([("/a/salary", "hr"), REST], [{"a": {"salary": 1, "salery": 2}}],
         "gives /a/salery to all, too: the names are similar"),
        # Positions.
        ([("/rows/*/cells/1", "hr"), ("/rows", "all hr")],
         [{"rows": [{"x": 1}, {"cells": [3, 4]}]}],
         "note: rule 1 ('/rows/*/cells/1') names position 1 of the list /rows/1/cells"),
        ([("/items/0/cost", "hr"), REST], [{"items": [{"cost": 1}, {"cost": 2}]}],
         "rule 1 ('/items/0/cost') names position 0 of the list /items: /* matches every item"),
        # Places that a pattern may mean.
        ([("/items/cost", "hr"), REST], [{"items": [{"cost": 1}, {"cost": 2}]}],
         "matches nothing in the documents; did you mean /items/*/cost?"),
        ([("/email", "hr"), REST], [{"customer": {"email": 1}}], "did you mean /customer/email?"),
        ([("/items/5/cst/sum", "hr"), REST], [{"items": [{"cost": {"sum": 1}}]}],
         "did you mean /items/*/cost/sum?"),
        # Several places.
        ([("/**/name", "hr all"), ("", "hr")], [{"customer": {"name": 1}, "item": {"name": 2}}],
         "note: rule 1 ('/**/name') opens /customer/name, /item/name to all"),
        # Empty containers.
        ([("/a", "hr"), ("/items/*", "hr")], [{"a": 1, "items": []}, {"a": 1, "items": [1]}],
         "d0 cannot be sealed: field_denied: no rule for /items; /items is empty, and rule 2"
         " ('/items/*') covers only its items: also name /items"),
        # Permissions.
        ([("/risk", "frauds"), ("", "fraud")], [],
         "note: permission 'fraud' is spelt almost like 'frauds'"),
        # Names that other languages read otherwise.
        ([("/items/-1", "hr"), REST], [],
         "rule 1 ('/items/-1'): '-1' has no special meaning in a name"),
        ([("/items/01", "hr"), REST], [], ": '01' has no special meaning in a name"),
        ([("/items/+", "hr"), REST], [], ": '+' has no special meaning in a name"),
        ([("/%61", "hr"), REST], [], ": '%61' has no special meaning in a name"),
        ([("/a%20b", "hr"), REST], [], ": '%20' has no special meaning in a name"),
        ([("/items/first()", "hr"), REST], [], ": '()' has no special meaning in a name"),
        ([("/$defs", "hr"), REST], [], ": '$' has no special meaning in a name"),
    ],
)  # fmt: skip
def test_lint_says(rules: Rules, documents: list[Any], said: str) -> None:
    shown = linted(rules, *documents)
    assert any(said in line for line in shown), shown


@for_each(
    ("rules", "documents", "unsaid"),
    [
        # No suggestion of a place that has nothing in common.
        ([("/customer/address", "hr"), REST], [{"customer": {"name": 1}}], "did you mean"),
        # A place that another rule names is meant.
        ([("/a/name", "hr"), ("/b/name", "all hr"), ("", "hr")],
         [{"a": {"name": 1}, "b": {"name": 2}}], "restricts"),
        # More readers here than elsewhere.
        ([("/a/name", "all hr"), ("", "hr")], [{"a": {"name": 1}, "b": {"name": 2}}], "restricts"),
        # Names with a number.
        ([("/line1", "hr"), REST], [{"line1": 1, "line2": 2}], "similar"),
        ([("/x", "team-one1"), ("", "team-one2")], [], "almost like"),
        # A document, or quotes, show that a name is meant.
        ([("/$defs", "hr"), REST], [{"$defs": 1}], "in a name"),
        ([('/"a%20b"/"-1"', "hr"), REST], [], "in a name"),
        # The last rule is for those who read everything.
        ([("/a", "all hr"), ("", "hr")], [{"a": 1, "b": 2}], "note"),
    ],
)  # fmt: skip
def test_lint_does_not_say(rules: Rules, documents: list[Any], unsaid: str) -> None:
    shown = linted(rules, *documents)
    assert [line for line in shown if unsaid in line] == []


@for_each(
    ("rules", "document"),
    [
        ([("/point/2", "hr"), ("/point", "all hr")], {"point": [1, 2, 3]}),
        ([("/contacts/0", "all hr"), ("", "hr")], {"contacts": [{"n": 1}, {"n": 2}]}),
        ([("/medical", "hr all"), ("/**/notes", "hr"), ("", "hr")],
         {"medical": {"notes": 1}, "notes": 2}),
        ([('/t/*[kind="a"]', "hr"), ("/t", "all hr")], {"t": [{"kind": "a"}, {"kind": "b"}]}),
        ([("/salary", "hr"), REST], {"salary": 1, "b": 2}),
    ],
)  # fmt: skip
def test_what_somebody_may_mean_is_a_note(rules: Rules, document: Any) -> None:
    shown = linted(rules, document)
    assert [line for line in shown if not line.startswith("note: ")] == []
    assert shown


def test_readers_without_a_misspelt_permission_show_the_right_name() -> None:
    held = {"hr": [1], "suport": [1]}
    shown = linted([("/a", "support"), ("", "hr")], readers=held)
    assert "permission 'support' has no readers; did you mean 'suport'?" in shown


def test_findings_are_bounded_and_show_no_value() -> None:
    rules = [(f"/{letter * 3}", "hr") for letter in "abcdefghijklmnopqrstuvwxyz"]
    policy = Policy([(pattern, who.split()) for pattern, who in [*rules, REST]])
    names = {f"{'n' * 500}{number}": "S3CRET" for number in range(1000)}
    found = findings(policy, {"d": {**names, "list": [{"aaa": "S3CRET"}]}})
    shown = lines(found)
    assert len(shown) <= 2 * 21
    assert "and 6 more errors; --all shows them" in shown
    assert all(len(line) <= 2_000 for line in lines(found, whole=True))
    assert "S3CRET" not in str(found)


@for_each(
    ("one", "other", "expected"),
    [
        ("note", "notes", True), ("token", "access_token", True), ("token", "refreshToken", True),
        ("cookies", "cookie", True), ("margin_pct", "margin.pct", True), ("city", "cities", True),
        ("userAgent", "user-agent", True), ("email", "e-mail", True), ("salary", "salery", True),
        ("HTTPToken", "token", True), ("qualité", "qualite\u0301", True), ("id", "user_id", True),
        ("note", "note", False), ("zip", "zap", False), ("name", "date", False),
        ("line1", "line2", False), ("address", "name", False), ("", "a", False), ("-", "_", False),
    ],
)  # fmt: skip
def test_similar_names(one: str, other: str, expected: bool) -> None:
    assert is_similar(one, other) == expected
    assert is_similar(other, one) == expected


def test_a_document_with_too_many_parts_cannot_be_sealed(tmp_path: Path) -> None:
    """Every field has its rule: what a seal refuses all the same is no surprise in production."""
    names = [f"f{number}" for number in range(70)]
    policy = "".join(f'[[rule]]\npattern = "/{each}"\nreaders = ["{each}"]\n' for each in names)
    (tmp_path / "p.toml").write_text(policy)
    (tmp_path / "d.json").write_text(json.dumps(dict.fromkeys(names, 1)))
    done = run("xkeymsg.cli", "policy", "lint", str(tmp_path / "p.toml"), str(tmp_path / "d.json"))
    assert done.returncode == 1
    assert b"d.json cannot be sealed: limit_exceeded" in done.stdout + done.stderr
    (tmp_path / "c.toml").write_text(
        '[[case]]\ndocument = "d.json"\nreader = "f1"\nvisible = ["/f1"]\n'
    )
    done = run("xkeymsg.cli", "policy", "test", str(tmp_path / "p.toml"), str(tmp_path / "c.toml"))
    assert done.returncode == 1
    assert b"cannot be sealed: limit_exceeded" in done.stdout


def test_a_filter_of_a_member_that_is_absent(tmp_path: Path) -> None:
    rules = '[[rule]]\npattern = "/a[k=null]/s"\nreaders = ["x"]\n[[rule]]\npattern = ""\n'
    (tmp_path / "p.toml").write_text(f'{rules}readers = ["y"]\n')
    (tmp_path / "d.json").write_text('{"a": {"s": 1}}')
    done = run("xkeymsg.cli", "policy", "lint", str(tmp_path / "p.toml"), str(tmp_path / "d.json"))
    assert b"Traceback" not in done.stderr
    assert done.returncode == 1


def test_a_document_that_cannot_be_sealed_is_a_finding(tmp_path: Path) -> None:
    """Other documents are compared all the same."""
    policy = Policy([("/a", ["few"]), ("/b", ["many"])])
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    found = findings(policy, {"deep.json": deep, "flat.json": {"a": 1, "b": 2}})
    assert [str(each) for each in found] == [
        "deep.json cannot be sealed: limit_exceeded: " + text.partition("limit_exceeded: ")[2]
        for each in found
        if "limit_exceeded" in (text := str(each))
    ]
    assert len(found) == 1
