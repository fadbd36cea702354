"""`xkeymsg peers add | remove | list | verify`, as processes."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.envelope.cast import ALICE, ALICE_USER, BOB, CAROL, MALLORY
from tests.running import run
from xkeymsg import Peers

CLI = "xkeymsg.cli"
A, B, C = (str(each.public) for each in (ALICE, BOB, CAROL))


def called(*arguments: str | Path) -> tuple[int, str, str]:
    done = run(CLI, "peers", *map(str, arguments))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "peers.toml"
    path.write_text(f'# who\n[peers.alice]  # the ward\nxkey = "{A}"\nsubjects = ["a.>", "b"]\n')
    return path


def test_add_makes_a_file_and_adds_to_it(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    status, shown, said = called("add", path, "alice", A, "--subject", "ehr.>", "--subject", "x")
    assert (status, shown) == (0, "")
    assert said == f"xkeymsg: alice: fingerprint {ALICE.public.fingerprint}\n"
    first = path.read_text()
    flags = ("--permission", "clinic", "--user", ALICE_USER.public, "--always-signs")
    assert called("add", path, "bob", B, C, *flags)[0] == 0
    assert path.read_text().startswith(first)
    alice, bob = Peers.load(path).peers.values()
    assert (alice.xkeys, alice.subjects) == ((ALICE.public,), ("ehr.>", "x"))
    assert (bob.xkeys, bob.user) == ((BOB.public, CAROL.public), ALICE_USER.public)
    assert (bob.permissions, bob.subjects, bob.always_signs) == (("clinic",), (), True)


def test_add_keeps_mode_comments_and_a_link(path: Path, tmp_path: Path) -> None:
    path.chmod(0o664)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    assert called("add", link, "bob", B)[0] == 0
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert path.read_text().startswith("# who\n[peers.alice]  # the ward\n")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link.toml", "peers.toml"]


def test_remove_takes_one_out_and_is_told_when_there_is_none(path: Path) -> None:
    before = path.read_text()
    path.chmod(0o640)
    assert called("add", path, "bob", B)[0] == 0
    assert called("remove", path, "bob") == (0, "", "")
    assert path.read_text().rstrip("\n") == before.rstrip("\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    status, _, said = called("remove", path, "bob")
    assert (status, said) == (1, f"xkeymsg: unknown_key: {path}: no peer is called 'bob'\n")
    status, _, said = called("remove", path, "alice")
    assert status == 1
    assert "would have no peers" in said
    assert called("remove", path.with_name("other"), "alice")[0] == 1


def test_a_name_is_changed_only_with_replace(path: Path) -> None:
    before = path.read_bytes()
    status, shown, said = called("add", path, "alice", B)
    assert (status, shown) == (1, "")
    assert said.startswith(f"xkeymsg: configuration: {path} already has alice")
    assert path.read_bytes() == before
    assert called("add", path, "alice", B, "--replace")[0] == 0
    assert path.read_text() == f'# who\n[peers.alice]  # the ward\nxkey = "{B}"\n'


def test_adding_somebody_elses_key_is_alarmed(path: Path) -> None:
    status, _, said = called("add", path, "mallory", A)
    assert status == 0
    assert "warning: alice and mallory have the same key" in said


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("bob", A[:-1]), 2),
        (("bob", MALLORY.seed()), 2),
        (("bob",), 2),
        (("bob", B, "--subject", "a b"), 2),
        (("bob", B, "--subject", "_XKM.x"), 1),
        (("bob", B, "--permission", "A"), 1),
        (("bob", B, "--user", B), 1),
        (("bob", B, "--user", MALLORY.seed()), 1),
        (("bob", B, "--always-signs"), 1),
        (("perm:x", B), 1),
        ((MALLORY.seed(), B), 1),
    ],
)
def test_what_is_wrong_changes_nothing_and_shows_no_seed(
    path: Path, arguments: tuple[str, ...], status: int
) -> None:
    before = path.read_bytes()
    done, shown, said = called("add", path, *arguments)
    assert (done, shown) == (status, "")
    assert MALLORY.seed() not in said
    assert path.read_bytes() == before


@pytest.mark.parametrize("verb", [("add", "bob", B), ("list",), ("verify",)])
def test_a_seed_in_the_place_of_the_file_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, shown, said = called(verb[0], MALLORY.seed(), *verb[1:])
    assert (status, shown) == (1, "")
    assert MALLORY.seed() not in said
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_a_fault_is_not_edited(path: Path) -> None:
    path.write_text(path.read_text() + "subject = 1\n")
    for verb in (("add", path, "bob", B), ("list", path), ("verify", path)):
        status, shown, said = called(*verb)
        assert (status, shown) == (1, "")
        assert said.startswith(
            f"xkeymsg: configuration: {path}: [peers.alice]: unknown setting 'subject'"
        )


def test_two_that_add_at_a_time_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        adding = [threads.submit(run, CLI, "peers", "add", str(path), name, B) for name in "bcd"]
    assert [each.result().returncode for each in adding] == [0, 0, 0]
    assert sorted(Peers.load(path).peers) == ["alice", "b", "c", "d"]


def test_list_is_a_table_or_json(path: Path) -> None:
    flags = ("--permission", "audit", "--user", ALICE_USER.public, "--always-signs")
    assert called("add", path, "bob", B, C, *flags)[0] == 0
    status, shown, said = called("list", path)
    assert (status, said) == (0, "")
    assert [line.split() for line in shown.splitlines()] == [
        ["NAME", "KEY", "SENDS", "ON", "HOLDS", "SIGNS"],
        ["alice", A, "a.>", "b", "-", "-"],
        ["bob", B, "-", "audit", "always"],
        [C],
    ]
    status, shown, said = called("list", path, "--json")
    assert (status, said) == (0, "")
    alice, bob = json.loads(shown)
    assert alice == {
        "name": "alice",
        "xkeys": [A],
        "fingerprints": [ALICE.public.fingerprint],
        "user": None,
        "permissions": [],
        "subjects": ["a.>", "b"],
        "always_signs": False,
    }
    assert (bob["user"], bob["always_signs"], bob["xkeys"]) == (ALICE_USER.public, True, [B, C])


def test_verify_shows_what_people_read_to_each_other(path: Path) -> None:
    status, shown, said = called("verify", path)
    assert (status, said) == (0, "")
    assert shown.splitlines()[1] == f"alice  {ALICE.public.fingerprint}"
    assert called("verify", path, "alice") == (0, shown, "")
    status, shown, said = called("verify", path, "bob")
    assert (status, shown, said[:21]) == (1, "", "xkeymsg: unknown_key:")


def test_verify_is_exit_1_if_something_is_questionable(path: Path) -> None:
    assert called("add", path, "mallory", A)[0] == 0
    status, _, said = called("verify", path)
    assert status == 1
    assert said.startswith("xkeymsg: warning: alice and mallory have the same key")


def test_verify_compares_what_is_read_out(path: Path) -> None:
    good = ALICE.public.fingerprint
    for spoken in (good, good.lower().replace("-", " "), good.replace("-", "")):
        status, shown, said = called("verify", path, "alice", "--fingerprint", spoken)
        assert (status, shown, said) == (0, f"alice has this key: {A}\n", "")
    other = BOB.public.fingerprint
    status, shown, said = called("verify", path, "alice", "--fingerprint", other)
    assert (status, shown) == (1, "")
    assert said.startswith("xkeymsg: not the fingerprint of alice")
    for wrong in (("alice", "--fingerprint", good[:9]), ("--fingerprint", good)):
        assert called("verify", path, *wrong)[:2] == (2, "")


def test_a_hostile_subject_stays_in_its_column(path: Path) -> None:
    path.write_text(path.read_text().replace('"b"', '"b\u202e\\u001b[2J"'.replace("\\u001b", "é")))
    shown = called("list", path)[1]
    assert "\u202e" not in shown
    assert os.linesep in shown
