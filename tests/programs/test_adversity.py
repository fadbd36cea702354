"""Programs where something around them is not as it should be."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.programs.test_tutorial import BOB, key_of, receiver, send
from tests.running import DEADLINE, Program, run
from tests.transport.authority import Nkey, Operator
from xkeymsg import XKeyPair, xkv1
from xkeymsg.daemons.common.terminal import say
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed


@pytest.fixture
def seed(tmp_path: Path) -> str:
    write_seed(tmp_path / "bob.seed", BOB)
    return str(tmp_path / "bob.seed")


def logs_in(program: Program) -> bool:
    """Wait until a receiver has logged in; return False if it has ended instead."""
    end = time.monotonic() + DEADLINE
    while not program.output() and time.monotonic() < end:
        if program.process.poll() is not None:
            return False
        time.sleep(0.01)
    return True


def test_a_receiver_whose_login_expires_says_so_and_returns_with_another(
    tmp_path: Path, seed: str
) -> None:
    operator, creds = Operator(), tmp_path / "user.creds"
    creds.write_text(operator.creds(Nkey()))
    login = ("--creds", str(creds))
    arguments = (*login, "--seed", seed, "--count", "1")
    with NATSServer(operator.config) as server, contextlib.ExitStack() as stack:
        began = time.monotonic()
        with receiver(server, *arguments) as first:
            key_of(first)
        start = time.monotonic() - began  # what a receiver takes before it has logged in
        for factor in (2, 8, 32):
            creds.write_text(operator.creds(Nkey(), exp=int(time.time() + 1 + factor * start)))
            bob = stack.enter_context(receiver(server, *arguments))
            if logs_in(bob):
                break
        key_of(bob)
        assert "expired" in bob.wait_for("receiver: connection: ", "err")
        bob.wait_for("refused the login", "err")
        creds.write_text(operator.creds(Nkey()))
        bob.wait_for("re-established", "err")
        send(server, str(BOB.public), "hello", *login)
        assert bob.wait() == 0


def test_a_terminal_without_the_characters_of_a_message_gets_escapes(
    server: NATSServer, seed: str
) -> None:
    env = os.environ | {"PYTHONIOENCODING": "latin-1"}
    with Program(
        "receiver", "-s", server.url, "--seed", seed, "--count", "2", env=env, fresh=True
    ) as bob:
        key_of(bob)
        send(server, str(BOB.public), "世界")
        assert bob.wait_for("The sender") == 'The sender sent us "\\u4e16\\u754c"'
        send(server, str(BOB.public), "again")
        assert bob.wait() == 0


def waiting_in(pipe: int) -> int:
    """Return how many bytes nobody has read yet."""
    size = fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))
    return int.from_bytes(size, sys.byteorder)


def test_a_second_signal_ends_a_receiver_whose_output_nobody_reads(
    server: NATSServer, seed: str
) -> None:
    reading, writing = os.pipe()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    flags = ("-s", server.url, "--raw", "--seed", seed)
    try:
        with Program("receiver", *flags, env=env, stdout=writing, fresh=True) as bob:
            bob.wait_for("public key", "err")
            done = run("sender", str(BOB.public), "-s", server.url, data=bytes(500_000))
            assert done.returncode == 0
            while not waiting_in(reading):  # more than a pipe holds: it is in the middle of writing
                time.sleep(0.01)
            bob.process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                bob.process.wait(0.5)
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == -signal.SIGTERM
    finally:
        os.close(reading)
        os.close(writing)


def test_what_a_server_or_a_file_says_cannot_act_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("receiver", "-ERR '\x1b]0;owned\x07'\nsender: sent 1 byte")
    assert capsys.readouterr().err == "receiver: -ERR '\\x1b]0;owned\\x07'\\nsender: sent 1 byte\n"


@for_each(
    "arguments",
    [
        ("xkeymsg.cli", "pub", "SEED"),
        ("receiver", "--seed", "SEED"),
        ("sender", str(BOB.public), "x", "--seed", "SEED"),
        ("receiver", "--nkey", "SEED"),
    ],
)
def test_a_seed_in_the_place_of_a_file_is_not_repeated(arguments: tuple[str, ...]) -> None:
    seed = XKeyPair.generate().seed()
    done = run(*(seed if each == "SEED" else each for each in arguments))
    assert done.returncode == 1
    assert b"not a secret seed" in done.stderr
    assert seed[5:20].encode() not in done.stdout + done.stderr


@pytest.mark.parametrize("before", ["nothing", "open file", "link"])
def test_an_opened_file_is_its_owners_alone_whatever_was_there(
    tmp_path: Path, seed: str, before: str
) -> None:
    target, other = tmp_path / "opened", tmp_path / "other"
    other.write_text("untouched")
    if before == "open file":
        target.write_text("old")
        target.chmod(0o644)
    elif before == "link":
        target.symlink_to(other)
    sealed = xkv1.seal(b"secret", key=BOB, to=BOB.public)
    open_ = ("open", "--from", str(BOB.public), "--seed", seed, "-o", str(target))
    assert run("xkeymsg.cli", *open_, data=sealed).returncode == 0
    assert target.read_bytes() == b"secret"
    assert stat.S_IMODE(target.lstat().st_mode) == 0o600
    assert other.read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bob.seed", "opened", "other"]


def test_a_device_is_written_to_and_not_replaced(seed: str) -> None:
    sealed = xkv1.seal(b"secret", key=BOB, to=BOB.public)
    open_ = ("open", "--from", str(BOB.public), "--seed", seed, "-o", "/dev/null")
    assert run("xkeymsg.cli", *open_, data=sealed).returncode == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def _in_shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", f"{sys.executable} -m {command}"],
        check=False,
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
    )


def test_a_closed_stdout_is_a_failure_and_not_a_lost_key() -> None:
    done = _in_shell("xkeymsg.cli keygen >&-")
    assert done.returncode == 1
    assert done.stderr == b"xkeymsg: stdout is closed, and output would be lost: redirect it\n"


def test_a_closed_stdin_is_said(seed: str) -> None:
    done = _in_shell(f"xkeymsg.cli seal --seed {seed} --to {BOB.public} <&- >/dev/null")
    assert done.returncode == 1
    assert done.stderr == b"xkeymsg: stdin is closed\n"


def test_a_sender_takes_no_other_file_for_a_closed_stdin(
    server: NATSServer, seed: str, tmp_path: Path
) -> None:
    (tmp_path / "peers.toml").write_text(f'[peers.bob]\nxkey = "{BOB.public}"\n')
    config = tmp_path / "sender.toml"
    config.write_text(
        f'[key]\nseed_file = "{seed}"\n[trust]\npeers = "peers.toml"\n'
        f'[nats]\nservers = ["{server.url}"]\n'
        '[[route]]\nname = "r"\nstdin = true\nto = "a"\nrecipients = ["bob"]\noutput = "core"\n'
    )
    done = _in_shell(f"sender --config {config} <&- >/dev/null")
    assert done.returncode == 1
    assert b"cannot read stdin: Bad file descriptor" in done.stderr
