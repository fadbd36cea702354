"""`xkeymsg seal` and `open` with names from a peers file, and with recipients files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.running import run
from xkeymsg import Recipient, Sealer, XKeyPair, xkv1
from xkeymsg.nkey import Prefix, UserKey, encode_seed
from xkeymsg.trust.stores.file import write_seed

CLI = "xkeymsg.cli"
PAIRS = {
    name: XKeyPair(bytes([number]) * 32)
    for number, name in enumerate(("alice", "bob", "carol", "escrow", "ursula"), 1)
}
USER = UserKey(encode_seed(Prefix.USER, bytes([9]) * 32))
PEERS = f"""
[peers.alice]
xkey = "{PAIRS["alice"].public}"
[peers.bob]
xkey = "{PAIRS["bob"].public}"
permissions = ["audit"]
[peers.carol]
xkey = "{PAIRS["carol"].public}"
permissions = ["audit", "clinic"]
[peers.ursula]
xkey = "{PAIRS["ursula"].public}"
user = "{USER.public}"
always_signs = true
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, pair in PAIRS.items():
        write_seed(tmp_path / f"{name}.seed", pair)
    (tmp_path / "peers.toml").write_text(PEERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seal(*arguments: str, data: bytes = b"hello", by: str = "alice") -> bytes:
    done = run(CLI, "seal", "--seed", f"{by}.seed", *arguments, data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def opened(sealed: bytes, who: str, *arguments: str) -> tuple[int, bytes, str]:
    done = run(CLI, "open", "--seed", f"{who}.seed", *arguments, data=sealed)
    return done.returncode, done.stdout, done.stderr.decode().removeprefix("xkeymsg: ").strip()


def readers(sealed: bytes) -> list[str]:
    """Whoever can open a message of alice's."""
    sender = ("--from", str(PAIRS["alice"].public))
    return [name for name in PAIRS if opened(sealed, name, *sender)[0] == 0]


def test_names_and_permissions_come_from_the_peers_file(folder: Path) -> None:
    assert readers(seal("--peers", "peers.toml", "--to", "bob")) == ["bob"]
    assert readers(seal("--peers", "peers.toml", "--to", "perm:audit")) == ["bob", "carol"]
    several = ("--to", str(PAIRS["alice"].public), "--to", "bob", "--to", "perm:audit")
    assert readers(seal("--peers", "peers.toml", *several)) == ["alice", "bob", "carol"]


def test_a_recipients_file_has_keys_names_and_comments(folder: Path) -> None:
    (folder / "team").write_text(f"\ufeff# the team\n\n  bob  \r\n# carol\n{PAIRS['alice'].public}")
    (folder / "more").write_text("carol\nbob\n")
    peers = ("--peers", "peers.toml", "-R", "team")
    assert readers(seal(*peers)) == ["alice", "bob"]
    assert readers(seal(*peers, "--recipients-file", "more")) == ["alice", "bob", "carol"]
    assert readers(seal(*peers, "--to", "carol")) == ["alice", "bob", "carol"]


def test_everything_is_also_sealed_to_always_to(folder: Path) -> None:
    escrow = f'always_to = ["escrow"]\n{PEERS}[peers.escrow]\nxkey = "{PAIRS["escrow"].public}"\n'
    (folder / "peers.toml").write_text(escrow)
    key = str(PAIRS["bob"].public)
    assert readers(seal("--peers", "peers.toml", "--to", "bob")) == ["bob", "escrow"]
    assert readers(seal("--peers", "peers.toml", "--to", key)) == ["bob", "escrow"]
    assert readers(seal("--to", key)) == ["bob"]
    refused = run(CLI, "seal", "--xkv1", "--peers", "peers.toml", "--to", "bob", data=b"x")
    assert refused.returncode == 2
    assert b"including always_to" in refused.stderr


def test_permissions_of_a_policy_are_held_by_peers(folder: Path) -> None:
    (folder / "policy.toml").write_text(
        '[[rule]]\npattern = "/name"\nreaders = ["audit", "clinic"]\n'
        '[[rule]]\npattern = "/note"\nreaders = ["clinic"]\n'
    )
    policy, peers = ("--policy", "policy.toml"), ("--peers", "peers.toml")
    sealed = seal(*policy, *peers, data=b'{"name": "A", "note": "B"}')
    for name, seen in (("bob", {"name": "A"}), ("carol", {"name": "A", "note": "B"})):
        code, output, _ = opened(sealed, name, "--from", str(PAIRS["alice"].public))
        assert (code, json.loads(output)) == (0, seen)
    (folder / "policy.toml").write_text('[[rule]]\npattern = "/**"\nreaders = ["clinics"]\n')
    done = run(CLI, "seal", *policy, *peers, data=b"{}")
    assert done.returncode == 1
    assert b"no peer holds 'clinics'; did you mean 'perm:clinic'?" in done.stderr
    assert b"list it in the policy's allow_unread" in done.stderr
    assert run(CLI, "seal", *policy, data=b"{}").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--to", "bob"), 2, "names require --peers FILE"),
        (("--to", "bobb", "--peers", "peers.toml"), 1, "did you mean 'bob'?"),
        (("--to", PAIRS["bob"].seed()), 2, "not a secret seed"),
        (("--to", PAIRS["bob"].seed(), "--peers", "peers.toml"), 2, "not a secret seed"),
        (("--to", f"{PAIRS['bob'].public}"[:-1], "--peers", "peers.toml"), 2, "56 characters"),
        (("-R", "list"), 1, "list, line 2: a public key X… has 56 characters, not 3; names"),
        (("-R", "list", "--peers", "peers.toml"), 1, "list, line 4: expected a public key X…, not"),
        (("-R", "none"), 1, "none: expected at least one recipient"),
        (("-R", "missing"), 1, "cannot read missing: No such file"),
        (("-R", "open"), 1, "open: world-writable"),
        (("--policy", "list", "-R", "list"), 2, "--policy cannot be combined with --to, -R"),
        (("--xkv1", "-R", "list"), 1, "list, line 2"),
        ((), 2, "no recipients: give --to, -R, or --policy"),
    ],
)
def test_an_error_names_its_place_and_never_a_seed(
    folder: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (folder / "list").write_text(f"#\nbob\n\n{PAIRS['bob'].seed()}\n")
    (folder / "none").write_text("# nobody\n")
    (folder / "open").write_text(f"{PAIRS['bob'].public}\n")
    (folder / "open").chmod(0o666)
    done = run(CLI, "seal", *arguments, data=b"x")
    shown = " ".join(done.stderr.decode().split())
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in shown
    assert PAIRS["bob"].seed()[4:30] not in shown


def test_a_sender_is_allowed_by_name_whatever_its_subjects(folder: Path) -> None:
    sealed = seal("--to", str(PAIRS["bob"].public))
    peers = ("--peers", "peers.toml")
    assert opened(sealed, "bob", *peers, "--from", "alice")[:2] == (0, b"hello")
    assert opened(sealed, "bob", *peers, "--from", "carol", "--from", "alice")[0] == 0
    assert opened(sealed, "bob", *peers, "--from", "carol")[::2] == (
        3,
        "sender_not_admitted: sealed by a key other than --from; `xkeymsg inspect` shows it",
    )
    assert opened(sealed, "bob", *peers, "--from", "alcie")[::2] == (
        1,
        "unknown_key: no peer is called 'alcie'; did you mean 'alice'?",
    )
    boxed = seal("--xkv1", *peers, "--to", "bob")
    assert opened(boxed, "bob", *peers, "--from", "alice")[:2] == (0, b"hello")


def test_a_peer_that_always_signs_is_bound_to_it_by_name_and_by_key(folder: Path) -> None:
    """Otherwise whoever stole the curve key alone could write in the name of this user."""
    ursula, to = PAIRS["ursula"], [Recipient(PAIRS["bob"].public)]
    other = UserKey(encode_seed(Prefix.USER, bytes([8]) * 32))
    signed, unsigned, stolen = (
        sealer.seal(b"hello", to=to, subject="file")
        for sealer in (Sealer(ursula, signer=USER), Sealer(ursula), Sealer(ursula, signer=other))
    )
    nameless = xkv1.seal(b"hello", key=ursula, to=PAIRS["bob"].public)
    for name in ("ursula", str(ursula.public)):
        sender = ("--peers", "peers.toml", "--from", name)
        assert opened(signed, "bob", *sender)[:2] == (0, b"hello")
        assert opened(unsigned, "bob", *sender)[:2] == (3, b"")
        code, output, said = opened(stolen, "bob", *sender)
        assert (code, output) == (3, b"")
        assert "identity is not a user of the sender's key" in said
        assert opened(nameless, "bob", *sender)[:2] == (3, b"")


def test_a_peer_called_anyone_does_not_admit_everybody(folder: Path) -> None:
    sealed = seal("--to", str(PAIRS["bob"].public))
    text = PEERS.replace("peers.carol", "peers.anyone")
    (folder / "peers.toml").write_text(text)
    assert opened(sealed, "bob", "--from", "anyone")[0] == 0
    assert opened(sealed, "bob", "--peers", "peers.toml", "--from", "anyone")[:2] == (2, b"")


def test_anyone_beside_another_sender_is_refused(folder: Path) -> None:
    sealed = seal("--to", str(PAIRS["bob"].public))
    key = str(PAIRS["alice"].public)
    code, output, said = opened(sealed, "bob", "--from", "anyone", "--from", key)
    assert (code, output) == (2, b"")
    assert "cannot be combined" in said
