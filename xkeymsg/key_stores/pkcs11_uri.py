"""PKCS#11 URIs (RFC 7512), the addresses of keys on tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from xkeymsg.display import cut
from xkeymsg.errors import KeyStoreError
from xkeymsg.text import masked

__all__ = ("TOKEN_ATTRIBUTES", "Pkcs11Uri", "parse_uri")

TOKEN_ATTRIBUTES: Final = ("token", "serial", "manufacturer", "model")
_PATH: Final = frozenset((*TOKEN_ATTRIBUTES, "object", "id", "type"))
_QUERY: Final = frozenset(("module-path", "pin-source", "provider-path", "x-extractable", "x-lock"))
_MOST: Final = 4096


class Pkcs11Uri(NamedTuple):
    """A parsed URI; absent attributes match everything."""

    token: Mapping[str, str]
    """The attributes of the token, some of `TOKEN_ATTRIBUTES`."""
    object: str | None = None
    """The label of the key."""
    id: bytes | None = None
    module: str | None = None
    """The path of the module."""
    pin_source: str | None = None
    """The key store with the PIN."""
    extractable: bool = False
    """Whether keys are allowed that the token would release."""
    lock: str | None = None
    """The path of the lock file of a label with several keys."""
    provider: str | None = None
    """The path of OpenSSL's pkcs11-provider, for TLS keys."""


def parse_uri(text: str) -> Pkcs11Uri:
    """Parse a URI, without `pkcs11:`.

    Raises:
        KeyStoreError: If it is not a valid URI of a private key, or holds a PIN.
    """
    if len(text) > _MOST or not text.isascii() or not text.isprintable():
        raise KeyStoreError("pkcs11: expected a URI of ASCII characters: write others as %XX")
    path, _, query = text.partition("?")
    if "pin-value" in query:
        raise KeyStoreError(
            "pkcs11: pin-value would show the PIN: use pin-source=systemd:NAME or"
            " pin-source=file:PATH"
        )
    given = _attributes(path, ";", _PATH)
    options = _attributes(query, "&", _QUERY)
    if given.get("type", b"private") != b"private":
        raise KeyStoreError("pkcs11: expected type=private")
    if options.get("x-extractable", b"allowed") != b"allowed":
        raise KeyStoreError("pkcs11: expected x-extractable=allowed")
    texts = {name: _text(name, value) for name, value in (given | options).items() if name != "id"}
    return Pkcs11Uri(
        {name: texts[name] for name in TOKEN_ATTRIBUTES if name in texts},
        texts.get("object"),
        given.get("id"),
        texts.get("module-path"),
        texts.get("pin-source"),
        "x-extractable" in options,
        texts.get("x-lock"),
        texts.get("provider-path"),
    )


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for each in filter(None, text.split(separator)):
        name, equals, value = each.partition("=")
        if name not in known or not equals:
            names = ", ".join(sorted(known))
            raise KeyStoreError(f"pkcs11: invalid {masked(cut(name))!a} (known: {names})")
        if name in found:
            raise KeyStoreError(f"pkcs11: {name} is given twice")
        found[name] = unquote_to_bytes(value)
    return found


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        pass
    raise KeyStoreError(f"pkcs11: {name} is not UTF-8")
