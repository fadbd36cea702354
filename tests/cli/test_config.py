"""`xkeymsg config init`: its files pass --check, and nothing is overwritten."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from tests.daemons.common.example import DEPLOY
from tests.running import run
from xkeymsg import Peers, XKeyPair
from xkeymsg.trust.stores.file import read_seed

CLI = "xkeymsg.cli"
DAEMONS = ("receiver", "sender")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str) -> tuple[int, str, str]:
    done = run(CLI, "config", "init", *arguments)
    return done.returncode, done.stdout.decode().strip(), done.stderr.decode()


def check(daemon: str, path: str) -> str:
    done = run(f"xkeymsg.daemons.{daemon}", "--config", path, "--check")
    assert done.returncode == 0, done.stderr
    return done.stderr.decode()


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_new_configuration_passes_the_check_and_has_every_setting(
    folder: Path, daemon: str
) -> None:
    code, public, said = init(daemon)
    assert code == 0
    assert f"{daemon}.toml is valid" in check(daemon, f"{daemon}.toml")
    seed = folder / f"{daemon}.seed"
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600
    pair = read_seed(seed)
    assert public == str(pair.public)
    assert public in said
    assert f"xkeymsg-{daemon} --config {daemon}.toml --check" in said
    assert pair.seed() not in public + said
    # All lines of the example are there; only those of the folder differ.
    ours, example = ((place / f"{daemon}.toml").read_text() for place in (folder, DEPLOY))
    lines = list(zip(ours.splitlines(), example.splitlines(), strict=True))
    assert sum(one != other for one, other in lines) == 3
    text = tomllib.loads(ours)
    assert text["key"] == {"seed_file": f"{daemon}.seed"}


def test_a_new_peers_file_lets_nobody_send(folder: Path) -> None:
    assert init("receiver")[0] == 0
    [peer] = Peers.load(folder / "peers.toml").peers.values()
    assert (peer.name, peer.subjects, peer.permissions) == ("receiver", (), ())
    assert stat.S_IMODE((folder / "received").stat().st_mode) == 0o700


def test_both_daemons_in_one_folder_know_each_other_after_the_shown_commands(folder: Path) -> None:
    (folder / "a b").mkdir()
    assert init("receiver", "-o", "a b/receiver.toml")[0] == 0
    code, public, said = init("sender", "-o", "a b/sender.toml")
    assert code == 0
    [line] = [each for each in said.splitlines() if "--subject" in each]
    assert line.endswith(f"peers add peers.toml sender {public} --subject 'sealed.orders.>'")
    added = run(CLI, "peers", "add", "a b/peers.toml", "sender", public,
                "--subject", "sealed.orders.>")  # fmt: skip
    assert added.returncode == 0
    for daemon in DAEMONS:
        check(daemon, f"a b/{daemon}.toml")
    peers = Peers.load(folder / "a b" / "peers.toml")
    sender, receiver = (tomllib.loads((folder / "a b" / f"{each}.toml").read_text())
                        for each in ("sender", "receiver"))  # fmt: skip
    [route] = sender["route"]
    assert [len(peers.resolve(name)) for name in route["recipients"]] == [1]
    to = route["to"].replace("{subject}", "orders.1")
    assert peers.admit(read_seed("a b/sender.seed").public, to, 0) is not None
    assert receiver["route"][0]["subject"] == "sealed.orders.>"


@pytest.mark.parametrize("daemon", DAEMONS)
def test_existing_files_are_used_and_never_changed(folder: Path, daemon: str) -> None:
    assert init(daemon)[0] == 0
    (folder / f"{daemon}.toml").rename(folder / "old.toml")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    code, public, _ = init(daemon, "-o", "new.toml")
    assert (code, public) == (0, str(read_seed(folder / f"{daemon}.seed").public))
    assert (folder / "new.toml").read_bytes() == before[folder / "old.toml"]
    assert {path: path.read_bytes() for path in before} == before
    code, output, said = init(daemon, "-o", "new.toml")
    assert (code, output) == (1, "")
    assert "new.toml already exists; give another file" in said


def test_what_cannot_be_used_or_written_is_an_error_and_leaves_no_configuration(
    folder: Path,
) -> None:
    (folder / "link.toml").symlink_to(folder / "elsewhere")
    seed = XKeyPair.generate().seed()
    (folder / "bad").mkdir()
    (folder / "bad" / "peers.toml").write_text(f'[peers.bob]\nxkey = "{seed}"\n')
    (folder / "other").mkdir()
    (folder / "other" / "peers.toml").write_text(
        f'[peers.bob]\nxkey = "{XKeyPair.generate().public}"\n'
    )
    for path, text in (
        ("link.toml", "link.toml: File exists"),
        ("bad/receiver.toml", "bad/peers.toml, line 2: this is a secret seed"),
        ("missing/receiver.toml", "cannot write missing/receiver.seed: No such file or directory"),
        ("other/sender.toml", "peers.toml has no peer 'receiver' to seal to: xkeymsg peers add"),
        (seed, "expected a file name, not a secret seed"),
    ):
        daemon = "sender" if path.startswith("other") else "receiver"
        code, output, said = init(daemon, "-o", path)
        assert (code, output) == (1, "")
        assert text in said
        assert seed[4:30] not in said
        assert not (folder / path).exists()


def test_settings_are_described() -> None:
    done = run(CLI, "config", "describe", "receiver", "route.replay_bytes", "attempts")
    said = done.stdout.decode()
    assert done.returncode == 0
    assert "[[route]]" in said
    assert "route.replay_bytes: integer, at least 65,536; default: 67108864\n" in said
    assert "route.replay_bytes_unadmitted: " in said
    assert "route.attempts: integer; default: 5\n" in said
    assert "route.subject:" not in said
    for daemon in ("receiver", "sender"):
        everything = run(CLI, "config", "describe", daemon).stdout.decode()
        assert "\n[[route]]  " in everything
        assert "  nats.creds: file; default: none\n" in everything
        assert "  route.name: name: letters, digits, _ and -; required\n" in everything
    done = run(CLI, "config", "describe", "sender", "to", "colour")
    assert done.returncode == 1
    assert done.stderr == (
        b"xkeymsg: no setting of the sender has colour in its name;"
        b" for all of them: xkeymsg config describe sender\n"
    )
