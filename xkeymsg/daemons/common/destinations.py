"""Where plaintext may go: to this machine, or through TLS that has verified who is there.

The rule looks at text alone, and so at less than URLs can be: what is left has one meaning, whoever
reads it. A name is no address of this machine, `localhost` included: who answers for a name decides
where it leads. Of addresses, those count that are loopback as written, without a zone, without an
IPv4 address inside IPv6, and in their one usual form.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ("check_address", "check_url", "is_loopback")

_PORT: Final = r"(?::([0-9]{1,5}))?"
_HOST: Final = r"(\[[0-9A-Fa-f:]{2,39}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?)"
_URL: Final = re.compile(
    rf"(https?)://{_HOST}{_PORT}((?:/[A-Za-z0-9._~!$&'()*+,;=:%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:%/?-]*)?)"
)
_ADDRESS: Final = re.compile(rf"(nats|tls)://{_HOST}{_PORT}")


def is_loopback(host: str) -> bool:
    """Tell whether a host is an address of this machine, in its usual form."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if "%" in host or getattr(address, "ipv4_mapped", None) is not None:
        return False
    return address.is_loopback


def check_url(url: str) -> str:
    """Return an HTTP address to which plaintext may go.

    Raises:
        ValueError: If it is none; the text says what was expected and nothing of the address.
    """
    match = _URL.fullmatch(url)
    if match is None or not _is_port(match[3]):
        raise ValueError(
            "expected is https://host[:port][/path], or http:// with 127.0.0.1 or [::1], and"
            " nothing else: no user, no fragment, no other characters"
        )
    if match[1] == "http" and not is_loopback(match[2].strip("[]")):
        raise ValueError(
            "expected is https://: without TLS plaintext goes to 127.0.0.1 or [::1] alone, written"
            " so; a name, also localhost, may lead elsewhere"
        )
    return url


def check_address(address: str) -> str:
    """Return the address of a NATS server to which plaintext may go.

    Raises:
        ValueError: As `check_url`.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or not _is_port(match[3]):
        raise ValueError("expected is tls://host[:port], or nats:// with 127.0.0.1 or [::1]")
    if match[1] == "nats" and not is_loopback(match[2].strip("[]")):
        raise ValueError(
            "expected is tls://: without TLS plaintext goes to 127.0.0.1 or [::1] alone, written"
            " so; a name, also localhost, may lead elsewhere"
        )
    return address


def _is_port(port: str | None) -> bool:
    return port is None or 0 < int(port) < 65536
