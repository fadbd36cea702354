"""A file of configuration: every error at once, each with its place, and no secret in any."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.identity import DaemonIdentity
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.common.sections import (
    NatsSection,
    ObserveSection,
    TrustSection,
)
from xkeymsg.daemons.common.tables import Section
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import XKeyPair
from xkeymsg.trust.stores.file import write_seed

BOB = XKeyPair(bytes(range(32)))  # the same in every process that runs tests


class Config(Section):
    key: KeySection
    trust: TrustSection
    nats: NatsSection = Field(default_factory=NatsSection)
    observe: ObserveSection = ObserveSection()
    route: tuple[ObserveSection, ...] = ()


GOOD = """
[key]
seed_file = "bob.seed"
[trust]
anyone = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seed(tmp_path / "bob.seed", BOB)
    return tmp_path


def load(folder: Path, text: str, mode: int = 0o600, **environ: str) -> Config:
    path = folder / "daemon.toml"
    path.write_text(text)
    path.chmod(mode)
    variables = {f"XKEYMSG_TEST__{name}": value for name, value in environ.items()}
    return load_config(Config, path, prefix="XKEYMSG_TEST", environ=variables)


def errors(folder: Path, text: str, mode: int = 0o600, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, text, mode, **environ)
    return [line.replace(str(folder), "") for line in str(caught.value).splitlines()]


def test_a_file_is_read_and_what_it_does_not_say_has_defaults(folder: Path) -> None:
    config = load(folder, GOOD)
    assert config.key.seed_file == folder / "bob.seed"
    assert config.nats.servers == ("nats://127.0.0.1:4222",)
    assert config.nats.options("me").name == "me"


def test_every_error_is_told_at_once_with_its_key_its_value_and_what_was_expected(
    folder: Path,
) -> None:
    text = """
    [key]
    seed_file = "nowhere.seed"
    user = "U1"
    created = 2999-01-01
    [nats]
    timeout = 0
    tls_first = "yes"
    inbox_prefix = "a b"
    [observe]
    listen = "0.0.0.0:9464"
    level = "loud"
    colour = true
    """
    assert sorted(errors(folder, text)) == sorted(
        [
            '/daemon.toml: key.seed_file = "nowhere.seed": cannot read /nowhere.seed: '
            "No such file or directory",
            '/daemon.toml: key.user = "U1": a public key U… has 56 characters, not 2',
            '/daemon.toml: key.created = "2999-01-01": expected a date that is not in the future',
            "/daemon.toml: trust: missing",
            "/daemon.toml: nats.timeout = 0: expected greater than 0",
            '/daemon.toml: nats.tls_first = "yes": expected true or false',
            '/daemon.toml: nats.inbox_prefix = "a b": expected a subject: tokens of printable '
            "ASCII between dots, no * or >",
            '/daemon.toml: observe.listen = "0.0.0.0:9464": expected 127.0.0.1:PORT, '
            "[::1]:PORT or unix:/PATH: anyone who can connect sees how many messages come from"
            " where",
            "/daemon.toml: observe.level = \"loud\": expected 'debug', 'info', 'warning' or "
            "'error'",
            "/daemon.toml: observe.colour: unknown setting; expected one of listen, log, level,"
            " telemetry, micro",
        ]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("seed_file", "seed-file"), "key.seed-file: unknown setting; did you mean"
         " 'seed_file'?"),
        (GOOD + '[natz]\nservers = []', "natz: unknown setting; did you mean 'nats'?"),
        (GOOD + '[nats]\npasswrd = "x"', "nats.passwrd: unknown setting; did you mean 'password'?"),
        (GOOD.replace("bob.seed", str(BOB.public)),
         'key.seed_file = (str of 58 characters, not shown): expected a file name, not a public'
         ' key'),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_correction(folder: Path, text: str, said: str) -> None:
    assert f"/daemon.toml: {said}" in errors(folder, text)


@pytest.mark.parametrize(
    "text",
    [
        '[nats]\npassword = "hunter2"',
        "[nats]\npassword = 1234567",
        '[nats]\ntoken = ["hunter2"]',
        '[nats]\npassw0rd = "hunter2"',
        '[nats]\nservers = ["http://me:hunter2@host"]',
        '[nats]\nservers = "nats://me:hunter2@host"',
        '[nats]\nuser = "me"\npassword = "hunter2"\ntoken = "hunter2"',
        f'[key]\nseed_file = "{BOB.seed()}"',
        f'[key]\nsead = "{BOB.seed()}"',
        f"[{BOB.seed()}]\nx = 1",
        f'[key]\nuser = "{BOB.seed()}"',
        f"[key]\nseed_file = {BOB.seed()}",
        f"[key]\n{BOB.seed()} = 1\n{BOB.seed()} = 2",
        'password = "hunter2" hunter2',
    ],
)
def test_no_error_shows_a_secret(folder: Path, text: str) -> None:
    said = "\n".join(errors(folder, text))
    assert "hunter2" not in said
    assert "1234567" not in said
    assert BOB.seed()[5:20] not in said


def test_a_variable_counts_before_the_file_and_is_named_in_errors(folder: Path) -> None:
    config = load(
        folder,
        GOOD + '[[route]]\nlevel = "info"\n[[route]]\nlevel = "info"',
        NATS__SERVERS='["tls://one:4222", "tls://two:4222"]',
        NATS__USER="me",
        NATS__PASSWORD="p = w",
        ROUTE__1__LEVEL="error",
        KEY__SEED_FILE=str(folder / "bob.seed"),
    )
    assert config.nats.servers == ("tls://one:4222", "tls://two:4222")
    assert config.nats.options("x").password == "p = w"
    assert [each.level for each in config.route] == ["info", "error"]

    said = errors(
        folder, GOOD, NATS__TIMEOUT="soon", NATS__TIMEOUTS="1", WEATHER__X="1", ROUTE__7__LEVEL="x"
    )
    assert {line.partition(":")[0] for line in said} == {
        "XKEYMSG_TEST__ROUTE__7__LEVEL",
        "XKEYMSG_TEST__WEATHER__X",
        "XKEYMSG_TEST__NATS__TIMEOUTS",
        "XKEYMSG_TEST__NATS__TIMEOUT",
    }


@pytest.mark.parametrize("value", ["1\nanyone = true", '"a"\n[key]', "1 # x\ny = 2"])
def test_a_variable_is_one_value_whatever_is_in_it(folder: Path, value: str) -> None:
    config = load(folder, GOOD, NATS__USER=value)
    assert config.nats.user == value


@pytest.mark.parametrize(
    "name",
    [
        "XKEYMSG_TEST_TRUST__REQUIRE_SIGNATURE",
        "XKEYMSG_TEST_TRUST_REQUIRE_SIGNATURE",
        "XKEYMSG_TSET__TRUST__REQUIRE_SIGNATURE",
    ],
)
def test_a_misspelt_variable_is_not_ignored(folder: Path, name: str) -> None:
    """The setting could be what keeps strangers out."""
    load(folder, GOOD)
    with pytest.raises(ConfigurationError) as caught:
        load_config(Config, folder / "daemon.toml", prefix="XKEYMSG_TEST", environ={name: "true"})
    assert str(caught.value) == (
        f"{name}: unknown variable; the name of a setting is XKEYMSG_TEST__SECTION__KEY, with two"
        " underscores"
    )


def test_variables_of_others_are_ignored(folder: Path) -> None:
    load(folder, GOOD)
    names = (
        "XKEYMSG_TEST_NATS_SERVICE_HOST", "XKEYMSG_TEST_NATS_PORT_4222_TCP_ADDR", "XKEYMSG_TEST",
        "XKEYMSG_TEST_COMPLETE", "XKEYMSG_SENDER__NATS__SERVERS", "XKEYMSG_NATIVE", "__", "A__B",
        "XKEYMSG_RECEIVER__OBSERVE__LISTEN", "XKEYMSG_CONSOLE__NATS__SERVERS",
    )  # fmt: skip
    environ = dict.fromkeys(names, "x")
    load_config(Config, folder / "daemon.toml", prefix="XKEYMSG_TEST", environ=environ)


def test_passwords_in_a_file_that_everybody_can_read_are_an_error(folder: Path) -> None:
    text = GOOD + '[nats]\nuser = "me"\npassword = "hunter2"'
    assert load(folder, text).nats.user == "me"
    assert errors(folder, text, 0o644) == [
        "/daemon.toml: nats.password: this file is readable by everyone: chmod 600 it, or use the"
        " environment"
    ]
    assert load(folder, GOOD, 0o644, NATS__USER="me", NATS__PASSWORD="x").nats.user == "me"


def test_a_file_that_everybody_may_write_is_refused(folder: Path) -> None:
    assert "chmod o-w" in errors(folder, GOOD, 0o666)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[key", "not TOML"),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "9" * 5000, "not TOML"),
        ("[nats]\nservers = " + "[" * 300 + "]" * 300, "nats.servers"),
        ("", "key: missing"),
        ("key = 1", "key = 1: expected a table"),
        ("[[key]]", "key"),
        ('[key]\nseed_file = "a\\u0000b"', "expected a file name"),
        (
            '[key]\nseed_file = "bob.seed"\nkey_store = "systemd:bob"',
            "'seed_file' and 'key_store' may not both be configured",
        ),
        ('[key]\nseed_file = "bob.seed"\nkey_match = "x"', "requires key_store"),
        ('[key]\nkey_store = "vault:x"', "key store type not implemented"),
        ('[key]\nkey_store = "file:nowhere"', "cannot read nowhere"),
        ("[key]", "expected seed_file or key_store"),
        (
            "[trust]\nanyone = true\nrequire_signature = true",
            "require_signature = true: requires peers or folder",
        ),
        ("[trust]", "expected exactly one of peers, folder and anyone = true"),
        ('[trust]\npeers = "bob.seed"', "this is a secret seed"),
        ('[nats]\nservers = ["ftp://x"]', "invalid server address"),
        ('[nats]\ntls_ca = "no.pem"', "cannot use a TLS file"),
        ('[nats]\ncreds = "no.creds"', "cannot read"),
        ('[nats]\nuser = "me"\ntoken = "t"', "only one of user and token"),
        ("[nats]\ntimeout = inf", "expected a finite number"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, text: str, expected: str) -> None:
    assert any(expected in line for line in errors(folder, text))


def test_a_file_that_is_none_is_an_error_and_not_waited_for(folder: Path) -> None:
    for path in (folder, folder / "missing", Path("/dev/null"), Path(BOB.seed())):
        with pytest.raises(ConfigurationError) as caught:
            load_config(Config, path, prefix="X", environ={})
        assert BOB.seed() not in str(caught.value)


def test_a_seed_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / "bob.seed").chmod(0o640)
    assert "has mode 0640: others can read it" in errors(folder, GOOD)[0]


def test_a_seed_can_be_a_credential_of_systemd(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[key]\nkey_store = "systemd:bob.seed"\n[trust]\nanyone = true'
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert "LoadCredential" in errors(folder, text)[0]
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    (folder / "bob.seed").chmod(0o440)  # how systemd's entry for a service's user looks
    assert load(folder, text).key.key_store == "systemd:bob.seed"
    both = text.replace("[trust]", 'retired_stores = ["systemd:bob.seed"]\n[trust]')
    assert len(DaemonIdentity(load(folder, both).key).keyring.retired) == 1
    assert "invalid credential name" in errors(folder, text.replace("bob.", "../bob."))[0]


def test_an_error_about_a_file_full_of_faults_is_bounded(folder: Path) -> None:
    said = errors(folder, "\n".join(f"unknown_{i} = {i}" for i in range(4000)))
    assert len(said) == 21
    assert said[-1].endswith(": and 3982 more")  # key and trust are missing, too
    assert sum(map(len, said)) < 16_000
