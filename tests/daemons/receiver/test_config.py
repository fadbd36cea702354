"""The receiver's file: what does not go together, and every way that plaintext could leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import for_each
from tests.daemons.receiver.conftest import (
    BOB,
    ROUTE,
    STDOUT,
    Stage,
)
from tests.running import run
from xkeymsg.daemons.receiver.config import load
from xkeymsg.errors import ConfigurationError
from xkeymsg.trust.stores.file import write_seed

HEAD = '[key]\nseed_file = "bob.seed"\n[trust]\nanyone = true\n'
STREAM = """
[[route]]
name = "orders"
stream = "ORDERS"
durable = "d"
subjects = ["orders.>"]
sink = "out"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seed(tmp_path / "bob.seed", BOB)
    return tmp_path


def errors(folder: Path, text: str) -> str:
    path = folder / "receiver.toml"
    head = HEAD.split("[trust]", maxsplit=1)[0] if "[trust]" in text else HEAD
    path.write_text(head + text)
    try:
        load(path, {})
    except ConfigurationError as error:
        return str(error).replace(str(folder), "")
    return ""


def test_good_files_have_no_errors(folder: Path) -> None:
    for text in (
        ROUTE + STDOUT,
        STREAM + STDOUT,
        ROUTE + 'formats = ["xkm1", "xkv1"]\nqueue = "q"\n' + STDOUT,
        ROUTE + "replay_bytes = 65536\nreplay_bytes_unadmitted = 65536\n" + STDOUT,
        STREAM + "replay_bytes = 1_000_000_000\nreplay_pending = 1024\n" + STDOUT,
        ROUTE + '[sinks.out]\nkind = "files"\nfolder = "."\n',
        ROUTE + '[sinks.out]\nkind = "command"\ncommand = ["/bin/cat", "-"]\nbatch = 100\n',
        ROUTE + '[sinks.out]\nkind = "http"\nurl = "https://example.com/in"\n',
        ROUTE + '[sinks.out]\nkind = "nats"\nsubject = "open.{subject}"\njetstream = true\n',
    ):
        assert errors(folder, text) == ""


def test_a_configuration_of_the_sender_is_recognized(folder: Path) -> None:
    route = '[[route]]\nname = "a"\nstdin = true\nto = "a"\nrecipients = ["bob"]\n'
    text = '[trust]\npeers = "p"\n' + route + 'output = "core"\n'
    assert (
        errors(folder, text) == "/receiver.toml configures a sender: start xkeymsg-sender with it"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (STDOUT, "route: missing"),
        (ROUTE, "sinks: missing"),
        ("route = []\n" + STDOUT, "route"),
        (
            ROUTE.replace('"out"', '"in"') + STDOUT,
            '.sink = "in": unknown sink; expected one of',
        ),
        (ROUTE + STDOUT + STDOUT.replace("out]", "b]"), "sinks.b: no route uses this sink"),
        (ROUTE + ROUTE + STDOUT, "2 routes are called 'orders'"),
        (ROUTE + 'stream = "S"\n' + STDOUT, 'route["orders"].subject'),
        (ROUTE + "ordered = true\n" + STDOUT, 'route["orders"].ordered = true: requires stream'),
        (ROUTE + "replay_pending = 2000\n" + STDOUT, "replay_pending = 2000: requires stream"),
        (STREAM + "replay_pending = 1023\n" + STDOUT, "greater than or equal to 1024"),
        (STREAM + "replay_bytes = 65535\n" + STDOUT, "greater than or equal to 65536"),
        (ROUTE + "replay_bytes_unadmitted = 0\n" + STDOUT, "greater than or equal to 65536"),
        (STREAM + 'queue = "q"\n' + STDOUT, 'route["orders"].queue = "q": requires subject'),
        (STREAM.replace('durable = "d"', "") + STDOUT, "durable: missing"),
        (STREAM.replace('subjects = ["orders.>"]', "") + STDOUT, "subjects: missing"),
        (STREAM.replace('"ORDERS"', '"A.B"') + STDOUT, 'route["orders"].stream = "A.B"'),
        (STREAM + 'formats = ["xkv1"]\n' + STDOUT, "xkv1 is not allowed in a stream"),
        (ROUTE + 'formats = ["xkv1"]\ndocuments = true\n' + STDOUT, "xkv1 supports neither"),
        (
            ROUTE + 'formats = ["xkv1"]\n' + STDOUT + "[trust]\nrequire_signature = true",
            "'orders' accepts xkv1, which cannot be signed",
        ),
        (ROUTE + "formats = []\n" + STDOUT, "formats"),
        (ROUTE + 'formats = ["xkv2"]\n' + STDOUT, "formats[0] = \"xkv2\": expected 'xkm1'"),
        (ROUTE + "max_in_flight = 0\n" + STDOUT, "greater than or equal to 1"),
        (ROUTE + "attempts = true\n" + STDOUT, "attempts = true: expected an integer"),
        (ROUTE + '[sinks.out]\nkind = "kafka"\n', "sinks.out.kind"),
        (ROUTE + "[sinks.out]\n", "sinks.out"),
        (ROUTE + STDOUT + "batch = 4\n", "sinks.out.batch: unknown setting"),
        (ROUTE + '[sinks.out]\nkind = "files"\nfolder = "none"\n', "expected an existing folder"),
        (ROUTE + '[sinks.out]\nkind = "files"\nfolder = "bob.seed"\n', "expected a folder"),
        (ROUTE + '[sinks.out]\nkind = "command"\ncommand = "rm -rf /"\n', "expected an array"),
        (
            ROUTE + '[sinks.out]\nkind = "command"\ncommand = ["/bin/cat"]\ntimeout = 0\n',
            "sinks.out.timeout = 0: expected greater than 0",
        ),
        (
            ROUTE + '[sinks.out]\nkind = "command"\ncommand = ["/bin/cat", 1]\n',
            "sinks.out.command[1] = 1: expected a string, in quotes",
        ),
        (
            ROUTE + '[sinks.out]\nkind = "http"\nurl = "https://a/"\ntls_ca = "none.pem"\n',
            "sinks.out: cannot use a TLS file",
        ),
        (STREAM.replace('"d"', '"a b"') + STDOUT, "expected at most 64 letters, digits, _ and -"),
        (ROUTE + '[sinks.out]\nkind = "command"\ncommand = ["cat"]\n', "absolute path"),
        (ROUTE + '[sinks.out]\nkind = "command"\ncommand = ["/bin/none"]\n', "absolute path"),
        (ROUTE + '[sinks.out]\nkind = "nats"\nsubject = "{subject}"\n', "not come first"),
        (ROUTE + '[sinks.out]\nkind = "nats"\nsubject = "$JS.API.{subject}"\n', "not come first"),
        (ROUTE + '[sinks.out]\nkind = "nats"\nsubject = "a.{x}.*"\n', "not come first"),
    ],
)
def test_conflicting_settings_are_reported(folder: Path, text: str, expected: str) -> None:
    said = errors(folder, text)
    assert expected in said
    assert said.startswith("/receiver.toml: ")


@pytest.mark.parametrize(
    "sink",
    [
        'kind = "http"\nurl = "http://example.com/in"',
        'kind = "http"\nurl = "http://localhost/in"',
        'kind = "http"\nurl = "http://localhost.evil/in"',
        'kind = "http"\nurl = "http://[::ffff:1.2.3.4]/in"',
        'kind = "http"\nurl = "http://127.0.0.1.nip.io/in"',
        'kind = "http"\nurl = "http://127.0.0.1@example.com/in"',
        'kind = "http"\nurl = "http://127.0.0.1:80@example.com/in"',
        'kind = "http"\nurl = "https://example.com/in"\nverify = false',
        'kind = "http"\nurl = "https://example.com/in"\ntls_verify = false',
        'kind = "http"\nurl = "https://example.com/in"\ninsecure = true',
        'kind = "http"\nurl = "https://example.com/in"\nfollow_redirects = true',
        'kind = "http"\nurl = "https://example.com/in"\nproxy = "http://10.0.0.1:3128"',
        'kind = "nats"\nsubject = "x"\nservers = ["nats://10.0.0.1:4222"]',
        'kind = "nats"\nsubject = "x"\nservers = ["nats://localhost:4222"]',
        'kind = "nats"\nsubject = "x"\nservers = ["nats://127.0.0.1:4222", "nats://h:4222"]',
        'kind = "nats"\nsubject = "x"\nservers = ["127.0.0.1:4222"]',
        'kind = "nats"\nsubject = "x"\nservers = ["ws://127.0.0.1:4222"]',
        'kind = "nats"\nsubject = "x"\nservers = ["nats://127.0.0.1@h:4222"]',
        'kind = "nats"\nsubject = "x"\nservers = ["tls://h:4222"]\ntls_verify = false',
    ],
)
def test_plaintext_leaves_only_to_this_machine_or_through_verified_tls(
    folder: Path, sink: str
) -> None:
    assert "expected" in errors(folder, f"{ROUTE}[sinks.out]\n{sink}\n")


def test_check_says_what_is_wrong_and_nothing_begins(stage: Stage) -> None:
    code, said = stage.check(ROUTE + STDOUT)
    assert (code, said) == (0, f"receiver: {stage.folder}/receiver.toml is valid\n")
    code, said = stage.check(ROUTE.replace("orders.>", "a b") + STDOUT + "x = 1\n")
    assert code == 1
    assert len(said.splitlines()) == 2
    assert all(line.startswith("receiver: configuration: /") for line in said.splitlines())


def test_a_receiver_with_a_wrong_file_does_not_begin(stage: Stage) -> None:
    path = stage.write(ROUTE)
    done = run("receiver", "--config", str(path))
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"sinks: missing" in done.stderr


@for_each(
    "flags",
    [("--check",), ("--config", "x", "--subject", "a"), ("--config", "x", "-s", "nats://h")],
)
def test_a_file_and_other_flags_do_not_go_together(flags: tuple[str, ...]) -> None:
    done = run("receiver", *flags)
    assert done.returncode == 2
    assert b"--config FILE" in done.stderr
