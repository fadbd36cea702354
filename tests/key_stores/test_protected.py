"""Seed files with a passphrase: the key store, the programs, and hostile files."""

from __future__ import annotations

import getpass
import json
import os
import pty
import resource
import signal
import stat
import sys
import warnings
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.daemons.receiver.conftest import OBSERVE, ROUTE, STDOUT, ready
from tests.key_stores.test_cli import PAIR, run
from tests.running import DEADLINE, Program
from xkeymsg import KeyStoreError, XKey, connect, open_key, open_signer, read_seed, write_seed
from xkeymsg.key_stores import passphrases
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.key_stores.protected import ProtectedProvider, change_passphrase
from xkeymsg.nkey import Prefix, encode_seed, is_seed
from xkeymsg.protected_seed import Cost, ProtectedSeed, protect
from xkeymsg.testing import NATSServer
from xkeymsg.testing.key_stores import check_provider, check_writable

PHRASE = "correct horse battery staple"
CHEAP = Cost(1, 8192)


@pytest.fixture
def phrase(tmp_path: Path) -> Path:
    path = tmp_path / "phrase"
    path.write_text(f"{PHRASE}\n")
    path.chmod(0o600)
    return path


def seed_file(folder: Path, seed: str = PAIR.seed(), name: str = "own.seed") -> Path:
    path = folder / name
    line = protect(seed, PHRASE, salt=os.urandom(16), cost=CHEAP)
    path.write_text(f"# a comment\n\n{line}\n")
    path.chmod(0o600)
    return path


def store(phrase: Path, path: Path) -> str:
    return f"protected:passphrase=file:{phrase} {path}"


def test_a_protected_key_opens_with_its_passphrase(tmp_path: Path, phrase: Path) -> None:
    path = seed_file(tmp_path)
    assert open_key(store(phrase, path)).public == PAIR.public
    user = seed_file(tmp_path, encode_seed(Prefix.USER, bytes(range(32))), "user")
    assert open_signer(store(phrase, user)).public_key.startswith(b"U")


def test_the_provider_keeps_the_contract_of_key_stores(tmp_path: Path, phrase: Path) -> None:
    provider = ProtectedProvider()
    address = store(phrase, seed_file(tmp_path)).removeprefix("protected:")
    check_provider(provider, address, bad_address=f"passphrase=file:{phrase} {tmp_path / 'no'}")
    first, second = (f"passphrase=file:{phrase} {tmp_path / name}" for name in ("a", "b"))
    check_writable(provider, first, other=second)


def test_a_wrong_passphrase_opens_nothing(tmp_path: Path, phrase: Path) -> None:
    path = seed_file(tmp_path)
    phrase.write_text("another\n")
    with pytest.raises(KeyStoreError, match="wrong passphrase") as caught:
        open_key(store(phrase, path))
    assert "another" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\n", b"x" * 1025])
def test_an_invalid_passphrase_is_refused(tmp_path: Path, phrase: Path, content: bytes) -> None:
    path = seed_file(tmp_path)
    phrase.write_bytes(content)
    with pytest.raises(KeyStoreError, match="passphrase"):
        open_key(store(phrase, path))


def test_a_carriage_return_before_the_last_line_feed_is_removed(
    tmp_path: Path, phrase: Path
) -> None:
    phrase.write_bytes(PHRASE.encode() + b"\r\n")
    assert open_key(store(phrase, seed_file(tmp_path))).public == PAIR.public


def test_the_same_file_is_opened_once_in_a_process(
    tmp_path: Path, phrase: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = store(phrase, seed_file(tmp_path))
    assert open_key(place).public == PAIR.public
    monkeypatch.setattr(ProtectedSeed, "release", lambda *_: pytest.fail("derived again"))
    phrase.unlink()
    assert open_key(place).public == PAIR.public


@pytest.mark.parametrize(
    "source", ["environment:X", "argument", "pkcs11:token=x", "", "protected:x"]
)
def test_a_passphrase_comes_from_no_other_store(tmp_path: Path, source: str) -> None:
    path = seed_file(tmp_path)
    with pytest.raises(KeyStoreError, match="expected file:, systemd:"):
        open_key(f"protected:passphrase={source} {path}")


def test_a_passphrase_file_that_others_read_is_refused(tmp_path: Path, phrase: Path) -> None:
    phrase.chmod(0o644)
    with pytest.raises(KeyStoreError, match="others can read it"):
        open_key(store(phrase, seed_file(tmp_path)))


def test_the_group_may_read_a_quoted_path_on_demand(tmp_path: Path, phrase: Path) -> None:
    path = seed_file(tmp_path, name="own key.seed")
    path.chmod(0o640)
    given = f"protected:passphrase=file:{phrase}"
    with pytest.raises(KeyStoreError, match="others can read it"):
        open_key(f"{given} '{path}'")
    assert open_key(f"{given} group_may_read '{path}'").public == PAIR.public


@for_each(
    ("address", "text"),
    [
        ("", "expected a path"),
        ("passphrase=file:x", "expected a path"),
        ("passphrase='x", "unclosed quote"),
        ("passphrase=file:x other path", "expected passphrase=STORE"),
    ],
)
def test_an_invalid_address_is_refused(address: str, text: str) -> None:
    with pytest.raises(KeyStoreError, match=text):
        open_key(f"protected:{address}")


def test_a_plain_seed_file_is_not_protected(tmp_path: Path, phrase: Path) -> None:
    write_seed(tmp_path / "plain", PAIR)
    with pytest.raises(KeyStoreError, match="not protected"):
        open_key(store(phrase, tmp_path / "plain"))


def test_other_readers_say_that_a_file_is_protected(tmp_path: Path) -> None:
    path = seed_file(tmp_path)
    with pytest.raises(KeyStoreError, match="protected with a passphrase"):
        read_seed(path)
    with pytest.raises(KeyStoreError, match="protected with a passphrase"):
        FileProvider().keys(str(path))


def test_a_hostile_file_takes_no_memory(tmp_path: Path, phrase: Path) -> None:
    path = seed_file(tmp_path)
    fields = path.read_text().splitlines()[-1].split(".")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for passes, kib in ((1, 262145), (1, 999_999), (17, 8192), (5, 262144), (99, 262144)):
        path.write_text(".".join([fields[0], str(passes), str(kib), *fields[3:]]) + "\n")
        with pytest.raises(KeyStoreError, match="out of bounds"):
            open_key(store(phrase, path))
    for memory in ("4294967296", "9" * 500):
        path.write_text(".".join([fields[0], "1", memory, *fields[3:]]) + "\n")
        with pytest.raises(KeyStoreError, match="malformed"):
            open_key(store(phrase, path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_neither_the_seed_nor_the_passphrase_is_shown(tmp_path: Path) -> None:
    line = seed_file(tmp_path).read_text().splitlines()[-1]
    parsed = ProtectedSeed.parse(line)
    assert PAIR.seed() not in repr(parsed) + line
    assert line.split(".")[-1] not in repr(parsed)
    assert not is_seed(line)


# --- programs -------------------------------------------------------------------------------------


def test_keygen_protects_a_new_seed(tmp_path: Path, phrase: Path) -> None:
    path = tmp_path / "new.seed"
    source = f"file:{phrase}"
    public = run("keygen", "--out", path, "--passphrase-store", source).strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ".3.65536." in path.read_text()
    assert run("pub", path).strip() == public
    assert run("pub", "--fingerprint", path).strip() == XKey.parse(public).fingerprint
    assert str(open_key(store(phrase, path)).public) == public
    assert "protected with a passphrase" in run("key", "show", "-K", store(phrase, path))
    operator = run("keygen", "--type", "operator", "--passphrase-store", source)
    assert operator.startswith("# public key: O")
    assert "\nxks1." in operator


def test_pub_names_the_file_with_a_malformed_line(tmp_path: Path) -> None:
    path = seed_file(tmp_path)
    path.write_text("xks1.x\n")
    said = " ".join(run("pub", path, code=1).split())
    assert "own.seed: the protected seed is malformed" in said


def test_a_protected_key_seals_and_opens(tmp_path: Path, phrase: Path) -> None:
    place, sealed = store(phrase, seed_file(tmp_path)), tmp_path / "sealed"
    run("seal", "-K", place, "--to", PAIR.public, "-o", sealed, "-", data=b"hello")
    assert run("open", "-K", place, "--from", PAIR.public, sealed) == "hello"


def test_a_seed_file_may_be_a_pipe(tmp_path: Path) -> None:
    report, sealed = tmp_path / "report", tmp_path / "sealed"
    report.write_text("hello")
    given = ("--seed", "/dev/stdin", "-o", sealed, report)
    seed = f"{PAIR.seed()}\n".encode()
    run("seal", "--to", PAIR.public, *given, data=seed)
    opened = run("open", "--seed", "/dev/stdin", "--from", PAIR.public, sealed, data=seed)
    assert opened == "hello"


def test_a_passphrase_is_added_changed_and_removed(tmp_path: Path, phrase: Path) -> None:
    path, other = tmp_path / "own.seed", tmp_path / "other"
    write_seed(path, PAIR)
    other.write_text("another one\n")
    other.chmod(0o600)
    old, new = f"file:{phrase}", f"file:{other}"
    assert run("key", "passphrase", path, "--new", old).strip() == str(PAIR.public)
    first = path.read_text()
    assert PAIR.seed() not in first
    run("key", "passphrase", path, "--old", new, "--new", old, code=1)
    assert path.read_text() == first
    run("key", "passphrase", path, "--old", old, "--new", new)
    assert open_key(store(other, path)).public == PAIR.public
    run("key", "passphrase", path, "--old", new, "--remove")
    assert read_seed(path).public == PAIR.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not (tmp_path / "own.seed.new").exists()


def test_without_a_terminal_it_says_what_to_use(tmp_path: Path) -> None:
    path = seed_file(tmp_path)
    if os.isatty(0) or can_open_terminal():
        pytest.skip("this process has a terminal")
    said = run("key", "show", "-K", f"protected:{path}", code=1)
    assert "no terminal to ask for the passphrase" in " ".join(said.split())


def can_open_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def typed(*words: str | Path, lines: list[str], code: int = 0) -> str:
    """Run a program in a terminal of its own, and type lines."""
    child, terminal = pty.fork()
    if not child:
        os.execv(sys.executable, [sys.executable, "-m", "xkeymsg.cli", *map(str, words)])
    said = b""
    try:
        for line in lines:
            said += until_prompt(terminal)
            os.write(terminal, line.encode("utf-8", "surrogateescape") + b"\n")
        while more := read_some(terminal):
            said += more
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == code, said
    return said.decode()


def until_prompt(terminal: int) -> bytes:
    said = b""
    while not said.endswith(b": "):
        more = read_some(terminal)
        assert more, said
        said += more
    return said


def read_some(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1024)
    except OSError:  # the program has ended
        return b""


@pytest.mark.timeout(10 * DEADLINE)
def test_a_passphrase_is_typed_and_not_echoed(tmp_path: Path) -> None:
    path = tmp_path / "own.seed"
    said = typed("keygen", "--passphrase", "--out", path, lines=[PHRASE, PHRASE])
    assert PHRASE not in said
    public = run("pub", path).strip()
    shown = typed("key", "show", "-K", f"protected:{path}", lines=[PHRASE])
    assert public in shown
    assert PHRASE not in shown
    sealed = tmp_path / "sealed"
    sealed.write_bytes(b"")
    typed("seal", "--seed", path, "--to", public, "-o", sealed, path, lines=[PHRASE])
    assert sealed.read_bytes().startswith(b"xkm1")


async def test_a_daemon_opens_messages_and_keeps_its_key_on_reload(
    tmp_path: Path, phrase: Path
) -> None:
    (tmp_path / "peers.toml").write_text(
        f'[peers.a]\nxkey = "{PAIR.public}"\nsubjects = ["orders.>"]\n'
    )
    place = store(phrase, seed_file(tmp_path))
    config = tmp_path / "receiver.toml"
    with NATSServer() as server:
        config.write_text(
            f'[key]\nkey_store = {json.dumps(place)}\n[trust]\npeers = "peers.toml"\n'
            f'[nats]\nservers = ["{server.url}"]\n' + OBSERVE + ROUTE + STDOUT
        )
        with Program("receiver", "--config", str(config)) as receiver:
            ready(receiver)
            phrase.unlink()  # as a credential that is gone
            receiver.process.send_signal(signal.SIGHUP)
            receiver.wait_for("reloaded what=key changed=false", "err")
            async with connect(server.url, key=PAIR, trust={PAIR.public}) as client:
                await client.publish("orders.new", b"7 lamps", to=PAIR.public)
                await client.flush()
            assert json.loads(receiver.wait_for("orders.new"))["data"] == "7 lamps"
            receiver.end()
            assert PHRASE not in "\n".join(receiver.output("err"))


def test_a_daemon_accepts_a_protected_key(tmp_path: Path, phrase: Path) -> None:
    path = seed_file(tmp_path)
    (tmp_path / "peers.toml").write_text(f'[peers.a]\nxkey = "{PAIR.public}"\nsubjects = ["a.>"]\n')
    config = tmp_path / "receiver.toml"
    place = store(phrase, path)
    config.write_text(
        f"[key]\nkey_store = {json.dumps(place)}\n"
        f'[trust]\npeers = "{tmp_path / "peers.toml"}"\n'
        '[sinks.out]\nkind = "stdout"\n'
        '[[route]]\nname = "r"\nsubject = "a.>"\nsink = "out"\n'
    )
    said = run("--config", config, "--check", module="xkeymsg.daemons.receiver")
    assert "is valid" in said
    phrase.write_text("another\n")
    said = run("--config", config, "--check", module="xkeymsg.daemons.receiver", code=1)
    assert "wrong passphrase" in " ".join(said.split())


@pytest.mark.timeout(10 * DEADLINE)
@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["secret\udcff"], "passphrase: not UTF-8"),
        (["secret", "Secret"], "the two passphrases differ"),
        (["", ""], "one line of 1 to 1024 bytes"),
    ],
)
def test_what_is_typed_wrongly_is_refused_and_not_shown(
    tmp_path: Path, lines: list[str], reason: str
) -> None:
    said = typed("keygen", "--passphrase", "--out", tmp_path / "x", lines=lines, code=1)
    assert reason in said
    assert "ecret" not in said
    assert "Traceback" not in said
    assert not (tmp_path / "x").exists()


def test_a_terminal_that_would_show_the_passphrase_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shows(prompt: str) -> str:
        warnings.warn("it would be shown", getpass.GetPassWarning, stacklevel=2)
        return prompt

    monkeypatch.setattr(passphrases, "TTY", "/dev/null")
    monkeypatch.setattr(getpass, "getpass", shows)
    warnings.simplefilter("ignore")
    with pytest.raises(KeyStoreError, match="cannot hide"):
        open_key(f"protected:{seed_file(tmp_path)}")


def test_a_file_that_another_user_has_prepared_does_not_get_the_seed(
    tmp_path: Path, phrase: Path
) -> None:
    """`own.seed.new` exists, and others can read it."""
    path, other = seed_file(tmp_path), tmp_path / "own.seed.new"
    other.touch(mode=0o666)
    other.chmod(0o666)
    with other.open("rb") as prepared:
        change_passphrase(path, f"file:{phrase}", None)
        assert prepared.read() == b""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_seed(path).public == PAIR.public
