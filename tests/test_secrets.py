"""No option, variable, context field or configuration key repeats a secret that is put into it.

Each place gets secrets in every form in which people paste them. Searched are the text and `repr`
of the error and of all errors behind it, the variables of their frames, stdout and stderr.
"""

from __future__ import annotations

import base64
import io
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.cases import for_each
from tests.test_refusals import errors_behind, holds
from xkeymsg import ANYONE, ConfigurationError, XKeyMsgError, XKeyPair, connect
from xkeymsg.cli.command import command as xkeymsg_command
from xkeymsg.daemons.common.command import start
from xkeymsg.daemons.common.tables import Section, tables
from xkeymsg.daemons.common.terminal import run
from xkeymsg.daemons.receiver import config as receiver
from xkeymsg.daemons.sender import config as sender
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.transport.contexts import load_context
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.stored_keys import StoredKeys
from xkeymsg.trust.stores.file import write_seed

SEED = encode_seed(Prefix.USER, bytes(range(7, 39)))
CURVE = XKeyPair(bytes(range(3, 35))).seed()
JWT = ".".join(
    base64.urlsafe_b64encode(part).decode().rstrip("=")
    for part in (
        b'{"typ":"JWT","alg":"ed25519-nkey"}',
        b'{"name":"private-name"}',
        bytes(range(64)),
    )
)
CREDS = (
    f"-----BEGIN NATS USER JWT-----\n{JWT}\n------END NATS USER JWT------\n\n"
    f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
)
PASSWORD = "correct-horse-battery"
URL = f"nats://ada:{PASSWORD}@127.0.0.1:1"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PASTED = {
    "a seed": SEED,
    "a seed of a curve key": CURVE,
    "a seed and a line feed": f"{SEED}\n",
    "a blank and a seed": f" {SEED}",
    "a seed in lower case": SEED.lower(),
    "half a seed": SEED[:40],
    "a JWT": JWT,
    "credentials": CREDS,
    "credentials, CR LF": CREDS.replace("\n", "\r\n"),
    "an address with a password": URL,
    "an address with a token": f"nats://{SEED}@127.0.0.1:1",
    "base64 of a seed": b64(SEED),
    "base64 of a JWT": b64(JWT),
    "base64 of credentials": b64(CREDS),
    "base64 of an address": b64(URL),
    "credentials as a data URI": "data:;base64," + b64(CREDS),
    "a seed as a data URI": "data:;base64," + b64(SEED),
    "a broken data URI": "data:;base64," + b64(SEED) + "!",
    "a seed in a file URI": f"file://{SEED}",
    "a seed in a URL": f"op://{SEED}/x",
    "a seed as a variable": f"env://{SEED}",
    "a seed after a dollar": f"${SEED}",
    "a seed as a user's home": f"~{SEED}/x",
    "a seed in a path": f"/run/{SEED}/x",
}
PARTS = [
    text[start : start + 12]
    for secret in (
        SEED,
        SEED.lower(),
        CURVE,
        JWT,
        PASSWORD,
        b64(SEED),
        b64(JWT),
        b64(CREDS),
        b64(URL),
    )
    for text in (secret[2:],)
    for start in range(0, max(1, len(text) - 11), 3)
]


def sample(seed: str, count: int) -> list[str]:
    """Some of the secrets; others for each place, and always the same."""
    secrets = list(PASTED.values())
    start = sum(seed.encode())
    return [secrets[(start + 5 * number) % len(secrets)] for number in range(count)]


def assert_silent(*texts: str) -> None:
    assert [part for text in texts for part in PARTS if part in text] == []


def assert_error_is_silent(error: BaseException) -> None:
    """Check an error, and the variables of the frames behind it."""
    for each in errors_behind(error):
        assert_silent(str(each), repr(each), *map(str, getattr(each, "__notes__", ())))
    secrets = [SEED, JWT, PASSWORD, b64(SEED), b64(CREDS)]
    assert [n for n, value in variables(error) for s in secrets if holds(value, s)] == []


def variables(error: BaseException) -> Iterator[tuple[str, Any]]:
    """The local variables of the frames of the package behind an error."""
    for each in errors_behind(error):
        entry = each.__traceback__
        while entry is not None:
            code = entry.tb_frame.f_code
            if "/xkeymsg/" in code.co_filename:
                for name, value in entry.tb_frame.f_locals.items():
                    yield f"{code.co_name}({name})", value
            entry = entry.tb_next


def attempt(call: Callable[[], object]) -> None:
    try:
        result = call()
    except XKeyMsgError as error:
        assert_error_is_silent(error)
    else:
        assert_silent(repr(result))


# --- options of a connection ----------------------------------------------------------------------

FIELDS = [
    "creds", "nkey", "nkey_store", "user", "password", "token", "tls_cert", "tls_key", "tls_ca",
    "cert_store", "cert_match", "cert_match_by", "nkey_match", "nkey_match_by",
    "inbox_prefix", "jetstream_domain", "jetstream_api_prefix",
]  # fmt: skip


@for_each("field", ["servers", *FIELDS])
def test_options_of_connect_are_not_repeated(field: str) -> None:
    def use(secret: str) -> ConnectOptions:
        more = {"user": "ada"} if field == "password" else {}
        pair = {"tls_cert": "tls_key", "tls_key": "tls_cert"}.get(field)
        if pair is not None:
            more[pair] = "no.pem"
        servers = secret if field == "servers" else "nats://127.0.0.1:1"
        given: dict[str, Any] = more if field == "servers" else more | {field: secret}
        connect(servers, key=XKeyPair(bytes(range(32))), trust=ANYONE, **given)
        paths = {n: Path(v) for n, v in given.items() if n in ("creds", "nkey") or "tls" in n}
        options = ConnectOptions(servers=(servers,), **(given | paths))
        assert_silent(repr(options), options.addresses)
        keys = StoredKeys(options)
        login(options, keys.signer)
        options.ssl_context(keys.identity())
        return options

    for secret in PASTED.values():
        attempt(partial(use, secret))


# --- contexts -------------------------------------------------------------------------------------

KEYS = [
    "url", "user", "password", "token", "creds", "nkey", "cert", "key", "ca", "nsc", "socks_proxy",
    "user_jwt", "user_seed", "jetstream_domain", "jetstream_api_prefix", "jetstream_event_prefix",
    "inbox_prefix", "windows_cert_store", "nkey_store", "cert_store", "cert_match",
    "color_scheme", "unknown",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("shape", ["text", "list", "broken"])
def test_fields_of_a_context_are_not_repeated(key: str, shape: str, tmp_path: Path) -> None:
    folder = tmp_path / "nats" / "context"
    folder.mkdir(parents=True)

    def write(secret: str) -> None:
        content: dict[str, Any] = {"url": "nats://127.0.0.1:1"}
        content[key] = [secret] if shape == "list" else secret
        if key in ("cert", "key"):
            content |= {"cert": secret, "key": secret}
        text = json.dumps(content)
        (folder / "ada.json").write_text(text[:-1] if shape == "broken" else text)

    def use() -> ConnectOptions:
        options = load_context("ada", {"XDG_CONFIG_HOME": str(tmp_path)})
        assert_silent(repr(options), options.addresses)
        keys = StoredKeys(options)
        login(options, keys.signer)
        options.ssl_context(keys.identity())
        return options

    for secret in PASTED.values():
        write(secret)
        attempt(use)


def test_the_name_of_a_context_is_not_repeated(tmp_path: Path) -> None:
    for secret in PASTED.values():
        attempt(partial(load_context, secret, {"XDG_CONFIG_HOME": str(tmp_path)}))


# --- the command line -----------------------------------------------------------------------------

FLAGS: dict[str, str | None] = {
    "--server": "NATS_URL", "--context": "NATS_CONTEXT", "--creds": "NATS_CREDS",
    "--nkey": "NATS_NKEY", "--user": "NATS_USER", "--password": "NATS_PASSWORD",
    "--tlscert": "NATS_CERT", "--tlskey": "NATS_KEY", "--tlsca": "NATS_CA",
    "--timeout": "NATS_TIMEOUT", "--seed": None, "--peers": None, "--publish": None,
    "--subscribe": None, "--js-domain": None, "--js-api-prefix": None, "--durable": None,
    "--unproven": None, "--daemon": None,
}  # fmt: skip


def cli(arguments: list[str]) -> None:
    run(xkeymsg_command, "xkeymsg", arguments)


@pytest.mark.parametrize("flag", [*FLAGS, "", "--no-such-flag"])
def test_flags_and_variables_of_the_command_line_are_not_repeated(
    flag: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for each in filter(None, FLAGS.values()):
        monkeypatch.delenv(each, raising=False)
    base = [] if flag in ("--context", "--server") else ["--server", "nats://127.0.0.1:1"]
    base += [] if flag == "--timeout" else ["--timeout", "1ms"]
    pair = {"--tlscert": "--tlskey", "--tlskey": "--tlscert", "--password": "--user"}.get(flag)
    if pair is not None:
        base += [pair, "no.pem"]
    for secret in PASTED.values():
        cli(["doctor", *base, *([flag] if flag else []), secret])
    if variable := FLAGS.get(flag):
        for secret in sample(flag, 8):
            monkeypatch.setenv(variable, secret)
            cli(["doctor", *base])
    assert_silent(*capsys.readouterr())


@pytest.mark.parametrize("flag", ["--seed", "--peers"])
def test_a_name_is_not_repeated_by_the_timeout_of_reading_the_file(
    flag: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(_seconds: float, _check: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("xkeymsg.cli.doctor.files.run_within", too_late)
    for secret in PASTED.values():
        cli(["doctor", "--server", "nats://127.0.0.1:1", "--timeout", "1ms", flag, secret])
    out, err = capsys.readouterr()
    assert "timeout while reading" in out
    assert_silent(out, err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["seal", "--to"], ["seal", "--seed"], ["open", "--seed"], ["open", "--from"], ["inspect"],
        ["peers", "add"], ["peers", "add", "peers.toml"], ["peers", "add", "peers.toml", "bob"],
        ["peers", "list"], ["peers", "verify"], ["policy", "lint"], ["policy", "explain"],
        ["keygen", "--out"], ["fingerprint"], ["pubkey"], [],
    ],
    ids=" ".join,
)  # fmt: skip
def test_other_commands_do_not_repeat_them_either(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    for secret in PASTED.values():
        cli([*arguments, secret])
    out, err = capsys.readouterr()
    assert_silent(err, "" if arguments[:1] == ["keygen"] else out)


# --- the daemons ----------------------------------------------------------------------------------

RECEIVER = """
[key]
seed_file = "bob.seed"
[trust]
peers = "peers.toml"
[nats]
servers = ["nats://127.0.0.1:1"]
[[route]]
name = "orders"
stream = "ORDERS"
durable = "workers"
sink = "out"
[sinks.out]
kind = "http"
url = "https://127.0.0.1:1/"
[quarantine]
create = true
[observe]
listen = "127.0.0.1:0"
[drain]
seconds = 3
"""
SENDER = """
[key]
seed_file = "bob.seed"
[trust]
peers = "peers.toml"
[nats]
servers = ["nats://127.0.0.1:1"]
[source]
servers = ["nats://127.0.0.1:1"]
[[route]]
name = "orders"
subject = "orders.>"
to = "sealed.{subject}"
recipients = ["bob"]
output = "core"
"""
DAEMONS: dict[str, tuple[str, type[Section], Callable[[Path], Any], str]] = {
    "receiver": (RECEIVER, receiver.ReceiverConfig, receiver.load, receiver.PREFIX),
    "sender": (SENDER, sender.SenderConfig, sender.load, sender.PREFIX),
}


def places(daemon: str) -> Iterator[tuple[str | int, ...]]:
    """Every key of every table that the example has, whether it is set there or not."""
    text, section, _, _ = DAEMONS[daemon]
    for table in tables(section, tomllib.loads(text)):
        for key in (*table.section.model_fields, "unknown"):
            yield (*table.place, key)


def toml_with(values: Any, place: tuple[str | int, ...], secret: Any) -> str:
    target = values
    for part in place[:-1]:
        target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
    target[place[-1]] = secret
    return _toml(values)


def _toml(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{json.dumps(key)} = {_inline(value)}" for key, value in values.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


CASES = [(daemon, place) for daemon in DAEMONS for place in dict.fromkeys(places(daemon))]


@pytest.mark.parametrize(
    ("daemon", "place"), CASES, ids=[f"{d}-{'.'.join(map(str, p))}" for d, p in CASES]
)
def test_keys_and_variables_of_a_daemon_are_not_repeated(
    daemon: str,
    place: tuple[str | int, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, _, load, prefix = DAEMONS[daemon]
    write_seed(tmp_path / "bob.seed", XKeyPair.generate())
    (tmp_path / "peers.toml").write_text(f'peers.bob = {{ xkey = "{XKeyPair.generate().public}" }}')
    path = tmp_path / "daemon.toml"
    path.touch(0o600)
    variable = "__".join([prefix, *(str(part).upper() for part in place)])
    for secret in sample(str(place), 1):  # about 220 places: each form several times
        for value in (secret, [secret], {secret: secret}):
            path.write_text(toml_with(tomllib.loads(text), place, value))
            attempt(lambda: bool(load(path)))
        path.write_text(toml_with(tomllib.loads(text), (*place[:-1], secret), 1))
        attempt(lambda: bool(load(path)))
        path.write_text(text)
        for value in (secret, f"'''{secret}'''", f'["{secret}"'):
            monkeypatch.setenv(variable, value)
            start(daemon, path, load, lambda _: 0, check=True)
        monkeypatch.delenv(variable)
    assert_silent(*capsys.readouterr())


def test_a_secret_seed_in_place_of_a_public_key_is_named_and_the_remedy_too() -> None:
    from xkeymsg import Peers, XKey  # noqa: PLC0415

    for use in (
        lambda: XKey.parse(CURVE),
        lambda: XKey.parse(f"{CURVE}\n"),
        lambda: Peers.parse(f'peers.bob = {{ xkey = "{CURVE}" }}'),
    ):
        with pytest.raises(XKeyMsgError, match="secret seed") as caught:
            use()
        assert "public key" in str(caught.value)
        assert_error_is_silent(caught.value)


def test_a_file_name_is_still_shown() -> None:
    with pytest.raises(XKeyMsgError, match=r"cannot read /nowhere/user\.creds: No such file"):
        login(ConnectOptions(creds=Path("/nowhere/user.creds")))
    with pytest.raises(ConfigurationError, match=r"cannot use a TLS file: /nowhere/ca\.pem"):
        ConnectOptions(tls_ca=Path("/nowhere/ca.pem")).ssl_context()
