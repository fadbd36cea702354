"""Which settings win, and that a context's credentials go to the context's server alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.cases import for_each
from xkeymsg import ConfigurationError
from xkeymsg.daemons.common.flags import connection_flags, connection_options
from xkeymsg.transport.options import ConnectOptions

PROD = {"url": "tls://prod", "user": "ada", "password": "hunter2"}


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "prod.json").write_text(json.dumps(PROD))
    (folder / "dev.json").write_text(json.dumps({"url": "nats://dev", "token": "t"}))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "nats"


def options(*arguments: str, env: Mapping[str, str] | None = None) -> ConnectOptions:
    seen = list[ConnectOptions]()

    @click.command()
    @connection_flags
    def command(**flags: Any) -> None:
        seen.append(connection_options("test", flags))

    result = CliRunner().invoke(command, arguments, env=dict(env or {}), catch_exceptions=True)
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    assert result.exit_code == 0, result.output
    [one] = seen
    return one


def test_nothing_given_is_the_local_server() -> None:
    assert options() == ConnectOptions(name="test")


@for_each(
    ("flag", "variable", "field", "value"),
    [
        ("--server", "NATS_URL", "servers", ("a:1", "b:2")),
        ("-s", "NATS_URL", "servers", ("a:1", "b:2")),
        ("--creds", "NATS_CREDS", "creds", Path("f")),
        ("--nkey", "NATS_NKEY", "nkey", Path("f")),
        ("--tlsca", "NATS_CA", "tls_ca", Path("f")),
        ("--timeout", "NATS_TIMEOUT", "timeout", 0.5),
    ],
)
def test_each_flag_has_its_variable_and_counts_before_it(
    flag: str, variable: str, field: str, value: object
) -> None:
    text = {"servers": "a:1, b:2", "timeout": "500ms"}.get(field, "f")
    other = {"servers": "z", "timeout": "9"}.get(field, "g")
    assert getattr(options(flag, text), field) == value
    assert getattr(options(env={variable: text}), field) == value
    assert getattr(options(flag, text, env={variable: other}), field) == value


def test_pairs_of_flags() -> None:
    both = options("--user", "u", "--password", "p")
    assert (both.user, both.password, both.token) == ("u", "p", None)
    assert options(env={"NATS_USER": "u", "NATS_PASSWORD": "p"}).password == "p"
    alone = options("--user", "secret")
    assert (alone.user, alone.token) == (None, "secret"), "as the nats CLI has it"
    tls = options("--tlscert", "c", "--tlskey", "k", "--tlsfirst")
    assert (tls.tls_cert, tls.tls_key, tls.tls_first) == (Path("c"), Path("k"), True)
    with pytest.raises(ConfigurationError, match="require each other"):
        options("--tlscert", "c")
    with pytest.raises(ConfigurationError, match="only one"):
        options("--creds", "c", "--nkey", "n")


def test_a_context_gives_server_and_login(contexts: Path) -> None:
    for one in (options("--context", "prod"), options(env={"NATS_CONTEXT": "prod"})):
        assert (one.servers, one.user, one.password) == (("tls://prod",), "ada", "hunter2")


def test_with_a_context_on_the_command_line_the_environment_is_not_looked_at(
    contexts: Path,
) -> None:
    env = {"NATS_URL": "nats://evil", "NATS_USER": "u", "NATS_PASSWORD": "p", "NATS_TIMEOUT": "9"}
    one = options("--context", "prod", env=env)
    assert (one.servers, one.user, one.timeout) == (("tls://prod",), "ada", 9)


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (("-s", "nats://evil"), {}),
        (("--creds", "f"), {}),
        ((), {"NATS_URL": "nats://evil"}),
        ((), {"NATS_USER": "u", "NATS_PASSWORD": "p"}),
    ],
)
def test_a_context_of_the_environment_beside_another_place_is_an_error(
    contexts: Path, arguments: tuple[str, ...], env: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError, match="NATS_CONTEXT"):
        options(*arguments, env=env | {"NATS_CONTEXT": "prod"})


def test_flags_beside_a_context_replace_what_they_name(contexts: Path) -> None:
    one = options("--context", "prod", "-s", "tls://other")
    assert (one.servers, one.user) == (("tls://other",), "ada")
    one = options("--context", "dev", "--user", "u", "--password", "p")
    assert (one.user, one.password, one.token) == ("u", "p", None)


def test_the_tls_of_a_context_is_not_lost_by_naming_another_server(contexts: Path) -> None:
    with pytest.raises(ConfigurationError, match="drops the required TLS: use tls:"):
        options("--context", "prod", "-s", "nats://127.0.0.1:4222")


def test_the_selected_context_serves_only_where_nothing_else_is_said(contexts: Path) -> None:
    (contexts / "context.txt").write_text("prod\n")
    assert options().servers == ("tls://prod",)
    for one in (
        options("-s", "nats://evil"),
        options(env={"NATS_URL": "nats://evil"}),
        options("--user", "u", "--password", "p"),
        options("--creds", "f"),
        options("--nkey", "f"),
    ):
        assert one.password != "hunter2"
        assert one.servers != ("tls://prod",)
