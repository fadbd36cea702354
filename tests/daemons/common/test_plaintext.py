"""Plaintext goes to this machine, or through TLS that verifies: every other way is an error."""

from __future__ import annotations

import pytest

from tests.cases import for_each
from xkeymsg.daemons.common.destinations import (
    check_address,
    check_url,
    check_websocket,
    is_loopback,
)

GOOD_HOSTS = ["127.0.0.1", "127.8.9.10", "[::1]"]
BAD_HOSTS = [
    "localhost",
    "localhost.evil",
    "localhost.",
    "LOCALHOST",
    "127.0.0.1.nip.io",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "127.0.0.01",
    "0.0.0.0",
    "10.0.0.1",
    "128.0.0.1",
    "1.2.3.4",
    "[::]",
    "[::2]",
    "[::ffff:1.2.3.4]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::1%25eth0]",
    "[::1%eth0]",
    "[fe80::1]",
    "[64:ff9b::7f00:1]",
    "\uff11\uff12\uff17.0.0.1",
    "127。0。0。1",
    "127.0.0.1\u200b",
    "ⓛocalhost",
    "example.com",
    "",
]


@pytest.mark.parametrize("host", GOOD_HOSTS)
def test_this_machine_needs_no_tls(host: str) -> None:
    assert check_url(f"http://{host}:8080/in?a=b")
    assert check_address(f"nats://{host}:4222")
    assert check_websocket(f"ws://{host}:9222")
    assert is_loopback(host.strip("[]"))


@for_each("host", BAD_HOSTS)
def test_everything_else_does(host: str) -> None:
    with pytest.raises(ValueError, match="expected "):
        check_url(f"http://{host}/in")
    with pytest.raises(ValueError, match="expected "):
        check_address(f"nats://{host}:4222")
    with pytest.raises(ValueError, match="expected "):
        check_websocket(f"ws://{host}:9222")
    assert not is_loopback(host.strip("[]"))


@for_each(
    "url",
    [
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1:80@evil.example/",
        "http://user@127.0.0.1/",
        "https://user:pw@host/",
        "http://evil.example#@127.0.0.1/",
        "http://evil.example\\@127.0.0.1/",
        "http://127.0.0.1\\.evil.example/",
        "http://evil.example?@127.0.0.1/",
        "http://127.0.0.1 .evil.example/",
        "http://127.0.0.1\t/",
        "http://127.0.0.1\n/",
        " http://127.0.0.1/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:65536/",
        "http://127.0.0.1:/",
        "http://127.0.0.1:80:80/",
        "http:/127.0.0.1/",
        "http:127.0.0.1/",
        "http:///127.0.0.1/",
        "//127.0.0.1/",
        "127.0.0.1/",
        "HTTP://127.0.0.1/",
        "http+unix://%2Frun%2Fx/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://host/\r\nX: y",
        "https://host/é",
        "https://-x/",
        "https://host/#x",
        "https://[::1",
        "",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected "):
        check_url(url)


@for_each(
    "address", ["nats://127.0.0.1@evil", "ws://127.0.0.1", "127.0.0.1:4222", "nats://a,127.0.0.1"]
)
def test_so_is_such_an_address(address: str) -> None:
    with pytest.raises(ValueError, match="expected "):
        check_address(address)


def test_with_tls_it_may_go_anywhere_for_who_is_there_is_verified() -> None:
    assert check_url("https://example.com/in")
    assert check_url("https://localhost.evil:8443")
    assert check_address("tls://example.com:4222")
