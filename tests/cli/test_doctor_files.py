"""The check-up of the own key and the file of peers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.envelope.cast import ALICE, ALICE_USER, BOB
from xkeymsg.cli.doctor.files import check_files
from xkeymsg.cli.doctor.findings import CheckResult
from xkeymsg.trust.stores.file import write_seed

ENTRY = f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["ehr.>"]\n'


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    write_seed(tmp_path / "seed", ALICE)
    return tmp_path / "seed"


@pytest.fixture
def peers(tmp_path: Path) -> Path:
    path = tmp_path / "peers.toml"
    path.write_text(ENTRY + f'user = "{ALICE_USER.public}"\n')
    path.chmod(0o644)
    return path


def checked(
    seed: Path | None = None, peers: Path | None = None, publish: tuple[str, ...] = ()
) -> list[CheckResult]:
    return check_files(seed, peers, publish, 2.0)[0]


def test_what_is_right_is_ok(seed: Path, peers: Path) -> None:
    findings, user = check_files(seed, peers, ("ehr.x", "other.>"), 2.0)
    assert [(each.check, each.level) for each in findings] == [
        ("key", "ok"),
        ("peers", "ok"),
        ("own key", "ok"),
    ]
    assert ALICE.public.fingerprint in findings[0].text
    assert "alice" in findings[2].text
    assert user == ALICE_USER.public
    assert check_files(None, None, (), 2.0) == ([], None)


def test_a_key_that_others_can_read_or_that_is_mistyped_fails(seed: Path) -> None:
    text = seed.read_text()
    seed.chmod(0o640)
    [found] = checked(seed)
    assert (found.level, "chmod 600" in found.text) == ("fail", True)
    seed.chmod(0o600)
    seed.write_text(text.replace(ALICE.seed(), ALICE.seed()[:-3] + "AAA"))
    [found] = checked(seed)
    assert found.level == "fail"
    assert ALICE.seed()[:-3] not in repr(found)
    [found] = checked(seed.with_name("none"))
    assert found.remedy == "correct that, or make a new key: xkeymsg keygen --out FILE"


def test_a_bad_file_of_peers_fails_and_does_not_hide_the_key(seed: Path, peers: Path) -> None:
    peers.write_text(ENTRY + "subject = 1")
    key, found = checked(seed, peers)
    assert (key.level, found.level) == ("ok", "fail")
    assert "[peers.alice]: unknown setting 'subject'" in found.text
    bad, found = checked(seed.with_name("none"), peers)
    assert (bad.level, found.level) == ("fail", "fail")


def test_a_key_that_nobody_knows_is_told(seed: Path, peers: Path) -> None:
    peers.write_text(ENTRY.replace(str(ALICE.public), str(BOB.public)))
    findings, user = check_files(seed, peers, (), 2.0)
    assert (findings[-1].check, findings[-1].level, user) == ("own key", "warn", None)
    assert str(ALICE.public) in findings[-1].remedy


def test_what_peers_would_refuse_is_told(seed: Path, peers: Path) -> None:
    found = checked(seed, peers, ("ehr.x", "orders.new"))[-1]
    assert (found.check, found.level) == ("own key", "warn")
    assert "alice may not send on orders.new" in found.text


def test_a_file_that_a_group_may_write_and_shared_keys_are_told(peers: Path) -> None:
    peers.write_text(ENTRY + ENTRY.replace("alice", "bob"))
    peers.chmod(0o664)
    _, group, shared = checked(None, peers)
    assert (group.level, "0664" in group.text) == ("warn", True)
    assert (shared.level, "alice and bob have the same key" in shared.text) == ("warn", True)


def test_a_seed_in_the_place_of_a_file_is_not_shown() -> None:
    findings = checked(Path(ALICE.seed()), Path(ALICE.seed()))
    assert [each.level for each in findings] == ["fail", "fail"]
    assert ALICE.seed() not in repr(findings)


def test_a_pipe_that_nobody_writes_to_ends_in_its_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    findings, _ = check_files(tmp_path / "pipe", tmp_path / "pipe", (), 0.1)
    assert [(each.check, each.level) for each in findings] == [("key", "fail"), ("peers", "fail")]
    # The thread that waits has to end before the next test.
    os.close(os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK))
