"""What may stand in the sender's file, and what `--check` says of everything else, at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sender.command import command
from tests.daemons.sender.conftest import Stage
from xkeymsg.daemons.common import terminal
from xkeymsg.daemons.sender.config import load
from xkeymsg.errors import ConfigurationError

ROUTE = '[[route]]\nname = "r"\nstdin = true\nto = "out"\nrecipients = ["bob"]\noutput = "core"\n'


def problems(paper: Stage, text: str, *, source: bool = False, inside: str = "") -> str:
    path = paper.write(text, source=source, inside=inside)
    with pytest.raises(ConfigurationError) as caught:
        load(path, {})
    return str(caught.value)


def test_a_short_file_is_enough(paper: Stage) -> None:
    config = load(paper.write(ROUTE), {})
    assert config.name == "sender"
    assert config.route[0].max_in_flight == 256


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("stdin = true", "", "expected exactly one source: stdin, files, subject, stream"),
        ("stdin = true", 'stdin = true\nsubject = "a"', "expected exactly one source"),
        ("stdin = true", 'stream = "S"', 'route["r"].durable: missing'),
        ("stdin = true", 'stream = "S"\ndurable = "d"', 'output = "core": stream requires'),
        ("stdin = true", 'subject = "a"', "source: missing"),
        ("stdin = true", "stdin = true\nqueue = 'q'", "requires subject, but the source is"),
        ("stdin = true", "stdin = true\nstate = '.'", "requires files"),
        ("stdin = true", "stdin = true\ntake_headers = ['*']", "lines have no headers"),
        ("stdin = true", "files = ['missing']", "expected a readable regular file"),
        ("stdin = true", "files = ['.']", "expected a readable regular file"),
        ('to = "out"', "", 'route["r"].to: missing'),
        ('to = "out"', 'to = "out.{1}"', "unknown reference {1}"),
        ('to = "out"', 'to = "out.*"', "expected a subject"),
        ('to = "out"', 'to = "$JS.API.x"', "for servers and replies"),
        ('recipients = ["bob"]', "", "exactly one of recipients and policy"),
        (
            'recipients = ["bob"]',
            "recipients = []",
            "exactly one of recipients and policy",
        ),
        (
            'output = "core"',
            'output = "core"\npolicy = "policy.toml"',
            "exactly one of recipients and policy",
        ),
        ('output = "core"', 'output = "core"\nreaders = {a = ["bob"]}', "requires policy"),
        (
            'output = "core"',
            'output = "core"\nnumbers = "exact"',
            'numbers = "exact": requires policy',
        ),
        ('recipients = ["bob"]', 'policy = "missing.toml"', "cannot read"),
        (
            'output = "core"',
            'output = "core"\nformat = "xkv1"\nexpires = 5.0',
            "not supported by xkv1",
        ),
        ('output = "core"', 'output = "plain"', "expected 'core' or 'jetstream'"),
        ('output = "core"', "", 'route["r"].output: missing'),
        ('output = "core"', 'output = "core"\nheaders = {xkm-a = "1"}', "is reserved"),
        ('output = "core"', 'output = "core"\nheaders = {Xkm-Reply-To = "1"}', "is reserved"),
        ('output = "core"', 'output = "core"\nencrypt = false', "unknown setting"),
        ('name = "r"', 'name = "r x"', 'route["r x"].name'),
    ],
)
def test_what_is_wrong_is_said_with_its_key(
    paper: Stage, old: str, new: str, expected: str
) -> None:
    assert old in ROUTE
    assert expected in problems(paper, ROUTE.replace(old, new))


@pytest.mark.parametrize(
    "address",
    [
        "nats://10.0.0.1:4222",
        "nats://localhost:4222",
        "nats://nats.internal",
        "nats://0.0.0.0:4222",
        "nats://user:secret@127.0.0.1:4222",
        "nats://127.0.0.1.evil.example",
        "127.0.0.1:4222",
        "ws://127.0.0.1",
    ],
)
def test_plaintext_over_the_network_is_a_configuration_error(paper: Stage, address: str) -> None:
    text = ROUTE.replace("stdin = true", 'subject = "a"')
    said = problems(paper, text, source=True, inside=address)
    assert "source.servers" in said
    assert "tls://" in said
    assert "secret" not in said


def test_a_verified_server_elsewhere_may_have_it(paper: Stage) -> None:
    text = ROUTE.replace("stdin = true", 'subject = "a"')
    config = load(paper.write(text, source=True, inside="tls://nats.internal"), {})
    assert config.source is not None
    assert config.source.options("x").tls_required


def test_a_route_may_not_take_what_it_sends(paper: Stage) -> None:
    text = ROUTE.replace("stdin = true", 'subject = "ehr.>"').replace('"out"', '"ehr.sealed"')
    said = problems(paper, text, source=True, inside=paper.outside.url)
    assert "'r' would receive the messages that 'r' sends to the same server" in said
    load(paper.write(text, source=True), {})  # to another server it may


def test_two_routes_cannot_share_stdin_or_a_name(paper: Stage) -> None:
    said = problems(paper, ROUTE + ROUTE)
    assert "more than one route reads stdin" in said
    assert "2 routes are called 'r'" in said


def test_a_source_that_nobody_uses_is_a_mistake(paper: Stage) -> None:
    assert "no route reads from it" in problems(paper, ROUTE, source=True)


def called(*arguments: str) -> int:
    """Call the program, in this process."""
    return terminal.run(command, "sender", arguments)


def test_check_knows_names_and_says_everything_at_once(
    paper: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        ROUTE.replace('"bob"', '"bub"')
        + ROUTE.replace('"r"', '"s"').replace("stdin = true", "files = ['policy.toml']")
        .replace('["bob"]', '["perm:surgery", "bob"]')
    )  # fmt: skip
    assert called("--config", str(paper.write(text)), "--check") == 1
    said = capsys.readouterr().err
    assert 'sender.toml: route["r"]: no peer is called' in said
    assert 'sender.toml: route["s"]: no peer holds' in said
    assert called("--config", str(paper.write(ROUTE)), "--check") == 0
    assert "is valid" in capsys.readouterr().err


def test_secrets_are_not_shown(paper: Stage) -> None:
    path = paper.write(ROUTE)
    text = path.read_text().replace("[nats]", '[nats]\nuser = "u"\npassword = 5')
    path.write_text(text.replace('"alice.seed"', f'"{Path(paper.folder / "alice.seed")}"'))
    with pytest.raises(ConfigurationError) as caught:
        load(path, {"XKEYMSG_SENDER__NATS__TOKEN": "hush-hush"})
    assert "hush" not in str(caught.value)


def test_the_environment_counts_first(paper: Stage) -> None:
    environ = {"XKEYMSG_SENDER__ROUTE__R__TO": "elsewhere"}
    assert load(paper.write(ROUTE), environ).route[0].to == "elsewhere"


def test_configuration_and_tutorial_do_not_mix(
    paper: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(paper.write(ROUTE))
    for more in (["XABC"], ["--xkm1"], ["--subject", "x"]):
        assert called("--config", path, *more) == 2
    assert called("--check") == 2
    capsys.readouterr()
    assert called() == 2
    assert "Missing argument 'RECIPIENT'" in capsys.readouterr().err
