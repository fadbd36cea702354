"""Where to connect and as whom: what contradicts itself is refused, and no secret is shown."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.cases import for_each
from tests.transport.authority import CertificateAuthority
from xkeymsg.errors import ConfigurationError
from xkeymsg.transport.options import DEFAULT_SERVER, ConnectOptions

SECRET = "hunter2"


@for_each(
    "server",
    [
        "",
        "nats://",
        "nats://:4222",
        "http://host",
        "mqtt://host:4222",
        "ws://host",
        "wss://ada:hunter2@host",
        "nats:host",
        "nats://host:port",
        "nats://host:0",
        "nats://host:65536",
        "nats://host:-1",
        "nats://[::1",
        f"http://ada:{SECRET}@host",
        f"nats://ada:{SECRET}@",
        f"nats://ada:{SECRET}@host:{SECRET}",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(server: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ConnectOptions(servers=("nats://good", server))

    assert str(caught.value) == "invalid server address; expected e.g. nats://host:4222"


@for_each(
    ("settings", "message"),
    [
        ({"servers": ()}, "servers is empty"),
        ({"creds": Path("c"), "nkey": Path("n")}, "only one of creds and nkey can be used"),
        ({"creds": Path("c"), "token": SECRET}, "only one of creds and token can be used"),
        (
            {"nkey": Path("n"), "user": "ada", "password": SECRET, "token": SECRET},
            "only one of nkey and user and token can be used",
        ),
        ({"password": SECRET}, "password requires user"),
        ({"tls_cert": Path("c")}, "tls_cert and tls_key require each other"),
        ({"tls_key": Path("k")}, "tls_cert and tls_key require each other"),
        ({"timeout": 0}, "timeout must be greater than 0 seconds"),
        ({"timeout": -1}, "timeout must be greater than 0 seconds"),
        ({"timeout": float("nan")}, "timeout must be greater than 0 seconds"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        ConnectOptions(**settings)

    assert SECRET not in str(caught.value)


def test_without_settings_the_server_is_the_local_one_and_nothing_is_asked_for() -> None:
    options = ConnectOptions()

    assert options.servers == (DEFAULT_SERVER,)
    assert not options.tls_required
    assert options.ssl_context() is None


@for_each("show", [repr, str, "{}".format])
def test_nothing_shows_a_secret(show: Any) -> None:
    options = ConnectOptions(
        servers=(f"nats://eve:{SECRET}-1@host", f"nats://{SECRET}-2@host"),
        user="ada",
        password=f"{SECRET}-3",
    )

    assert SECRET not in show(options)
    assert SECRET not in show(ConnectOptions(token=SECRET))
    assert SECRET not in options.addresses


@for_each(
    ("server", "address"),
    [
        ("host", "nats://host:4222"),
        ("host:1", "nats://host:1"),
        ("nats://host", "nats://host:4222"),
        ("TLS://host", "tls://host:4222"),
        (f"nats://ada:{SECRET}@host:1", "nats://host:1"),
        (f"nats://{SECRET}@host", "nats://host:4222"),
        ("nats://a@b@host", "nats://host:4222"),
        ("nats://[::1]", "nats://[::1]:4222"),
        ("nats://[::1]:1", "nats://[::1]:1"),
    ],
)
def test_an_address_is_shown_as_host_and_port(server: str, address: str) -> None:
    assert ConnectOptions(servers=(server,)).addresses == address


def test_all_addresses_are_shown() -> None:
    assert ConnectOptions(servers=("a", "tls://b:1")).addresses == "nats://a:4222, tls://b:1"


@for_each(
    ("settings", "required"),
    [
        ({"servers": ("nats://a", "b:1")}, False),
        ({"servers": ("nats://a", "tls://b")}, True),
        ({"servers": ("TLS://a",)}, True),
        ({"tls_first": True}, True),
        ({"tls_ca": Path("ca")}, True),
        ({"tls_cert": Path("c"), "tls_key": Path("k")}, True),
    ],
)
def test_tls_is_required_as_soon_as_anything_asks_for_it(
    settings: dict[str, Any], required: bool
) -> None:
    assert ConnectOptions(**settings).tls_required is required


# --- TLS files ----------------------------------------------------------------------------------


def test_the_context_believes_the_given_authority_alone(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    context = ConnectOptions(tls_ca=authority.path).ssl_context()

    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    [believed] = context.get_ca_certs()
    assert believed["subject"] == ((("commonName", "authority"),),)


def test_a_pair_of_files_is_loaded(tmp_path: Path) -> None:
    own = CertificateAuthority(tmp_path).issue("own")

    assert ConnectOptions(tls_cert=own.cert, tls_key=own.key).ssl_context() is not None


def test_tls_without_files_believes_the_systems_authorities() -> None:
    context = ConnectOptions(servers=("tls://host",)).ssl_context()

    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    "content", [None, "", "nothing", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"]
)
def test_an_authority_that_cannot_be_used_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match="cannot use a TLS file"):
        ConnectOptions(tls_ca=path).ssl_context()


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(ConfigurationError, match="cannot use a TLS file"):
        ConnectOptions(tls_cert=one.cert, tls_key=other.key).ssl_context()


def test_a_key_that_needs_a_password_is_refused_without_asking(tmp_path: Path) -> None:
    own = CertificateAuthority(tmp_path).issue("own", password=SECRET.encode())
    with pytest.raises(ConfigurationError, match="cannot use a TLS file") as caught:
        ConnectOptions(tls_cert=own.cert, tls_key=own.key).ssl_context()

    assert SECRET not in str(caught.value)


# --- merging ------------------------------------------------------------------------------------


def test_merging_replaces_what_is_named_and_keeps_the_rest() -> None:
    below = ConnectOptions(servers=("nats://a",), user="ada", password=SECRET, name="below")
    merged = below.merged({"servers": ("nats://b",), "timeout": 1.0})

    assert merged == dataclasses.replace(below, servers=("nats://b",), timeout=1.0)
    assert below.servers == ("nats://a",)


def test_merging_nothing_changes_nothing() -> None:
    options = ConnectOptions(token=SECRET, tls_first=True)

    assert options.merged({}) == options


@for_each(
    "login",
    [
        {"creds": Path("c")},
        {"nkey": Path("n")},
        {"user": "eve"},
        {"user": "eve", "password": "other"},
        {"token": "other"},
    ],
    ids=" and ".join,
)
@for_each(
    "below",
    [
        {"creds": Path("below")},
        {"nkey": Path("below")},
        {"user": "ada", "password": SECRET},
        {"token": SECRET},
    ],
    ids=" and ".join,
)
def test_a_login_replaces_the_whole_one_below_it(
    below: dict[str, Any], login: dict[str, Any]
) -> None:
    assert ConnectOptions(**below).merged(login) == ConnectOptions(**login)


def test_a_password_alone_does_not_join_the_user_below() -> None:
    with pytest.raises(ConfigurationError, match="password requires user"):
        ConnectOptions(user="ada", password=SECRET).merged({"password": "other"})


def test_merging_checks_the_result() -> None:
    with pytest.raises(ConfigurationError, match="tls_cert and tls_key require each other"):
        ConnectOptions().merged({"tls_cert": Path("c")})


@for_each("prefix", ["", "a b", "*", "a.>", "a..b", ".", "é"])
def test_an_inbox_prefix_that_is_no_subject_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="inbox_prefix"):
        ConnectOptions(inbox_prefix=prefix)
