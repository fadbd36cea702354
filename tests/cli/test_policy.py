"""`xkeymsg policy explain | lint | matrix`, as processes."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from base64 import b64encode
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.running import run
from xkeymsg import Policy, Recipient, XKeyPair
from xkeymsg.cli.matrix import as_text, make_matrix
from xkeymsg.cli.page import Source, page

CLI = "xkeymsg.cli"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = """
[[rule]]
pattern = "/patient/name/0"
readers = ["clinic"]

[[rule]]
pattern = "/patient/name/*"
readers = ["billing", "clinic"]

[[rule]]
pattern = "/claim/**"
readers = ["billing"]
"""
DOCUMENT = '{"patient": {"name": ["Ada", "Secret"]}, "claim": {"total": 12.5, "items": []}}'
HOSTILE = (
    r'{"claim": {"<script>alert(1)</script>": 1, "\" onload=\"x": 1, "\u001b[2J\u202e\n": 1, '
    r'"\u2028": 1, "a  yes  yes": 1, "": 1, "&lt;": 1, "שלום": 1}}'
)


@pytest.fixture
def policy(tmp_path: Path) -> str:
    return write(tmp_path, "policy.toml", RULES)


@pytest.fixture
def document(tmp_path: Path) -> str:
    return write(tmp_path, "doc.json", DOCUMENT)


@pytest.fixture
def keys() -> list[str]:
    return [str(XKeyPair.generate().public) for _ in range(3)]


@pytest.fixture
def readers(tmp_path: Path, keys: list[str]) -> str:
    both, one, other = keys
    return write(
        tmp_path,
        "readers.toml",
        f'[readers]\nbilling = ["{both}"]\nclinic = ["{one}", "{both}", "{other}"]\n'
        f'elsewhere = ["{one}"]\n',
    )


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def called(*arguments: str, data: str = "") -> tuple[int, str, str]:
    done = run(CLI, "policy", *arguments, data=data.encode())
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_explain_says_for_each_field_which_rule_decides(policy: str, document: str) -> None:
    status, shown, said = called("explain", policy, document)
    assert (status, said) == (0, "")
    assert [line.split(maxsplit=3) for line in shown.splitlines()] == [
        ["FIELD", "RULE", "PATTERN", "READERS"],
        ["/patient/name/0", "1", "/patient/name/0", "clinic"],
        ["/patient/name/1", "2", "/patient/name/*", "billing, clinic"],
        ["/claim/total", "3", "/claim/**", "billing"],
        ["/claim/items", "3", "/claim/**", "billing"],
    ]
    assert "Ada" not in shown


def test_explain_in_json_takes_a_pipe_and_fails_where_sealing_would(policy: str) -> None:
    status, shown, said = called("explain", policy, "--json", data='{"x": 1, "claim": 2}')
    assert status == 1
    assert json.loads(shown) == [
        {"field": "/x", "rule": None, "pattern": None, "readers": []},
        {"field": "/claim", "rule": 3, "pattern": "/claim/**", "readers": ["billing"]},
    ]
    assert said.startswith("xkeymsg: field_denied: ")


def test_lint_finds_permissions_without_readers(policy: str, readers: str, tmp_path: Path) -> None:
    assert called("lint", policy) == (0, "", "")
    assert called("lint", policy, "--readers", readers) == (0, "", "")
    nobody = write(tmp_path, "nobody.toml", "[readers]\nclinic = []\n")
    assert called("lint", policy, "--readers", nobody) == (
        1,
        "permission 'billing' has no readers\npermission 'clinic' has no readers\n",
        "",
    )


def test_lint_fails_for_notes_only_if_asked(tmp_path: Path) -> None:
    noted = write(tmp_path, "noted.toml", rules(("/salary", "hr"), ("/**", "all hr")))
    assert called("lint", noted)[0] == 0
    status, shown, said = called("lint", noted, "--strict")
    assert (status, said) == (1, "")
    assert shown.startswith("note: ")
    assert called("lint", write(tmp_path, "ok.toml", rules(("", "hr"))), "--strict") == (0, "", "")


def test_lint_shows_all_findings_if_asked(tmp_path: Path) -> None:
    names = [(f"/{letter}{letter}", "hr") for letter in "abcdefghijklmnopqrstuvwxyz"]
    many = write(tmp_path, "many.toml", rules(*names))
    document = write(tmp_path, "d.json", '{"aa": 1}')
    status, shown, _ = called("lint", many, document)
    assert (status, len(shown.splitlines())) == (1, 21)
    assert shown.endswith("\nand 5 more errors; --all shows them\n")
    assert len(called("lint", many, document, "--all")[1].splitlines()) == 25


def test_lint_names_the_file_that_is_no_document(policy: str, tmp_path: Path) -> None:
    good = write(tmp_path, "good.json", DOCUMENT)
    bad = write(tmp_path, "bad.json", '{"a": 1, "a": 2}')
    status, shown, said = called("lint", policy, good, bad)
    assert (status, said) == (1, "")
    assert shown.startswith(f"{bad}: malformed: ")


def test_the_help_of_test_shows_the_example_line_by_line() -> None:
    shown = called("test", "--help")[1]
    assert "\\b" not in shown
    assert "\n  [[case]]\n  name = " in shown


def test_a_rule_that_can_never_match_is_an_error_of_every_command(tmp_path: Path) -> None:
    dead = write(tmp_path, "dead.toml", rules(("/**", "all"), ("/private", "hr")))
    data = '{"private": 1}'
    for verb in ("explain", "matrix"):
        status, shown, said = called(verb, dead, "-", data=data)
        assert (status, shown) == (1, "")
        assert "dead.toml, line 4, rule 2: '/private' can never match: hidden by rule 1" in said
    status, shown, said = called("lint", dead)
    assert (status, shown) == (1, "")
    assert "rule 2: '/private' can never match" in said


def rules(*pairs: tuple[str, str]) -> str:
    return "".join(
        f"[[rule]]\npattern = {json.dumps(pattern)}\nreaders = {json.dumps(held.split())}\n"
        for pattern, held in pairs
    )


def linted(tmp_path: Path, *pairs: tuple[str, str], documents: tuple[object, ...] = ()) -> str:
    policy = write(tmp_path, "policy.toml", rules(*pairs))
    names = [
        write(tmp_path, f"d{number}.json", json.dumps(document))
        for number, document in enumerate(documents)
    ]
    status, shown, said = called("lint", policy, *names)
    assert said == ""
    found = [line for line in shown.splitlines() if not line.startswith("note: ")]
    assert status == bool(found)
    return shown


REST = ("/**", "all hr")


@pytest.mark.parametrize(
    ("pairs", "documents", "said"),
    [
        ([("/salry", "hr"), REST], [{"salary": 1}],
         "rule 1 ('/salry') matches nothing in the documents; did you mean /salary?"),
        ([("/a", "hr"), ("/b", "hr"), REST], [{"a": 1}, {"c": 1}],
         "rule 2 ('/b') matches nothing"),
        ([("/phones/0/number", "hr"), REST], [{"phones": [{"number": 1}, {"number": 2}]}],
         "rule 1 ('/phones/0/number') names position 0 of the list /phones"),
        ([("/**/0", "hr"), REST], [{"a": [1, 2]}],
         "rule 1 ('/**/0') names position 0 of the list /a"),
        ([("/*/ssn", "all hr"), ("/private", "hr"), REST],
         [{"private": {"ssn": 1, "x": 2}, "b": 1}],
         "note: rule 2 ('/private') covers /private/ssn, but rule 1 ('/*/ssn') decides first and"
         " gives it to all, too"),
        ([("/*/x", "all hr"), ("/private/**/x", "hr"), REST], [{"private": {"x": 2}, "b": 1}],
         "rule 2 ('/private/**/x') decides nothing in the documents: rule 1 ('/*/x')"
         " decides /private/x first"),
        ([("/ssn", "hr"), REST], [{"SSN": 1}],
         'd0.json cannot be sealed: field_ambiguous: /SSN: "SSN" looks like "ssn" of rule 1'),
        ([("/a", "hr"), ("/b", "hr")], [{"a": 1, "c": 2, "d": 3}, {"b": 1}],
         "d0.json cannot be sealed: field_denied: no rule for /c and 1 more"),
        ([('/a[t="x"]/v', "all hr"), ("/a", "hr")], [{"a": [{"t": "x"}]}],
         "d0.json cannot be sealed: field_ambiguous: /a: a filter expects a map"),
        ([("/ssn,/salary", "hr"), REST], [], ": ',' has no special meaning in a name"),
        ([("/ssn|salary", "hr"), REST], [], ": '|' has no special meaning in a name"),
        ([("/sal\u200bary", "hr"), REST], [],
         "('/sal\\u200bary') contains invisible or"),
        ([("/Private/x", "hr"), ("/private/y", "hr"), REST], [],
         "rule 2 ('/private/y') and rule 1 ('/Private/x') spell the same name differently"),
        ([('/t/*[system="email"]/value', "all"), ("", "all hr")], [],
         "if the filter does not match, rule 2 decides and hr may read"),
        ([('/t/*[system="email"]/value', "all hr"), ("", "hr")], [],
         "the filter reveals the member 'system' to all, which may not read it"),
        ([("/salary", "hr"), REST], [{"salary": 1, "b": 2}],
         "note: rule 2 ('/**') gives every other field to all, hr, although rule 1 gives '/salary'"
         " to hr only: forgotten and new fields are open"),
    ],
)  # fmt: skip
def test_lint_finds(
    tmp_path: Path, pairs: list[tuple[str, str]], documents: list[object], said: str
) -> None:
    assert said in linted(tmp_path, *pairs, documents=tuple(documents))


@pytest.mark.parametrize(
    ("pairs", "documents"),
    [
        ([("/a/b", "all hr"), ("/a", "hr")], [{"a": {"b": 1, "c": 2}}]),
        ([("/a/b", "hr"), ("/a", "all hr"), ("/b", "all hr")], [{"a": {"b": 1}}, {"b": 1}]),
        ([('/t/*[system="email"]/value', "all hr"), ("/t/*/system", "all hr"), ("", "hr")],
         [{"t": [{"system": "email", "value": 1}, {"system": "fax", "value": 2}], "x": 1}]),
        ([("/**/ssn", "hr"), ("/0", "hr"), ("/Code", "all hr"), ("/a/code", "all hr")],
         [{"0": 1, "a": {"ssn": 1, "code": 1}, "Code": 1}]),
        ([('/"a,b"', "hr"), ("/@type", "hr"), ("/first name", "hr")],
         [{"a,b": 1, "@type": 2, "first name": 3}]),
    ],
)  # fmt: skip
def test_lint_finds_nothing_in_a_policy_that_fits(
    tmp_path: Path, pairs: list[tuple[str, str]], documents: list[object]
) -> None:
    shown = linted(tmp_path, *pairs, documents=tuple(documents))
    assert [line for line in shown.splitlines() if not line.startswith("note: ")] == []


CASES = """
[[case]]
name = "billing sees the claim"
json = '{"patient": {"name": ["Ada", "B."]}, "claim": {"total": 12.5, "items": []}}'
reader = "billing"
visible = ["/claim", "/patient/name/1"]
hidden = "/patient/name/0"

[[case]]
document = "doc.json"
reader = ["billing", "clinic"]
visible = ["/**"]

[[case]]
name = "what no rule names does not leave"
json = '{"x": 1}'
refused = "field_denied"
"""


def test_cases_of_a_policy_pass(policy: str, document: str, tmp_path: Path) -> None:
    cases = write(tmp_path, "cases.toml", CASES)
    assert called("test", policy, cases) == (
        0,
        "ok   billing sees the claim\nok   case 2\nok   what no rule names does not leave\n"
        "3 of 3 cases passed\n",
        "",
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('hidden = "/patient/name/0"', 'hidden = "/patient/name"',
         "billing can read /patient/name/1: rule 2 ('/patient/name/*') gives it to billing,"),
        ('"/patient/name/1"', '"/patient"',
         "billing cannot read /patient/name/0: rule 1 ('/patient/name/0') gives it to clinic"),
        ('"/patient/name/1"', '"/patient/nam"',
         "'/patient/nam' matches no field of the document"),
        ('"/patient/name/0"', '"/**/Total"', "'/**/Total' matches no field of the document"),
        ('"/patient/name/0"', "'/claim[total=1]'", "matches no field of the document"),
        ('reader = "billing"', 'reader = "biling"',
         "no rule names the permission 'biling'; did you mean 'billing'?"),
        ('"x": 1', '"claim": 1', "the document can be sealed; expected field_denied"),
        ("field_denied", "field_ambiguous",
         "the document cannot be sealed: field_denied: no rule for /x"),
        ('"claim": {', '"Claim": {"x": 1}, "claim": {',
         "the document cannot be sealed: field_ambiguous: /Claim: "),
    ],
)  # fmt: skip
def test_a_case_that_fails_says_why(
    policy: str, document: str, tmp_path: Path, old: str, new: str, why: str
) -> None:
    assert old in CASES
    cases = write(tmp_path, "cases.toml", CASES.replace(old, new))
    status, shown, said = called("test", policy, cases)
    assert (status, said) == (1, "")
    assert why in shown
    assert shown.count("FAIL") == 1
    assert shown.endswith("2 of 3 cases passed\n")
    assert "Ada" not in shown


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected at least one [[case]]"),
        ("[[cases]]\n", "expected at least one [[case]]"),
        ("[[case]\n", "not TOML"),
        ('[[case]]\nreaders = "x"\n', "case 1: unknown key 'readers' (allowed: document, hidden,"),
        ('[[case]]\njson = 1\n', "case 1: name, document, json, refused must be strings"),
        ('[[case]]\njson = "1"\nreader = "billing"\n', "expected refused, or a reader with"),
        ('[[case]]\njson = "1"\nvisible = "/a"\n', "expected refused, or a reader with"),
        ('[[case]]\njson = "1"\nreader = "a"\nrefused = "x"\n', "refused excludes reader"),
        ('[[case]]\nreader = "a"\nhidden = ""\n', "expected exactly one of document (a file"),
        ('[[case]]\ndocument = "no.json"\nrefused = "x"\n', "no.json: No such file"),
        ('[[case]]\njson = "{"\nrefused = "x"\n', "not JSON"),
        ('[[case]]\njson = "1"\nreader = "a"\nhidden = ["a.b"]\n', "invalid pattern 'a.b'"),
        ('[[case]]\njson = "1"\nreader = "a"\nhidden = [1]\n', "hidden must be a string or a list"),
    ],
)  # fmt: skip
def test_a_file_of_cases_that_cannot_be_used_is_one_line(
    policy: str, tmp_path: Path, text: str, why: str
) -> None:
    cases = write(tmp_path, "cases.toml", text)
    status, shown, said = called("test", policy, cases)
    assert (status, shown) == (1, "")
    assert why in said
    assert "cases.toml" in said
    assert said.count("\n") == 1


def test_the_matrix_of_a_policy_has_its_rules_and_permissions(policy: str) -> None:
    status, shown, said = called("matrix", policy)
    assert status == 0
    assert [line.split() for line in shown.splitlines()] == [
        ["RULE", "PATTERN", "billing", "clinic"],
        ["1", "/patient/name/0", "-", "yes"],
        ["2", "/patient/name/*", "yes", "yes"],
        ["3", "/claim/**", "yes", "-"],
    ]
    assert said == ""


def test_the_matrix_of_a_document_has_its_fields_and_who_reads_them(
    policy: str, document: str, readers: str, keys: list[str]
) -> None:
    status, shown, _ = called("matrix", policy, document, "--readers", readers)
    both, one, other = keys
    assert status == 0
    assert [line.split() for line in shown.splitlines()] == [
        ["FIELD", "RULE", "R1", "R2"],
        ["/patient/name/0", "1", "yes", "yes"],
        ["/patient/name/1", "2", "yes", "yes"],
        ["/claim/total", "3", "yes", "-"],
        ["/claim/items", "3", "yes", "-"],
        [],
        ["R1", "billing,", "clinic", both],
        ["R2", "clinic", one],
        [other],
    ]


@pytest.mark.parametrize("verb", ["explain", "matrix"])
def test_names_in_a_document_cannot_act_on_a_terminal_or_look_like_columns(
    policy: str, verb: str, tmp_path: Path
) -> None:
    hostile = write(tmp_path, "hostile.json", HOSTILE)
    status, shown, _ = called(verb, policy, hostile)
    assert status == 0
    lines = shown.splitlines()
    assert len(lines) == 1 + 8
    assert all(line.isprintable() for line in lines)
    assert '"/claim/a  yes  yes"' in shown
    assert r'/claim/"\u001b[2J\u202e\n"' in shown
    if verb == "explain":
        assert called(verb, policy, hostile, "--json")[1].replace("\n", "").isprintable()


@pytest.mark.parametrize("verb", ["explain", "matrix"])
def test_a_document_that_cannot_be_sealed_is_refused(
    policy: str, verb: str, tmp_path: Path
) -> None:
    surrogate = write(tmp_path, "surrogate.json", r'{"claim": {"\ud800": 1}}')
    status, shown, said = called(verb, policy, surrogate)
    assert (status, shown) == (1, "")
    assert "lone surrogate" in said
    assert said.replace("\n", "").isprintable()


class Page(HTMLParser):
    """What a browser would make of a page."""

    VOID = ("meta", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_says_what_it_was_made_from_and_shows_no_value(
    policy: str, document: str, readers: str, keys: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.html"
    flags = ("--readers", readers, "--html", str(out))
    assert called("matrix", policy, document, *flags) == (0, "", "")
    assert stat.S_IMODE(out.stat().st_mode) & 0o077 == 0
    text = out.read_text()
    for file in (policy, readers):
        assert hashlib.sha256(Path(file).read_bytes()).hexdigest() in text
    assert hashlib.sha256(Path(document).read_bytes()).hexdigest() not in text
    assert all(text.count(key) == 1 for key in keys)
    assert "Ada" not in text
    assert "Secret" not in text
    seen = Page(text)
    assert text.count('aria-label="may read"') == 4 + 2
    assert text.count('aria-label="may not"') == 2
    shown = "".join(seen.texts)
    assert "/patient/name/0" in shown
    assert "Every rule can match" in shown


def test_the_page_needs_nothing_else_and_runs_nothing(policy: str, document: str) -> None:
    status, text, _ = called("matrix", policy, document, "--html", "-")
    assert status == 0
    seen = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & seen.tags.keys()
    for name, value in seen.attributes:
        assert name not in ("src", "style", "srcset")
        assert not name.startswith("on")
        assert name != "href" or value.startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [value for name, value in seen.attributes if "default-src 'none'" in value]
    assert [f"'sha256-{digest}'" in value for value in policies] == [True]


def test_a_link_in_the_page_leads_to_a_place_in_it(
    policy: str, document: str, readers: str
) -> None:
    text = called("matrix", policy, document, "--readers", readers, "--html", "-")[1]
    seen = Page(text)
    places = [value for name, value in seen.attributes if name == "id"]
    assert len(places) == len(set(places))
    links = {value[1:] for name, value in seen.attributes if name == "href"}
    assert links
    assert links <= set(places)


def test_names_in_a_document_are_text_in_the_page(policy: str, tmp_path: Path) -> None:
    plain = write(tmp_path, "plain.json", json.dumps({"claim": dict.fromkeys("abcdefgh", 1)}))
    hostile = write(tmp_path, "<b>hostile&.json", HOSTILE)
    text = called("matrix", policy, hostile, "--html", "-")[1]
    seen, usual = Page(text), Page(called("matrix", policy, plain, "--html", "-")[1])
    assert "b" not in seen.tags
    ours = {"span", "bdi"}
    assert {tag: n for tag, n in seen.tags.items() if tag not in ours} == {
        tag: n for tag, n in usual.tags.items() if tag not in ours
    }
    assert {name for name, _ in seen.attributes} == {name for name, _ in usual.attributes}
    shown = "".join(seen.texts)
    assert "<script>alert(1)<~1script>" in shown
    assert "&lt;" in shown
    assert r"\u001b[2J\u202e\n" in shown
    assert all(each.isprintable() or each == "\n" for each in text)


def test_a_document_that_cannot_be_sealed_fails_and_says_so_in_the_page(policy: str) -> None:
    status, text, said = called("matrix", policy, "-", "--html", "-", data='{"x": 1}')
    assert status == 1
    assert said.startswith("xkeymsg: field_denied: ")
    assert "No rule matches 1 field" in text


@pytest.mark.parametrize("verb", ["explain", "lint", "matrix", "test"])
def test_a_policy_that_cannot_be_used_is_one_line(tmp_path: Path, verb: str) -> None:
    broken = write(tmp_path, "broken.toml", '[[rule]]\npattern = "\\u001b"\nreaders = ["a"]\n')
    for path in (broken, str(tmp_path / "none.toml")):
        status, shown, said = called(verb, path, *([path] if verb == "test" else []))
        assert (status, shown) == (1, "")
        assert said.startswith("xkeymsg: policy_invalid: ")
        assert Path(path).name in said
        assert said.count("\n") == 1
        assert said[:-1].isprintable()


@pytest.mark.parametrize("verb", ["explain", "matrix"])
def test_what_is_no_document_is_a_failure(policy: str, verb: str) -> None:
    status, shown, said = called(verb, policy, "-", data='{"a": 1, "a": 2}')
    assert (status, shown) == (1, "")
    assert said.startswith("xkeymsg: malformed: ")


@given(st.dictionaries(st.text(), st.integers() | st.dictionaries(st.text(), st.none())))
def test_no_name_gets_out_of_its_cell(document: dict[str, object]) -> None:
    policy = Policy([("/some name", ["some"]), ("/**", ["others"])])
    matrix = make_matrix(
        policy, policy.explain(document), {"some": [Recipient(XKeyPair.generate().public)]}
    )
    assert all(line.isprintable() for line in as_text(matrix))
    text = page(matrix, policy, [Source("Policy", "p", None)], NOW)
    seen = Page(text)
    assert seen.tags["tr"] == len(matrix.rows) + 2 + 1 + 3
    assert not {"script", "b"} & seen.tags.keys()
