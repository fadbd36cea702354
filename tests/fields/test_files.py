"""Policies and readers in files: what is wrong is told with file, line and rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE, BOB, BOB_USER
from xkeymsg import KeyFormatError, Policy, PolicyError, Recipient
from xkeymsg.fields.files import load_readers, parse_readers

GOOD = """\
allow_unread = ["archive"]

[[rule]]
pattern = "/patient/name"
readers = ["billing", "clinic"]

[[rule]]
pattern = "/**"
readers = ["clinic", "archive"]
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD)
    policy = Policy.load(path)
    assert policy.rules == (
        (("/patient/name",), ("billing", "clinic")),
        (("/**",), ("clinic", "archive")),
    )
    assert policy.allow_unread == {"archive"}


@for_each(
    "text",
    [
        'rule = [{pattern = "/a", readers = ["x"]}, {pattern = "/b", readers = ["y"]}]',
        '[["rule"]]\npattern="/a"\nreaders=["x"]\n[[ rule ]]\npattern="/b"\nreaders=["y"]',
        "[['rule']]\npattern='/a'\nreaders=['x']\n  [[rule]] # b\n'pattern'='/b'\nreaders=['y']",
        '[[rule]]\r\npattern="/a"\r\nreaders=["x"]\r\n[[rule]]\r\npattern="/b"\r\nreaders=["y"]',
        '[[rule]]\nreaders=["""x""",]\npattern="/a"\n[["\\u0072ule"]]\npattern="/b"\nreaders=["y"]',
    ],
)
def test_no_rule_is_lost_however_toml_is_written(text: str) -> None:
    """F-37"""
    assert Policy.parse(text).rules == ((("/a",), ("x",)), (("/b",), ("y",)))


def test_a_rule_has_one_pattern_or_several() -> None:
    """F-37"""
    text = """[[rule]]\npattern = ["/a", '/"b.c"']\nreaders = ["x"]\n"""
    assert Policy.parse(text).rules == ((("/a", '/"b.c"'), ("x",)),)


@for_each(
    ("text", "where"),
    [
        ("[[rule]\n", "line 1: not TOML"),
        (GOOD + "x = = 1", "line 10: not TOML"),
        (GOOD + 'x = """', "line 10: not TOML"),
        ("", "line 1: expected at least one"),
        ("# nothing\nrule = []", "line 2: expected at least one"),
        ("\n[rule]\npattern='/a'\nreaders=['x']", "line 2: expected at least one"),
        ("rule = 1", "line 1: expected at least one"),
        ("rule = [1]", "line 1, rule 1: "),
        ("rules = []\n" + GOOD, "line 1: unknown setting 'rules'"),
        ("\nallow-unread = []\n" + GOOD, "line 2: unknown setting 'allow-unread'"),
        (GOOD + "[[rules]]\npattern = '/x'\n", "line 10: unknown setting 'rules'"),
        (
            GOOD + "[[rule]]\npattern = '/x'\n",
            "line 10, rule 3: missing key 'readers': a rule has exactly `pattern` and `readers`",
        ),
        (GOOD + "\n[[rule]]\nreaders = ['x']\n", "line 11, rule 3: missing key 'pattern'"),
        (
            GOOD.replace("readers", "reader", 1),
            "line 3, rule 1: unknown key 'reader': a rule has exactly `pattern` and `readers`",
        ),
        (GOOD + "allow_unread = []", "line 7, rule 2: unknown key 'allow_unread'"),
        (GOOD.replace('["billing", "clinic"]', '"billing"'), "line 3, rule 1: `readers` must be"),
        (GOOD.replace('["billing", "clinic"]', "[1]"), "line 3, rule 1: `readers` must be"),
        (GOOD.replace('"/**"', "7"), "line 7, rule 2: `pattern` must be"),
        (GOOD.replace('"/**"', "[]"), "line 7, rule 2: a rule requires a pattern"),
        (GOOD.replace('"/**"', "['/a', 1]"), "line 7, rule 2: `pattern` must be"),
        (
            '[[rule]]\npattern = "/"a.b""\n',
            "line 2: not TOML: .*; write a text that holds double quotes in single quotes",
        ),
        ('[[rule]]\npattern = [\'/a\', "/"b.c""]\n', "line 2: not TOML: .*; write a text that"),
        (GOOD.replace('"/**"', "['/a', 'b']"), "line 7, rule 2: invalid pattern 'b'"),
        (GOOD.replace("/**", "/na*"), "line 7, rule 2: invalid pattern '/na\\*'"),
        (GOOD.replace("/**", "/**/**"), "line 7, rule 2: pattern"),
        (
            GOOD.replace("/patient/name", "patient/name"),
            "line 3, rule 1: invalid pattern 'patient/name'",
        ),
        (
            GOOD.replace('"clinic", "archive"', '"Clinic"'),
            "line 7, rule 2: invalid permission name 'Clinic'",
        ),
        (
            GOOD.replace('"clinic", "archive"', ""),
            "line 7, rule 2: a rule requires at least one permission",
        ),
        ("\n" + GOOD.replace('["archive"]', '["achive"]'), "line 2: allow_unread names 'achive'"),
        (GOOD.replace('["archive"]', '"archive"'), "line 1: allow_unread must be a list"),
        ("allow_unread = " + "[" * 5000 + "]" * 5000, "line 1: nested too deeply"),
        (GOOD + "x = " + "1" * 5000, "line 1: not TOML: an integer of too many digits"),
        ("\n" * 50_000 + "x = 1", "line 50001: unknown setting 'x'"),
        (" " * 50_000 + "x = 1", "line 1: unknown setting 'x'"),
        ("[[\n" * 20_000, "line 1: not TOML"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_place(text: str, where: str) -> None:
    """F-36, F-37, F-39"""
    with pytest.raises(PolicyError, match=f"^policy.toml, {where}"):
        Policy.parse(text, source="policy.toml")


def test_a_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=f"cannot read {tmp_path}"):
        Policy.load(tmp_path)
    with pytest.raises(PolicyError, match="cannot read"):
        load_readers(tmp_path / "missing.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# one\n# two \xe9\n")
    with pytest.raises(PolicyError, match=f"{latin}, line 2: not UTF-8"):
        Policy.load(latin)


def test_readers_are_keys_or_keys_of_users(tmp_path: Path) -> None:
    path = tmp_path / "readers.toml"
    path.write_text(
        f'[readers]\nclinic = ["{ALICE.public}", "{BOB.public} {BOB_USER.public}"]\nempty = []\n'
    )
    assert load_readers(path) == {
        "clinic": [Recipient(ALICE.public), Recipient(BOB.public, BOB_USER.public)],
        "empty": [],
    }


@for_each(
    "text",
    ["", "readers = 1", "[reader]", "[readers]\n[other]", "[readers]\nA = []", "[readers]\na = 'X'",
     "[readers]\na = [1]", "[readers]\n'a b' = []", "[readers", "[readers.a]\nb = []"],
)  # fmt: skip
def test_what_is_no_file_of_readers_is_refused(text: str) -> None:
    """F-38"""
    with pytest.raises(PolicyError, match=r"^readers"):
        parse_readers(text)


@for_each("text", ["", "X", "U", f"{ALICE.public} ", f"{ALICE.public}  U", " "])
def test_a_reader_that_is_no_key_is_refused(text: str) -> None:
    """F-38"""
    with pytest.raises(KeyFormatError, match=r"^readers, clinic: ") as caught:
        parse_readers(f'[readers]\nclinic = ["{text}"]')
    assert caught.value.code == "key_format"
