"""`xkeymsg doctor`, as a process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.envelope.cast import ALICE
from tests.running import DEADLINE, run
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

CLI = "xkeymsg.cli"


NOBODY = "nats://127.0.0.1:1"


def called(server: str, *arguments: str) -> tuple[int, str, str]:
    timeout = "1s" if server == NOBODY else f"{DEADLINE:g}s"
    done = run(CLI, "doctor", "-s", server, "--timeout", timeout, *arguments)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    write_seed(tmp_path / "seed", ALICE)
    peers = tmp_path / "peers.toml"
    peers.write_text(f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["a.>"]\n')
    peers.chmod(0o644)
    return ("--seed", str(tmp_path / "seed"), "--peers", str(peers))


def test_each_line_is_ok_or_says_what_to_do(server: NATSServer, files: tuple[str, ...]) -> None:
    flags = (*files, "--publish", "a.b", "--subscribe", "a.>")
    status, shown, said = called(server.url, *flags)
    assert (status, said) == (0, "")
    lines = [line.split(maxsplit=2) for line in shown.splitlines()]
    assert {level for level, *_ in lines} == {"ok", "warn", "skip"}
    assert [name for level, name, _ in lines if level == "warn"] == ["jetstream"]
    assert {"key", "peers", "own", "connection", "tls", "login", "publish", "subscribe",
            "clock", "max_payload"} <= {name for _, name, _ in lines}  # fmt: skip


def test_a_failure_is_exit_1_and_hides_nothing(server: NATSServer, files: tuple[str, ...]) -> None:
    status, shown, said = called(server.url, *files, "--jetstream", "--proven", "MINE", "--json")
    assert (status, said) == (1, "")
    findings = {each["check"]: each for each in json.loads(shown)}
    assert findings["jetstream"]["level"] == findings["MINE"]["level"] == "fail"
    assert findings["jetstream"]["remedy"]
    assert findings["clock"]["level"] == "ok"
    assert set(findings["clock"]) == {"check", "level", "text", "remedy"}


def test_without_a_server_the_files_are_checked_all_the_same(files: tuple[str, ...]) -> None:
    Path(files[3]).write_text("[peers")
    status, shown, said = called(NOBODY, *files)
    assert (status, said) == (1, "")
    levels = {tuple(line.split()[:2]) for line in shown.splitlines()}
    assert levels == {
        ("ok", "core"), ("ok", "key"), ("skip", "server"),
        ("fail", "peers"), ("fail", "connection"),
    }  # fmt: skip
    assert ALICE.seed() not in shown


@for_each("wrong", [("--proven", "a.b"), ("--publish", "a b"), ("--unproven", ">")])
def test_being_called_wrongly_is_exit_2(wrong: tuple[str, str]) -> None:
    status, shown, said = called(NOBODY, *wrong)
    assert (status, shown) == (2, "")
    assert wrong[0] in said
