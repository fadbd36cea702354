"""The tutorial with our own programs: one reads, the other cannot, and nothing stops a receiver."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.running import DEADLINE, Program, run, until
from xkeymsg import Sealer, XKey, XKeyPair, xkv1
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

GREETING = "Receiver Public Key: "
BOB = XKeyPair(bytes(range(100, 132)))


def receiver(server: NATSServer, *arguments: str) -> Program:
    return Program("receiver", "--server", server.url, *arguments)


def send(server: NATSServer, key: str, text: str, *arguments: str) -> str:
    """Send and return what the sender said."""
    done = run("sender", key, text, "--server", server.url, *arguments)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    return done.stderr.decode()


def publish(server: NATSServer, line: bytes, payload: bytes = b"") -> None:
    """Publish raw bytes, as an attacker's own client would; return when the server has them."""
    with (
        socket.create_connection(("127.0.0.1", server.port), DEADLINE) as raw,
        raw.makefile("rb") as lines,
    ):
        raw.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n' + line + b"\r\n" + payload)
        raw.sendall(b"\r\nPING\r\n" if line else b"PING\r\n")
        while lines.readline() != b"PONG\r\n":
            pass


def key_of(program: Program) -> str:
    return program.wait_for(GREETING).removeprefix(GREETING)


@pytest.fixture
def seed(tmp_path: Path) -> str:
    write_seed(tmp_path / "bob.seed", BOB)
    return str(tmp_path / "bob.seed")


def test_the_named_receiver_reads_and_the_other_goes_on(server: NATSServer) -> None:
    with receiver(server) as bob, receiver(server) as eve:
        key = key_of(bob)
        eve_key = key_of(eve)
        said = send(server, key, "Hello Secure World")
        assert bob.wait_for("The sender") == 'The sender sent us "Hello Secure World"'
        failure = eve.wait_for("could not open", "err")
        assert "authentication" in failure
        assert '"secure.data"' in failure
        send(server, eve_key, "Hello Eve")
        assert eve.wait_for("The sender") == 'The sender sent us "Hello Eve"'
        sender_key = said.split(" from ")[1].split()[0]
    assert f"Received message from {sender_key}" in bob.output()


def test_the_wire_is_the_tutorials(server: NATSServer, seed: str) -> None:
    with receiver(server, "--json", "--seed", seed) as bob:
        bob.wait_for("public key", "err")
        alice = XKeyPair.generate()
        sealed = xkv1.seal(b"by hand", key=alice, to=BOB.public)
        header = b"NATS/1.0\r\nsender: " + str(alice.public).encode() + b"\r\n\r\n"
        sizes = f"{len(header)} {len(header) + len(sealed)}".encode()
        publish(server, b"HPUB secure.data " + sizes, header + sealed)
        line = json.loads(bob.wait_for("secure.data"))
    assert line == {"subject": "secure.data", "sender": str(alice.public), "data": "by hand"}


def test_xkm1_reaches_several_and_is_bound_to_its_subject(server: NATSServer, seed: str) -> None:
    with receiver(server, "--json", "--seed", seed) as bob, receiver(server) as carol:
        bob.wait_for("public key", "err")
        said = send(server, str(BOB.public), "for both", "--to", key_of(carol))
        line = json.loads(bob.wait_for("for both"))
        assert line["sender"] in said
        assert carol.wait_for("The sender") == 'The sender sent us "for both"'
        replayed = XKeyPair.generate()
        envelope = Sealer(replayed).seal(b"x", to=[BOB.public], subject="secure.data")
        moved = Sealer(replayed).seal(b"x", to=[BOB.public], subject="secure.other")
        for data, code in ((envelope, None), (envelope, "replay"), (moved, "subject_mismatch")):
            publish(server, b"PUB secure.data %d" % len(data), data)
            if code is None:
                assert json.loads(bob.wait_for("secure.data"))["sender"] == str(replayed.public)
            else:
                assert f": {code}: " in bob.wait_for("could not open", "err")


def test_json_shows_what_is_not_text_in_base64(server: NATSServer, seed: str) -> None:
    with receiver(server, "--json", "--seed", seed, "--count", "1") as bob:
        bob.wait_for("public key", "err")
        done = run("sender", str(BOB.public), "--server", server.url, data=b"\xff\x00")
        assert done.returncode == 0
        assert json.loads(bob.wait_for("{"))["data_base64"] == "/wA="
        assert bob.wait() == 0


def test_raw_is_the_bytes_and_nothing_else(server: NATSServer, seed: str) -> None:
    with receiver(server, "--raw", "--seed", seed, "--count", "2") as bob:
        bob.wait_for("public key", "err")
        send(server, str(BOB.public), "one,")
        send(server, str(BOB.public), "two")
        assert bob.wait() == 0
        assert bob.output() == ["one,two"]


def test_terminal_escapes_are_shown_and_not_sent_to_the_terminal(server: NATSServer) -> None:
    with receiver(server) as bob:
        send(server, key_of(bob), "\x1b]0;owned\x07\u202e")
        shown = bob.wait_for("The sender")
    assert shown == 'The sender sent us "\\x1b]0;owned\\x07\\u202e"'


def test_a_seed_file_keeps_the_key_and_its_absence_is_said(server: NATSServer, seed: str) -> None:
    with receiver(server, "--seed", seed) as bob:
        assert key_of(bob) == str(BOB.public)
    with receiver(server) as other:
        assert other.wait_for("--seed", "err")
        assert key_of(other) != str(BOB.public)
    said = send(server, str(BOB.public), "x", "--seed", seed)
    assert f"from {BOB.public}" in said
    assert "--seed" not in said


async def test_subject_and_queue(server: NATSServer, seed: str) -> None:
    flags = ("--subject", "orders.*", "--queue", "workers", "--seed", seed, "--json")
    with receiver(server, *flags) as one, receiver(server, *flags) as two:
        for program in (one, two):
            program.wait_for("public key", "err")
        for number in range(10):
            send(server, str(BOB.public), str(number), "--subject", "orders.new")
        # Core NATS delivers at most once: what is on its way at SIGTERM is lost.
        await until(lambda: len(one.output()) + len(two.output()) == 10)
        for program in (one, two):
            program.process.terminate()
            assert program.wait() == 0
        lines = [json.loads(line) for program in (one, two) for line in program.output()]
    assert sorted(line["data"] for line in lines) == [str(n) for n in range(10)]
    assert {line["subject"] for line in lines} == {"orders.new"}


@pytest.mark.parametrize(
    ("readable", "code"), [(True, 0), (False, 3)], ids=["all opened", "one not opened"]
)
def test_count_ends_it_and_the_exit_code_tells(
    server: NATSServer, seed: str, readable: bool, code: int
) -> None:
    with receiver(server, "--count", "2", "--seed", seed) as bob:
        key_of(bob)
        send(server, str(BOB.public), "one")
        send(server, str(BOB.public if readable else XKeyPair.generate().public), "two")
        assert bob.wait() == code


def test_wait_ends_it(server: NATSServer) -> None:
    done = run("receiver", "--server", server.url, "--wait", "100ms", "--count", "1")
    assert done.returncode == 1
    assert b"delivery: received 0 of 1 messages" in done.stderr
    assert run("receiver", "--server", server.url, "--wait", "100ms").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(server: NATSServer, number: signal.Signals) -> None:
    with receiver(server) as bob:
        key_of(bob)
        os.kill(bob.process.pid, number)
        assert bob.wait() == 0
        assert not [line for line in bob.output("err") if "Traceback" in line]


HOSTILE = {
    "no header": (b"PUB secure.data 5", b"hello"),
    "a header that is no key": (
        b"HPUB secure.data 26 31",
        b"NATS/1.0\r\nsender: XXXX\r\n\r\nhello",
    ),
    "a key of small order": (
        b"HPUB secure.data 78 83",
        b"NATS/1.0\r\nsender: " + b"XAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABXP"
        b"\r\n\r\nhello",
    ),
    "a header of a megabyte less some": (
        b"HPUB secure.data 900000 900000",
        b"NATS/1.0\r\nsender: " + b"X" * (900_000 - 22) + b"\r\n\r\n",
    ),
    "a header block cut short": (b"HPUB secure.data 8 8", b"NATS/1.0"),
    "a status that is not UTF-8": (b"HPUB secure.data 17 17", b"NATS/1.0 \xff\xff\xff\r\n\r\n "),
    "a reply that is not UTF-8": (b"PUB secure.data \xff\xfe 0", b""),
    "a payload of nothing": (b"PUB secure.data 0", b""),
    "a megabyte of zeros": (b"PUB secure.data 1000000", bytes(1_000_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_publisher_stops_a_receiver(server: NATSServer, seed: str, name: str) -> None:
    with receiver(server, "--seed", seed) as bob:
        key_of(bob)
        publish(server, *HOSTILE[name])
        refused = bob.wait_for("could not open", "err")
        assert len(refused) < 300
        publish(server, *_honest(b"still here?"))
        assert bob.wait_for("The sender") == 'The sender sent us "still here?"'


def _honest(data: bytes) -> tuple[bytes, bytes]:
    alice = XKeyPair.generate()
    header = b"NATS/1.0\r\nsender: " + str(alice.public).encode() + b"\r\n\r\n"
    sealed = xkv1.seal(data, key=alice, to=BOB.public)
    return b"HPUB secure.data %d %d" % (len(header), len(header) + len(sealed)), header + sealed


def test_wildcard_receivers_survive_subjects_that_are_not_text(
    server: NATSServer, seed: str
) -> None:
    with receiver(server, "--seed", seed, "--subject", ">") as bob:
        key_of(bob)
        for subject in (b"a.\xff", b"a.\x0b2", b"a.\x0cx", b"a.\x00"):
            publish(server, b"PUB " + subject + b" 0")
            bob.wait_for("could not open", "err")
        publish(server, *_honest(b"hello"))
        assert bob.wait_for("The sender") == 'The sender sent us "hello"'


def test_a_receiver_comes_back_with_the_server(server: NATSServer, seed: str) -> None:
    with receiver(server, "--seed", seed) as bob:
        key_of(bob)
        server.kill()
        server.start()
        deadline = time.monotonic() + DEADLINE
        while "The sender" not in "".join(bob.output()) and time.monotonic() < deadline:
            send(server, str(BOB.public), "again")
        assert 'The sender sent us "again"' in bob.output()


def test_what_the_server_refuses_is_an_error(seed: str) -> None:
    config = """authorization { users = [
      {user: in, password: x, permissions: {subscribe: {deny: secure.data}, publish: none}}] }"""
    with NATSServer(config) as server:
        login = ("--server", server.url, "--user", "in", "--password", "x", "--seed", seed)
        done = run("receiver", *login)
        assert done.returncode == 1
        assert b"receiver: delivery: " in done.stderr
        assert GREETING.encode() not in done.stdout
        done = run("sender", str(BOB.public), "x", *login)
        assert done.returncode == 1
        assert b"sender: delivery: " in done.stderr
        wrong = run("sender", str(BOB.public), "x", *login[:-4], "--password", "wrong")
        assert wrong.returncode == 1
        assert b"the server refused the login" in wrong.stderr
        assert b"wrong" not in wrong.stderr


def test_a_server_that_is_not_there_is_an_error_in_time() -> None:
    env = os.environ | {"NATS_TIMEOUT": "1h"}  # the flag goes before it
    flags = ("--server", "nats://user:hunter2@127.0.0.1:1", "--timeout", "300ms")
    done = run("receiver", *flags, env=env)
    assert done.returncode == 1
    assert b"cannot connect to nats://127.0.0.1:1: connection refused" in done.stderr
    assert b"hunter2" not in done.stderr


def test_what_does_not_fit_is_refused_before_it_is_sealed() -> None:
    with NATSServer("max_payload: 1000") as server:
        flags = ("sender", str(BOB.public), "--server", server.url)
        fits = run(*flags, data=bytes(1000 - 44 - 78))
        assert fits.returncode == 0, fits.stderr
        done = run(*flags, data=bytes(1000 - 44 - 77))
    assert done.returncode == 1
    assert b"payload_too_large: takes 1001 bytes" in done.stderr


def test_a_public_key_is_checked_before_anything_is_sent() -> None:
    done = run("sender", str(BOB.public)[:-1], "x", "--server", "nats://127.0.0.1:1")
    assert done.returncode == 2
    done = run("sender", str(XKey(bytes(BOB.public))), "x", "--subject", "a b")
    assert done.returncode == 2


def test_a_context_is_honoured(server: NATSServer, tmp_path: Path) -> None:
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "rethink.json").write_text(json.dumps({"url": server.url}))
    env = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}
    done = run("sender", str(BOB.public), "x", "--context", "rethink", env=env)
    assert done.returncode == 0, done.stderr
    (tmp_path / "nats" / "context.txt").write_text("rethink")
    assert run("sender", str(BOB.public), "x", env=env).returncode == 0
    done = run("sender", str(BOB.public), "x", "--context", "other", env=env)
    assert done.returncode == 1
    assert b"no NATS context 'other'" in done.stderr
    done = run(
        "sender",
        str(BOB.public),
        "x",
        env=env | {"NATS_URL": "nats://127.0.0.1:1", "NATS_TIMEOUT": "200ms"},
    )
    assert b"nats://127.0.0.1:1" in done.stderr
