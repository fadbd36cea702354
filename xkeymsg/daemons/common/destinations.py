"""Permitted destinations of plaintext: this machine, or a server verified by TLS.

The check uses the text alone, and accepts a subset of URL syntax that every parser reads alike. A
host name, including `localhost`, is not accepted as an address of this machine: whoever controls
name resolution decides where it leads. Accepted are literal loopback addresses, without a zone,
without an IPv4 address inside IPv6, and in their usual form.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ("check_address", "check_url", "check_websocket", "is_loopback")

_PORT: Final = r"(?::([0-9]{1,5}))?"
_HOST: Final = r"(\[[0-9A-Fa-f:]{2,39}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?)"
_URL: Final = re.compile(
    rf"(https?)://{_HOST}{_PORT}((?:/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:%/?-]*)?)"
)
_ADDRESS: Final = re.compile(rf"(nats|tls)://{_HOST}{_PORT}")
_WEBSOCKET: Final = re.compile(rf"(wss?)://{_HOST}{_PORT}/?")
_SECURE: Final = {"http": "https", "nats": "tls", "ws": "wss"}


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address in its usual form."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if "%" in host or getattr(address, "ipv4_mapped", None) is not None:
        return False
    return address.is_loopback


def check_url(url: str) -> str:
    """Return the URL if plaintext may be sent to it.

    Raises:
        ValueError: If not; the text says what was expected and never repeats the URL.
    """
    return _check(
        _URL, url, "http", "expected https://host[:port][/path], or http:// with 127.0.0.1 or"
        " [::1]; without a user, a fragment or other characters",
    )  # fmt: skip


def check_address(address: str) -> str:
    """Return the address of a NATS server if plaintext may be sent to it.

    Raises:
        ValueError: As `check_url`.
    """
    return _check(
        _ADDRESS, address, "nats", "expected tls://host[:port], or nats:// with 127.0.0.1 or [::1],"
        " without a user or password: those have settings of their own",
    )  # fmt: skip


def check_websocket(url: str) -> str:
    """Return the URL of a WebSocket if plaintext, such as a password, may be sent to it.

    Raises:
        ValueError: As `check_url`.
    """
    expected = "expected wss://host[:port], or ws:// with 127.0.0.1 or [::1]"
    return _check(_WEBSOCKET, url, "ws", expected)


def _check(form: re.Pattern[str], text: str, plain: str, expected: str) -> str:
    match = form.fullmatch(text)
    if match is None or not _is_port(match[3]):
        raise ValueError(expected)
    if match[1] == plain and not is_loopback(match[2].strip("[]")):
        raise ValueError(
            f"expected {_SECURE[plain]}://: without TLS, plaintext may only go to 127.0.0.1 or"
            " [::1]; a host name, including localhost, may resolve to another machine"
        )
    return text


def _is_port(port: str | None) -> bool:
    return port is None or 0 < int(port) < 65536
