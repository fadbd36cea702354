"""`xkeymsg seal --policy` and `xkeymsg open` of a document, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.running import run
from xkeymsg import WITHHELD, LimitExceededError, MalformedError, Policy, Sealer, XKeyPair
from xkeymsg.cli.documents import read_document, to_json
from xkeymsg.nkey import Prefix, encode_public

CLI = "xkeymsg.cli"
RULES = """
[[rule]]
pattern = "/patient/name"
readers = ["billing", "clinic"]

[[rule]]
pattern = "/notes/1"
readers = ["billing", "clinic"]

[[rule]]
pattern = "/claim/**"
readers = ["billing"]

[[rule]]
pattern = "/patient/**"
readers = ["clinic"]

[[rule]]
pattern = "/notes/**"
readers = ["clinic"]
"""
DOCUMENT = (
    '{"patient": {"name": "Ada", "phone": "555"}, "claim": {"total": 12.5, "items": []}, '
    '"notes": ["ok", "call"]}'
)
BILLING = {
    "patient": {"name": "Ada"},
    "notes": [None, "call"],
    "claim": {"total": 12.5, "items": []},
}


class Desk:
    """Three keys and the files of a policy, in a directory of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pairs = {name: XKeyPair.generate() for name in ("alice", "bob", "carol")}
        for name, pair in self.pairs.items():
            self.write(name, pair.seed())
        self.policy = self.write("policy.toml", RULES)
        self.readers = self.write(
            "readers.toml",
            f'[readers]\nclinic = ["{self.public("bob")}"]\nbilling = ["{self.public("carol")}"]\n',
        )

    def write(self, name: str, text: str) -> str:
        path = self.path / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def public(self, name: str) -> str:
        return str(self.pairs[name].public)

    def seal(self, document: str | bytes, *flags: str) -> tuple[int, bytes, str]:
        data = document if isinstance(document, bytes) else document.encode()
        files = ("--policy", self.policy, "--readers", self.readers)
        done = run(CLI, "seal", *files, "--seed", str(self.path / "alice"), *flags, data=data)
        return done.returncode, done.stdout, done.stderr.decode()

    def open(self, sealed: bytes, name: str, *flags: str) -> tuple[int, bytes, str]:
        who = ("--from", self.public("alice"), "--seed", str(self.path / name))
        done = run(CLI, "open", *who, *flags, data=sealed)
        return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_each_reader_sees_what_it_may(desk: Desk) -> None:
    status, sealed, said = desk.seal(DOCUMENT)
    assert (status, sealed[:4], said) == (0, b"xkm1", "")
    status, shown, said = desk.open(sealed, "carol")
    assert (status, json.loads(shown), said) == (0, BILLING, "")
    assert shown.count(b"\n") == 1
    status, shown, said = desk.open(sealed, "bob", "--pretty")
    assert (status, said) == (0, "")
    assert json.loads(shown) == {
        "patient": {"name": "Ada", "phone": "555"},
        "notes": ["ok", "call"],
    }
    assert b'\n    "name": "Ada"' in shown
    assert desk.open(sealed, "alice")[0] == 3


def test_what_is_withheld_can_be_told_from_null(desk: Desk) -> None:
    sealed = desk.seal(DOCUMENT)[1]
    _, shown, said = desk.open(sealed, "carol", "--show-withheld")
    assert json.loads(shown) == BILLING | {"notes": [{"$withheld": True}, "call"]}
    assert said == "xkeymsg: parts of the document withheld: 1\n"


def test_files_and_subjects_are_those_of_whole_messages(desk: Desk) -> None:
    document, sealed, opened = (str(desk.path / name) for name in ("doc.json", "sealed", "opened"))
    Path(document).write_text(DOCUMENT)
    assert desk.seal(b"", "--subject", "a.b", "-o", sealed, document)[:2] == (0, b"")
    status, output, said = desk.open(b"", "carol", sealed, "-o", opened)
    assert (status, output) == (3, b"")
    assert said.startswith("xkeymsg: subject_mismatch: ")
    assert not Path(opened).exists()
    assert desk.open(b"", "carol", "--subject", "a.*", "-o", opened, sealed)[:2] == (0, b"")
    assert json.loads(Path(opened).read_bytes()) == BILLING
    assert stat.S_IMODE(Path(opened).stat().st_mode) & 0o077 == 0


def test_a_field_without_a_rule_stops_the_sealing_in_one_line(desk: Desk) -> None:
    target = desk.path / "sealed"
    status, output, said = desk.seal('{"a/b": 1, "patient": {}, "c": []}', "-o", str(target))
    assert (status, output) == (1, b"")
    assert said == "xkeymsg: field_denied: no rule for /a~1b, /c\n"
    assert not target.exists()


def test_names_that_no_rule_matches_cannot_act_on_the_terminal(desk: Desk) -> None:
    status, _, said = desk.seal(r'{"\u001b[2J\n\u202e": 1}')
    assert status == 1
    assert said == 'xkeymsg: field_denied: no rule for /"\\u001b[2J\\n\\u202e"\n'


def test_a_permission_without_readers_stops_the_sealing(desk: Desk) -> None:
    desk.write("readers.toml", f'[readers]\nclinic = ["{desk.public("bob")}"]\n')
    status, output, said = desk.seal(DOCUMENT)
    assert (status, output) == (1, b"")
    assert said.startswith("xkeymsg: policy_invalid: ")
    assert "billing" in said
    assert "allow_unread" in said


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"\xff", "malformed"),
        (b"[] []", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b'{"patient": ' * 33 + b"1" + b"}" * 33, "limit_exceeded"),
        (b'{"patient": 1, "patient": 2}', "malformed"),
        (b'{"patient": NaN}', "malformed"),
        (b'{"patient": -Infinity}', "malformed"),
        (b'{"patient": 1e999}', "malformed"),
        (b'{"patient": "\\ud800"}', "malformed"),
        (b'{"patient": ' + b"9" * 4301 + b"}", "limit_exceeded"),
    ],
)
def test_what_is_no_document_is_a_failure_of_sealing(
    desk: Desk, document: bytes, code: str
) -> None:
    status, output, said = desk.seal(document)
    assert (status, output) == (1, b"")
    assert said.startswith(f"xkeymsg: {code}: ")
    assert said.count("\n") == 1


def test_numbers_come_out_as_they_went_in(desk: Desk) -> None:
    big = int("9" * 4300)
    texts = [str(big), str(-big), "18446744073709551616", "1.0", "-0.0", "1e+300", "0.1", "1"]
    sealed = desk.seal(f'{{"patient": [{", ".join(texts)}]}}')[1]
    assert desk.open(sealed, "bob")[1].decode() == f'{{"patient": [{", ".join(texts)}]}}\n'


def sealed_for_bob(desk: Desk, document: object) -> bytes:
    """What a program seals, with kinds that JSON does not have."""
    policy = Policy([("/a", ["some"]), ("/list/1", ["other"]), ("/**", ["some"])])
    bob, carol = desk.pairs["bob"].public, desk.pairs["carol"].public
    return Sealer(desk.pairs["alice"]).seal_document(
        document, policy=policy, readers={"some": [bob], "other": [carol]}, subject="file"
    )


def test_kinds_beyond_json_are_texts(desk: Desk) -> None:
    zone = timezone(-timedelta(hours=3, minutes=30))
    document = {
        "decimal": [Decimal("12.50"), Decimal("1E+3"), Decimal("-0")],
        "bytes": b"\x00\xff",
        "time": datetime(2026, 3, 1, 9, 30, 0, 250_000, zone),
        "uuid": UUID("018f428e-34f6-4707-8009-5ad742f901e7"),
        "list": [None, "hidden", True],
    }
    shown = json.loads(desk.open(sealed_for_bob(desk, document), "bob")[1])
    assert shown == {
        "decimal": [12.50, 1e3, 0],
        "bytes": "AP8=",
        "time": "2026-03-01T09:30:00.250000-03:30",
        "uuid": "018f428e-34f6-4707-8009-5ad742f901e7",
        "list": [None, None, True],
    }


def test_a_document_cannot_act_on_the_terminal(desk: Desk) -> None:
    document = {"\x1b[2J\x9b\u202e\n": "Grüße\x7f\u2028\U000e0001", "a": "世界"}
    sealed = sealed_for_bob(desk, document)
    for flags in ((), ("--pretty",)):
        shown = desk.open(sealed, "bob", *flags)[1]
        assert shown.decode().replace("\n", "").isprintable()
        assert "Grüße".encode() in shown
        assert json.loads(shown) == document
    who = ("--from", desk.public("alice"), "--seed", str(desk.path / "bob"))
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    shown = run(CLI, "open", *who, data=sealed, env=env, fresh=True).stdout
    assert shown.isascii()
    assert json.loads(shown) == document


def test_a_reader_who_is_listed_with_a_user_opens_as_that_user(desk: Desk) -> None:
    user = encode_public(Prefix.USER, bytes(range(32)))
    listed = f'["{desk.public("bob")} {user}"]'
    desk.write("readers.toml", f"[readers]\nclinic = {listed}\nbilling = {listed}\n")
    sealed = desk.seal(DOCUMENT)[1]
    assert desk.open(sealed, "bob")[0] == 3
    status, shown, _ = desk.open(sealed, "bob", "--user", user)
    assert (status, json.loads(shown)) == (0, json.loads(DOCUMENT))
    assert desk.open(sealed, "bob", "--user", "UABC")[0] == 1


def test_payloads_open_as_before_whatever_is_said_of_documents(desk: Desk) -> None:
    seal = ("seal", "--to", desk.public("bob"), "--seed", str(desk.path / "alice"))
    sealed = run(CLI, *seal, data=b"hello").stdout
    assert desk.open(sealed, "bob", "--pretty", "--show-withheld") == (0, b"hello", "")


@for_each(
    "flags",
    [
        ("--policy", "policy.toml"),
        ("--readers", "readers.toml"),
        ("--policy", "policy.toml", "--readers", "readers.toml", "--xkv1"),
        ("--policy", "p", "--readers", "r", "--to", str(XKeyPair.generate().public)),
    ],
)
def test_it_is_said_once_for_whom_to_seal(flags: tuple[str, ...]) -> None:
    done = run(CLI, "seal", *flags, data=b"{}")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("name", ["policy.toml", "readers.toml"])
def test_a_file_that_cannot_be_used_is_named(desk: Desk, name: str) -> None:
    desk.write(name, "[[rule]]\npattern = 7\n")
    status, output, said = desk.seal(DOCUMENT)
    assert (status, output) == (1, b"")
    assert said.startswith("xkeymsg: policy_invalid: ")
    assert name in said
    assert said.count("\n") == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(JSON, st.booleans(), st.booleans())
def test_json_goes_through_and_nothing_acts(value: Any, pretty: bool, ascii_only: bool) -> None:
    text = to_json(value, pretty=pretty, ascii_only=ascii_only)
    assert text.replace("\n", "").isprintable()
    assert text.isascii() or not ascii_only
    again = read_document(BytesIO(text.encode()))
    assert repr(again) == repr(value)


@given(st.binary() | st.text().map(str.encode))
def test_whatever_comes_is_a_document_or_an_error(data: bytes) -> None:
    with contextlib.suppress(MalformedError, LimitExceededError):
        read_document(BytesIO(data))


def test_digits_that_change_are_warned_of_with_a_place(desk: Desk) -> None:
    status, _, said = desk.seal('{"claim": {"total": 12.50, "items": [1.00]}}')
    assert status == 0
    warning = "digits of 2 number(s) change, first at /claim/total; --exact keeps them"
    assert said == f"xkeymsg: warning: {warning}\n"


def test_exact_numbers_go_through(desk: Desk) -> None:
    document = '{"claim": {"total": 12.50, "items": [1E-400, 2]}}'
    status, sealed, said = desk.seal(document, "--exact")
    assert (status, said) == (0, "")
    status, output, _ = desk.open(sealed, "carol")
    assert (status, output.decode()) == (0, document + "\n")


def test_exact_numbers_belong_to_documents(desk: Desk) -> None:
    done = run(CLI, "seal", "--exact", "--to", desk.public("bob"), data=b"1.50")
    assert done.returncode == 2
    assert b"--exact requires --policy" in done.stderr


def test_withheld_is_null_or_a_marker() -> None:
    assert to_json([WITHHELD, None]) == "[null, null]\n"
    assert to_json([WITHHELD, None], show_withheld=True) == '[{"$withheld": true}, null]\n'
