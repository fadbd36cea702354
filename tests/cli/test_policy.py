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
pattern = "/patient/name/*"
readers = ["billing", "clinic"]

[[rule]]
pattern = "/patient/name/0"
readers = ["clinic"]

[[rule]]
pattern = "/claim/**"
readers = ["billing"]
"""
DOCUMENT = '{"patient": {"name": ["Ada", "Secret"]}, "claim": {"total": 12.5, "items": []}}'
HOSTILE = (
    r'{"claim": {"<script>alert(1)</script>": 1, "\" onload=\"x": 1, "\u001b[2J\u202e\n": 1, '
    r'"\ud800": 1, "a  yes  yes": 1, "": 1, "&lt;": 1, "שלום": 1}}'
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
        ["/patient/name/0", "1", "/patient/name/*", "billing, clinic"],
        ["/patient/name/1", "1", "/patient/name/*", "billing, clinic"],
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


def test_lint_finds_what_is_questionable(policy: str, readers: str, tmp_path: Path) -> None:
    finding = "rule 2 ('/patient/name/0') can never match: rules before it do\n"
    assert called("lint", policy) == (1, finding, "")
    assert called("lint", policy, "--readers", readers) == (1, finding, "")
    nobody = write(tmp_path, "nobody.toml", "[readers]\nclinic = []\n")
    status, shown, _ = called("lint", policy, "--readers", nobody)
    assert status == 1
    assert shown.splitlines()[1:] == [
        "permission 'billing' has no readers",
        "permission 'clinic' has no readers",
    ]
    good = write(tmp_path, "good.toml", '[[rule]]\npattern = "/**"\nreaders = ["clinic"]\n')
    assert called("lint", good, "--readers", readers) == (0, "", "")


def test_the_matrix_of_a_policy_has_its_rules_and_permissions(policy: str) -> None:
    status, shown, said = called("matrix", policy)
    assert status == 0
    assert [line.split() for line in shown.splitlines()] == [
        ["RULE", "PATTERN", "billing", "clinic"],
        ["1", "/patient/name/*", "yes", "yes"],
        ["2", "/patient/name/0", "-", "-"],
        ["3", "/claim/**", "yes", "-"],
    ]
    assert said.startswith("xkeymsg: rule 2 ")


def test_the_matrix_of_a_document_has_its_fields_and_who_reads_them(
    policy: str, document: str, readers: str, keys: list[str]
) -> None:
    status, shown, _ = called("matrix", policy, document, "--readers", readers)
    both, one, other = keys
    assert status == 0
    assert [line.split() for line in shown.splitlines()] == [
        ["FIELD", "RULE", "R1", "R2"],
        ["/patient/name/0", "1", "yes", "yes"],
        ["/patient/name/1", "1", "yes", "yes"],
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
    assert r'"/claim/\x1b[2J\u202e\n"' in shown
    if verb == "explain":
        assert called(verb, policy, hostile, "--json")[1].replace("\n", "").isprintable()


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
    assert "can never match" in shown


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
    assert r"\x1b[2J\u202e\n" in shown
    assert all(each.isprintable() or each == "\n" for each in text)


def test_a_document_that_cannot_be_sealed_fails_and_says_so_in_the_page(policy: str) -> None:
    status, text, said = called("matrix", policy, "-", "--html", "-", data='{"x": 1}')
    assert status == 1
    assert said.startswith("xkeymsg: field_denied: ")
    assert "No rule matches 1 field" in text


@pytest.mark.parametrize("verb", ["explain", "lint", "matrix"])
def test_a_policy_that_cannot_be_used_is_one_line(tmp_path: Path, verb: str) -> None:
    broken = write(tmp_path, "broken.toml", '[[rule]]\npattern = "\\u001b"\nreaders = ["a"]\n')
    for path in (broken, str(tmp_path / "none.toml")):
        status, shown, said = called(verb, path)
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
    policy = Policy([("/a/**", ["some"]), ("/**", ["others"])])
    matrix = make_matrix(
        policy, policy.explain(document), {"some": [Recipient(XKeyPair.generate().public)]}
    )
    assert all(line.isprintable() for line in as_text(matrix))
    text = page(matrix, policy, [Source("Policy", "p", None)], NOW)
    seen = Page(text)
    assert seen.tags["tr"] == len(matrix.rows) + 2 + 1 + 3
    assert not {"script", "b"} & seen.tags.keys()
