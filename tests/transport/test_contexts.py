"""The nats CLI's contexts (ADR-21): what can be honoured is, what cannot is an error."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from xkeymsg.errors import ConfigurationError
from xkeymsg.transport.contexts import load_context, selected_context
from xkeymsg.transport.options import DEFAULT_SERVER, ConnectOptions

SECRET = "hunter2"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "nats" / "context").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def write(environment: dict[str, str], content: object, name: str = "ada") -> None:
    """Write a context as the nats CLI does; a string or bytes as they are."""
    path = Path(environment["XDG_CONFIG_HOME"]) / "nats" / "context" / f"{name}.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


AS_WRITTEN_BY_THE_CLI = {
    "description": "",
    "url": "nats://127.0.0.1:4222",
    "socks_proxy": "",
    "token": "",
    "user": "",
    "password": "",
    "creds": "",
    "nkey": "",
    "cert": "",
    "key": "",
    "ca": "",
    "nsc": "",
    "jetstream_domain": "",
    "jetstream_api_prefix": "",
    "jetstream_event_prefix": "",
    "inbox_prefix": "",
    "user_jwt": "",
    "color_scheme": "",
    "tls_first": False,
}


def test_a_context_with_everything_empty_is_the_default(environment: dict[str, str]) -> None:
    write(environment, AS_WRITTEN_BY_THE_CLI)

    assert load_context("ada", environment) == ConnectOptions()


def test_an_empty_context_is_the_default(environment: dict[str, str]) -> None:
    write(environment, {})

    assert load_context("ada", environment).servers == (DEFAULT_SERVER,)


def test_every_setting_is_taken(environment: dict[str, str]) -> None:
    write(
        environment,
        {
            "url": "tls://a:1",
            "creds": "/c.creds",
            "cert": "/c.pem",
            "key": "/k.pem",
            "ca": "/ca.pem",
            "inbox_prefix": "_ADA",
            "tls_first": True,
        },
    )

    assert load_context("ada", environment) == ConnectOptions(
        servers=("tls://a:1",),
        creds=Path("/c.creds"),
        tls_cert=Path("/c.pem"),
        tls_key=Path("/k.pem"),
        tls_ca=Path("/ca.pem"),
        inbox_prefix="_ADA",
        tls_first=True,
    )


@pytest.mark.parametrize(
    ("login", "options"),
    [
        ({"user": "ada", "password": SECRET}, ConnectOptions(user="ada", password=SECRET)),
        ({"user": "ada"}, ConnectOptions(user="ada")),
        ({"token": SECRET}, ConnectOptions(token=SECRET)),
        ({"nkey": "/u.nk"}, ConnectOptions(nkey=Path("/u.nk"))),
    ],
    ids=["password", "user", "token", "nkey"],
)
def test_every_login_is_taken(
    login: dict[str, str], options: ConnectOptions, environment: dict[str, str]
) -> None:
    write(environment, login)

    assert load_context("ada", environment) == options


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("nats://a", ("nats://a",)),
        ("nats://a,nats://b:1", ("nats://a", "nats://b:1")),
        ("a , b", ("a", "b")),
        ("nats://ada:x@a,nats://ada:x@b", ("nats://ada:x@a", "nats://ada:x@b")),
    ],
)
def test_addresses_are_separated_by_commas(
    url: str, servers: tuple[str, ...], environment: dict[str, str]
) -> None:
    write(environment, {"url": url})

    assert load_context("ada", environment).servers == servers


def test_a_file_may_be_named_from_the_home_folder(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(environment, {"creds": "~/ada.creds"})

    assert load_context("ada", environment).creds == tmp_path / "ada.creds"


def test_contexts_are_in_the_home_folder_where_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config" / "nats" / "context"
    folder.mkdir(parents=True)
    (folder / "ada.json").write_text('{"token": "t"}')
    (folder.parent / "context.txt").write_text("ada")

    for environment in ({}, {"XDG_CONFIG_HOME": ""}):
        assert selected_context(environment) == "ada"
        assert load_context("ada", environment).token == "t"


@pytest.mark.parametrize("name", ["ada", "ada.js", "a-b_c@d:1", "A1"])
def test_a_name_may_be(name: str, environment: dict[str, str]) -> None:
    write(environment, {"user": "ada"}, name)

    assert load_context(name, environment).user == "ada"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        ".",
        ".x",
        "",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "a\x00b",
        "a\n",
        "-x",
        " ",
        "~",
        "ä",
        "..%2fx",
    ],
)
def test_a_name_that_could_leave_the_folder_is_refused(
    name: str, environment: dict[str, str]
) -> None:
    # One that could be read, if the name were followed.
    (Path(environment["XDG_CONFIG_HOME"]) / "nats" / "x.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="invalid NATS context name"):
        load_context(name, environment)


@pytest.mark.parametrize("key", ["nsc", "socks_proxy", "jetstream_event_prefix"])
def test_a_setting_that_cannot_be_honoured_is_refused(
    key: str, environment: dict[str, str]
) -> None:
    write(environment, {"url": "nats://a", key: SECRET})
    with pytest.raises(ConfigurationError) as caught:
        load_context("ada", environment)

    assert str(caught.value) == f"context 'ada': {key!r} is not supported"


def test_a_windows_store_is_refused_as_by_nats_server(environment: dict[str, str]) -> None:
    write(environment, {"windows_cert_store": "WindowsCurrentUser"})
    with pytest.raises(ConfigurationError, match="not compatible with current operating system"):
        load_context("ada", environment)


def test_key_stores_are_read(environment: dict[str, str]) -> None:
    given = {
        "nkey_store": "systemd:user", "nkey_match_by": "PublicKey", "nkey_match": "UA",
        "cert_store": "systemd:tls", "cert_match_by": "Issuer", "cert_match": "ca",
        "cert_match_skip_invalid": True,
    }  # fmt: skip
    write(environment, given)
    options = load_context("ada", environment)
    assert {name: getattr(options, name) for name in given} == given
    replaced = options.merged({"cert_store": "file:x", "nkey_store": "file:y"})
    assert (replaced.cert_match, replaced.nkey_match) == ("", None)


@pytest.mark.parametrize("key", ["nkey_store", "cert_store"])
@pytest.mark.parametrize("mode", [0o660, 0o606])
def test_a_context_that_others_can_change_names_no_store(
    key: str, mode: int, environment: dict[str, str]
) -> None:
    """A store can be a command: they would run it as us."""
    write(environment, {key: "command:/bin/true"})
    [path] = Path(environment["XDG_CONFIG_HOME"]).rglob("ada.json")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="other users can change it"):
        load_context("ada", environment)


BROKEN = {
    "empty": "",
    "cut off": f'{{"password": "{SECRET}"',
    "not quoted": f"{{password: {SECRET}}}",
    "not UTF-8": b'{"password": "\xff"}',
    "nested": "[" * 60_000,
    "too large": json.dumps({"password": SECRET, "description": "x" * 70_000}),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_context_that_is_not_json_is_refused_and_not_repeated(
    content: str | bytes, environment: dict[str, str]
) -> None:
    write(environment, content)
    with pytest.raises(ConfigurationError, match=r"ada\.json is not JSON") as caught:
        load_context("ada", environment)

    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"', f'["{SECRET}"]'])
def test_a_context_that_is_not_an_object_is_refused(
    content: str, environment: dict[str, str]
) -> None:
    write(environment, content)
    with pytest.raises(ConfigurationError, match="is not a JSON object") as caught:
        load_context("ada", environment)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [1, True, None, [SECRET], {"a": SECRET}])
@pytest.mark.parametrize(
    "key",
    ["url", "user", "password", "token", "creds", "nkey", "cert", "key", "ca", "inbox_prefix"],
)
def test_a_setting_that_is_not_a_string_is_refused_and_not_repeated(
    key: str, value: object, environment: dict[str, str]
) -> None:
    write(environment, {key: value})
    with pytest.raises(ConfigurationError, match=f"{key!r} is not a string") as caught:
        load_context("ada", environment)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"url": f"http://ada:{SECRET}@a"}, "invalid server address"),
        ({"url": "nats://a,"}, "invalid server address"),
        ({"token": SECRET, "user": "ada"}, "only one of user and token"),
        ({"password": SECRET}, "password requires user"),
        ({"cert": "/c.pem"}, "tls_cert and tls_key require each other"),
    ],
)
def test_settings_that_contradict_themselves_are_refused_by_the_contexts_name(
    content: dict[str, str], message: str, environment: dict[str, str]
) -> None:
    write(environment, content)
    with pytest.raises(ConfigurationError, match=f"context 'ada': {message}") as caught:
        load_context("ada", environment)

    assert SECRET not in str(caught.value)


def test_a_context_that_is_not_there_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="no NATS context 'ada' at") as caught:
        load_context("ada", environment)

    assert "No such file" in str(caught.value)


def test_a_context_that_is_a_folder_is_refused(environment: dict[str, str]) -> None:
    (Path(environment["XDG_CONFIG_HOME"]) / "nats" / "context" / "ada.json").mkdir()
    with pytest.raises(ConfigurationError, match="no NATS context 'ada' at"):
        load_context("ada", environment)


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"ada", "ada"), (b" ada\n", "ada"), (b"", None), (b"\n", None), (b"\xff", "\ufffd")],
)
def test_the_selected_context_is_the_one_of_the_file(
    content: bytes, name: str | None, environment: dict[str, str]
) -> None:
    (Path(environment["XDG_CONFIG_HOME"]) / "nats" / "context.txt").write_bytes(content)

    assert selected_context(environment) == name


def test_without_the_file_no_context_is_selected(environment: dict[str, str]) -> None:
    assert selected_context(environment) is None


def test_a_selected_context_that_leaves_the_folder_is_refused(
    environment: dict[str, str],
) -> None:
    (Path(environment["XDG_CONFIG_HOME"]) / "nats" / "context.txt").write_text("../x")
    selected = selected_context(environment)
    assert selected is not None
    with pytest.raises(ConfigurationError):
        load_context(selected, environment)
