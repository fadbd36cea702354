"""`seal --armour`, and programs that read text; what `open` says about a resealed message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.running import run
from xkeymsg import Sealer, XKeyPair, armour, dearmour, write_seed
from xkeymsg.daemons.common.records import record_of
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.limits import AtRest
from xkeymsg.opener import Opener
from xkeymsg.origins import RESEALED, Origin

CLI = "xkeymsg.cli"
ALICE, BOB, RITA = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
ORIGIN = Origin(ALICE.public, bytes(range(16)), 1_767_225_600_000, 2)


@pytest.fixture
def bob(tmp_path: Path) -> str:
    write_seed(tmp_path / "bob.seed", BOB)
    return str(tmp_path / "bob.seed")


def resealed(value: str) -> bytes:
    headers = TransportHeaders([(RESEALED, value)])
    return Sealer(RITA).seal(b"x", to=[BOB.public], subject="file", headers=headers)


def test_text_is_sealed_opened_and_inspected(bob: str) -> None:
    sealed = run(CLI, "seal", "--armour", "--to", str(BOB.public), "--seed", bob, data=b"7 lamps")
    assert sealed.returncode == 0, sealed.stderr
    envelope = dearmour(sealed.stdout.decode())
    for data in (sealed.stdout, envelope):
        opened = run(CLI, "open", "--from", str(BOB.public), "--seed", bob, data=data)
        assert (opened.returncode, opened.stdout) == (0, b"7 lamps")
        shown = run(CLI, "inspect", "--json", data=data)
        assert json.loads(shown.stdout)["bytes"] == len(envelope)


@pytest.mark.parametrize("verb", ["open", "inspect"])
def test_changed_text_is_refused(bob: str, verb: str) -> None:
    text = armour(Sealer(ALICE).seal(b"x", to=[BOB.public], subject="file"))
    flags = ("--from", str(ALICE.public), "--seed", bob) if verb == "open" else ()
    for changed in (text.replace("\n", "\r\n"), text[:-1], text + "\n", text[:100]):
        done = run(CLI, verb, *flags, data=changed.encode())
        assert (done.returncode, done.stdout) == (3, b""), done.stderr
        assert b"malformed: armour, " in done.stderr


def test_xkv1_has_no_text_form(bob: str) -> None:
    done = run(CLI, "seal", "--armour", "--xkv1", "--to", str(BOB.public), "--seed", bob)
    assert done.returncode == 2
    assert b"--armour is for xkm1" in done.stderr


def test_open_says_who_resealed_a_message(bob: str) -> None:
    given = ("open", "--from", str(RITA.public), "--seed", bob)
    done = run(CLI, *given, data=resealed(ORIGIN.header()[1]))
    assert (done.returncode, done.stdout) == (0, b"x")
    said = " ".join(done.stderr.decode().split())
    assert said.startswith(f"xkeymsg: resealed by {RITA.public}, which says: message ")
    assert said.endswith(f" of {ALICE.public}")
    done = run(CLI, *given, data=resealed("x"))
    assert b"with an invalid description of the original" in done.stderr
    refused = run(CLI, "open", "--from", str(ALICE.public), "--seed", bob, data=resealed("x"))
    assert refused.returncode == 3


def test_a_record_says_who_resealed_a_message() -> None:
    opener = Opener(BOB, {RITA.public}, replay=AtRest())
    for value, says in ((ORIGIN.header()[1], [1]), ("x", [])):
        record = json.loads(record_of(opener.open(resealed(value), subject="file")).line)
        assert record["sender"] == record["resealed"]["by"] == str(RITA.public)
        assert len(record["resealed"]["says"]) == len(says)
    record = json.loads(record_of(opener.open(resealed(ORIGIN.header()[1]), subject="file")).line)
    assert record["resealed"]["says"] == [
        {
            "sender": str(ALICE.public),
            "id": bytes(range(16)).hex(),
            "created": "2026-01-01T00:00:00+00:00",
            "withheld": 2,
        }
    ]
