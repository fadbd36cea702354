"""`xkeymsg keygen | pub | seal | open | completion`, as processes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.running import DEADLINE, run
from xkeymsg import XKey, XKeyPair

CLI = "xkeymsg.cli"


@pytest.fixture
def seeds(tmp_path: Path) -> dict[str, Path]:
    for name in ("alice", "bob"):
        assert run(CLI, "keygen", "--out", str(tmp_path / name)).returncode == 0
    return {name: tmp_path / name for name in ("alice", "bob")}


def public(seed: Path) -> str:
    return run(CLI, "pub", str(seed)).stdout.decode().strip()


def test_keygen_writes_a_seed_of_its_owner_and_prints_the_public_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    done = run(CLI, "keygen", "--out", str(path))
    assert done.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(XKey.parse(done.stdout.decode().strip())) == public(path)
    assert XKeyPair.from_seed(path.read_text().splitlines()[1]).seed() not in done.stdout.decode()


def test_keygen_never_overwrites(seeds: dict[str, Path]) -> None:
    before = seeds["bob"].read_bytes()
    done = run(CLI, "keygen", "--out", str(seeds["bob"]))
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith("xkeymsg: key_store: ")
    assert seeds["bob"].read_bytes() == before


@pytest.mark.parametrize("kind", ["operator", "account", "user"])
def test_keygen_makes_signing_keys(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.nk"
    done = run(CLI, "keygen", "--type", kind, "--out", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done.stdout.decode()[0] == kind[0].upper()
    assert path.read_text()[:2] == f"S{kind[0].upper()}"
    assert path.read_text().strip() not in (done.stdout + done.stderr).decode()
    assert run(CLI, "pub", str(path)).stdout == done.stdout
    assert run(CLI, "pub", "--fingerprint", str(path)).returncode == 2
    assert run(CLI, "keygen", "--type", kind, "--out", str(path)).returncode == 1


def test_a_file_that_cannot_be_written_is_called_by_its_name(
    seeds: dict[str, Path], tmp_path: Path
) -> None:
    where = str(tmp_path / "no" / "out")
    seal = (CLI, "seal", "--seed", str(seeds["alice"]), "--to", public(seeds["bob"]))
    done = run(*seal, "-o", where, data=b"x")
    assert done.returncode == 1
    assert done.stderr.decode() == f"xkeymsg: {where}: No such file or directory\n"


def test_a_seed_goes_through_pipes() -> None:
    made = run(CLI, "keygen")
    pair = XKeyPair.from_seed(made.stdout.decode().strip())
    assert pair.seed() not in made.stderr.decode()
    assert run(CLI, "pub", data=made.stdout).stdout.decode() == f"{pair.public}\n"
    shown = run(CLI, "pub", "--fingerprint", data=made.stdout).stdout.decode()
    assert shown == f"{pair.public.fingerprint}\n"


@pytest.mark.parametrize("flags", [(), ("--xkv1",)], ids=["xkm1", "xkv1"])
@pytest.mark.parametrize("data", [b"", b"hello", bytes(range(256)) * 400])
def test_what_is_sealed_in_a_pipe_is_opened_in_a_pipe(
    seeds: dict[str, Path], data: bytes, flags: tuple[str, ...]
) -> None:
    alice, bob = public(seeds["alice"]), public(seeds["bob"])
    sealed = run(CLI, "seal", "--to", bob, "--seed", str(seeds["alice"]), *flags, data=data)
    assert (sealed.returncode, sealed.stderr) == (0, b"")
    assert sealed.stdout[:4] == (b"xkv1" if flags else b"xkm1")
    opened = run(CLI, "open", "--from", alice, "--seed", str(seeds["bob"]), data=sealed.stdout)
    assert (opened.returncode, opened.stdout, opened.stderr) == (0, data, b"")


def test_files_work_like_pipes_and_opened_ones_are_private(
    seeds: dict[str, Path], tmp_path: Path
) -> None:
    plain, sealed, opened = (tmp_path / name for name in ("plain", "sealed", "opened"))
    plain.write_bytes(b"hello")
    alice, bob = public(seeds["alice"]), public(seeds["bob"])
    seal = ("seal", "--to", bob, "--seed", str(seeds["alice"]), "-o", str(sealed), str(plain))
    assert run(CLI, *seal).returncode == 0
    open_ = ("open", "--from", alice, "--seed", str(seeds["bob"]), "-o", str(opened), str(sealed))
    assert run(CLI, *open_).returncode == 0
    assert opened.read_bytes() == b"hello"
    assert stat.S_IMODE(opened.stat().st_mode) & 0o077 == 0


def test_sealing_without_a_seed_says_whose_key_it_was(seeds: dict[str, Path]) -> None:
    sealed = run(CLI, "seal", "--to", public(seeds["bob"]), data=b"hello")
    sender = sealed.stderr.decode().split()[-1]
    opened = run(CLI, "open", "--from", sender, "--seed", str(seeds["bob"]), data=sealed.stdout)
    assert opened.stdout == b"hello"


@pytest.mark.parametrize("flags", [(), ("--xkv1",)], ids=["xkm1", "xkv1"])
def test_what_does_not_open_is_exit_3_and_no_byte_of_output(
    seeds: dict[str, Path], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    alice, bob = public(seeds["alice"]), public(seeds["bob"])
    seal = ("seal", "--to", bob, "--seed", str(seeds["alice"]), *flags)
    sealed = run(CLI, *seal, data=b"hello").stdout
    target = tmp_path / "out"
    for data, code in (
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), "authentication"),
        (sealed[:20], "malformed"),
        (b"", "malformed"),
        (sealed[:3] + b"9" + sealed[4:], "unsupported_version" if not flags else "malformed"),
    ):
        opened = run(
            CLI, "open", "--from", alice, "--seed", str(seeds["bob"]), "-o", str(target), data=data
        )
        assert (opened.returncode, opened.stdout) == (3, b"")
        assert opened.stderr.decode().startswith(f"xkeymsg: {code}: ")
        assert not target.exists()


def test_a_message_for_several_opens_for_each_and_for_nobody_else(
    seeds: dict[str, Path], tmp_path: Path
) -> None:
    alice, bob = public(seeds["alice"]), public(seeds["bob"])
    assert run(CLI, "keygen", "--out", str(tmp_path / "eve")).returncode == 0
    seal = ("seal", "--to", bob, "--to", alice, "--seed", str(seeds["alice"]))
    sealed = run(CLI, *seal, "--subject", "a.b", data=b"hello").stdout

    def opened(name: str, *flags: str) -> tuple[int, bytes, str]:
        done = run(CLI, "open", "--seed", str(tmp_path / name), *flags, data=sealed)
        return done.returncode, done.stdout, done.stderr.decode().removeprefix("xkeymsg: ")

    for subject in ("a.b", "a.*", ">"):
        assert opened("bob", "--from", alice, "--subject", subject)[:2] == (0, b"hello")
    assert opened("alice", "--from", bob, "--from", alice, "--subject", ">")[:2] == (0, b"hello")
    assert opened("bob", "--from", "anyone", "--subject", ">")[:2] == (0, b"hello")
    for code, flags in (
        ("not_a_recipient", ("eve", "--from", alice, "--subject", ">")),
        ("sender_not_admitted", ("bob", "--from", bob, "--subject", ">")),
        ("subject_mismatch", ("bob", "--from", alice)),
    ):
        status, output, said = opened(*flags)
        assert (status, output) == (3, b"")
        assert said.startswith(f"{code}: ")


def test_xkv1_has_one_recipient_and_one_sender_by_name(seeds: dict[str, Path]) -> None:
    alice, bob = public(seeds["alice"]), public(seeds["bob"])
    assert run(CLI, "seal", "--xkv1", "--to", bob, "--to", alice, data=b"x").returncode == 2
    seal = ("seal", "--xkv1", "--to", bob, "--seed", str(seeds["alice"]))
    sealed = run(CLI, *seal, data=b"x").stdout
    for senders in (("--from", "anyone"), ("--from", alice, "--from", bob)):
        assert run(CLI, "open", *senders, "--seed", str(seeds["bob"]), data=sealed).returncode == 2


def test_who_demands_a_subject_gets_no_box_that_has_none(seeds: dict[str, Path]) -> None:
    # E-13: otherwise an attacker chooses the weaker format. A box that Bob sealed to Alice opens as
    # if Alice had sealed it to him, and for whatever subject.
    alice = public(seeds["alice"])
    seal = ("seal", "--xkv1", "--to", alice, "--seed", str(seeds["bob"]))
    sealed = run(CLI, *seal, data=b"pay 10").stdout
    opened = ("open", "--from", alice, "--seed", str(seeds["bob"]))
    for subject in ("orders.new", "file", ">"):
        refused = run(CLI, *opened, "--subject", subject, data=sealed)
        assert (refused.returncode, refused.stdout) == (2, b"")
    # By the first four bytes, and then no other format is tried.
    assert run(CLI, *opened, data=b"xkm1" + sealed[4:]).stderr.startswith(b"xkeymsg: malformed: ")


def test_inspect_shows_what_an_outsider_sees_and_needs_no_key(seeds: dict[str, Path]) -> None:
    alice, bob = public(seeds["alice"]), public(seeds["bob"])
    seal = ("seal", "--to", bob, "--to", alice, "--subject", "a.b", "--seed", str(seeds["alice"]))
    sealed = run(CLI, *seal, data=b"secret").stdout
    seen = json.loads(run(CLI, "inspect", "--json", data=sealed).stdout)
    assert seen["format"] == "xkm1"
    assert seen["bytes"] == len(sealed)
    assert (seen["sender"], seen["subject"], seen["recipients"]) == (alice, "a.b", 2)
    assert seen["tags"] == sorted(seen["tags"])
    assert seen["parts"] == [{"type": "payload", "bytes": 6, "padded": "no"}]
    table = run(CLI, "inspect", data=sealed).stdout.decode()
    for value in (alice, "a.b", seen["message id"], *seen["tags"]):
        assert value in table
    assert bob not in table, "recipients are not in an envelope"


def test_inspect_shows_xkv1_and_refuses_what_is_neither(seeds: dict[str, Path]) -> None:
    sealed = run(CLI, "seal", "--xkv1", "--to", public(seeds["bob"]), data=b"secret").stdout
    seen = json.loads(run(CLI, "inspect", "--json", data=sealed).stdout)
    assert (seen["format"], seen["sealed bytes"]) == ("xkv1", 6)
    for data in (b"", b"xkv1", b"hello", b"xkm1", sealed[:30]):
        done = run(CLI, "inspect", data=data)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.startswith(b"xkeymsg: malformed: ")


@for_each(
    "arguments",
    [
        ("seal",),
        ("seal", "--to", "XABC"),
        ("seal", "--to", "SXAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H74KM"),
        ("open", "--from", "x"),
        ("nonsense",),
        ("keygen", "--frob"),
    ],
)
def test_being_called_wrongly_is_exit_2(arguments: tuple[str, ...]) -> None:
    done = run(CLI, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Error: " in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("pub", "/does/not/exist"),
        ("keygen", "--out", "/does/not/exist/key"),
    ],
)
def test_failing_is_exit_1_in_one_line(arguments: tuple[str, ...]) -> None:
    done = run(CLI, *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_went_away_is_not_a_traceback(seeds: dict[str, Path]) -> None:
    command = [sys.executable, "-m", CLI, "seal", "--to", public(seeds["bob"])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, complaint = process.communicate(bytes(1_000_000), DEADLINE)
    assert process.returncode == 1
    assert b"Traceback" not in complaint


@for_each("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_completion_script(shell: str) -> None:
    done = run(CLI, "completion", shell)
    assert done.returncode == 0
    for program in (b"XKEYMSG", b"XKEYMSG_RECEIVER", b"XKEYMSG_SENDER"):
        assert b"_%b_COMPLETE=%b_complete" % (program, shell.encode()) in done.stdout


def test_a_program_completes_its_own_options() -> None:
    """The variable in the script is the one that the installed program reads."""
    script = Path(sys.executable).with_name("xkeymsg-sender")
    env = os.environ | {
        "_XKEYMSG_SENDER_COMPLETE": "bash_complete",
        "COMP_WORDS": "xkeymsg-sender --c",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([script], env=env, capture_output=True, timeout=DEADLINE, check=True)
    assert done.stdout.decode().split() == ["plain,--config", "plain,--check"]


@for_each("arguments", [("kegen",), ("doctr",), ("peers", "vefiry"), ("sael",)])
def test_a_misspelt_command_is_corrected(arguments: tuple[str, ...]) -> None:
    done = run(CLI, *arguments)
    assert done.returncode == 2
    assert b"Did you mean" in done.stderr


def test_completion_knows_the_verbs() -> None:
    env = os.environ | {
        "_XKEYMSG_COMPLETE": "bash_complete",
        "COMP_WORDS": "xkeymsg s",
        "COMP_CWORD": "1",
    }
    assert run(CLI, env=env).stdout.decode().split() == ["plain,seal", "plain,stream"]
