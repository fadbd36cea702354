"""TLS identities from key stores, with the vocabulary of NATS (its ADR-39).

A store releases PEM text, with certificates and the private keys of some; a token keeps its keys.
`cert_match` must equal one value of the subject or the issuer; the leaf is sent with the
intermediates of the store.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.providers import ask, find_provider
from xkeymsg.key_stores.released_key import ReleasingProvider
from xkeymsg.refusals import refusing

__all__ = ("Validity", "matches", "released_identity", "tls_identity", "validities")

_Bundle = tuple[Sequence[x509.Certificate], Mapping[bytes, bytes]]
"""Certificates, and the PEM blocks of private keys by their public keys."""


class Validity(NamedTuple):
    """When a certificate is valid."""

    name: str
    """Its subject, for display."""
    begins: datetime
    ends: datetime


_MOST: Final = 1 << 16
_MOST_CERTIFICATES: Final = 64
_BLOCK: Final = re.compile(
    rb"-----BEGIN (CERTIFICATE|[A-Z ]*PRIVATE KEY)-----\s.+?-----END \1-----", re.DOTALL
)
_MATCH: Final = ("subject", "issuer", "thumbprint")
_TOKENS: Final = "pkcs11"


@refusing
def tls_identity(
    store: str, match_by: str = "Subject", match: str = "", *, skip_invalid: bool = False
) -> bytes:
    """Return the PEM text of a certificate, its chain and its private key.

    Args:
        store: `PROVIDER:ADDRESS`, such as `systemd:tls`.
        match_by: `Subject`, `Issuer` or `Thumbprint`.
        match: The term; empty for the only certificate.
        skip_invalid: Whether to skip certificates that are not valid now.

    Raises:
        KeyStoreError: If the store cannot be read, or no certificate matches.
    """
    _check_by(match_by)
    return _chosen(_bundle(store), match_by, match, skip_invalid=skip_invalid)


@refusing
def released_identity(
    store: str, match_by: str = "Subject", match: str = "", *, skip_invalid: bool = False
) -> bytes:
    """Return `tls_identity` with a released key; a store with only a private key gives that.

    Raises:
        KeyStoreError: If the store cannot be read or is a token, or no certificate matches.
    """
    _check_by(match_by)
    certificates, keys = _parsed(_content(store))
    if not certificates and len(keys) == 1 and not match:
        return next(iter(keys.values()))
    return _chosen((certificates, keys), match_by, match, skip_invalid=skip_invalid)


@refusing
def validities(content: bytes) -> list[Validity]:
    """Return when the certificates of a PEM text are valid, in its order.

    Raises:
        KeyStoreError: If a certificate is malformed.
    """
    try:
        return [
            Validity(_named(each), each.not_valid_before_utc, each.not_valid_after_utc)
            for each in map(_certificate, _BLOCK.finditer(content))
            if each is not None
        ]
    except (ValueError, x509.InvalidVersion):
        pass
    raise KeyStoreError("a certificate is malformed")


def _bundle(store: str) -> _Bundle:
    name, _, address = store.partition(":")
    if name.lower() != _TOKENS:
        return _parsed(_content(store))
    find_provider(name)  # or its extra is not installed
    from xkeymsg.key_stores.pkcs11_certificates import token_identities  # noqa: PLC0415 - as above

    found, blocks = ask(token_identities, address)
    certificates, keys = list[x509.Certificate](), dict[bytes, bytes]()
    try:
        for identifier, content in found:
            certificates.append(x509.load_der_x509_certificate(content))
            if identifier in blocks:
                keys.setdefault(_public(certificates[-1]), blocks[identifier])
    except (ValueError, x509.InvalidVersion):
        pass
    else:
        return certificates, keys
    raise KeyStoreError("a certificate of the token is malformed")


def _check_by(match_by: str) -> None:
    if match_by.lower() not in _MATCH:
        raise KeyStoreError("cert match by type not implemented")


def _chosen(bundle: _Bundle, match_by: str, match: str, *, skip_invalid: bool) -> bytes:
    try:
        return _identity(*bundle, match_by, match, skip_invalid=skip_invalid)
    except ValueError:  # `cryptography` parses names and extensions when they are used
        pass
    raise KeyStoreError("a certificate of the store is malformed")


def _identity(
    certificates: Sequence[x509.Certificate],
    keys: Mapping[bytes, bytes],
    match_by: str,
    match: str,
    *,
    skip_invalid: bool,
) -> bytes:
    if len(certificates) > _MOST_CERTIFICATES:
        raise KeyStoreError(f"more than {_MOST_CERTIFICATES} certificates in the store")
    now = datetime.now(UTC)
    found = [each for each in certificates if not match or matches(each, match_by, match)]
    own = [each for each in found if _public(each) in keys]
    if found and not own:
        raise KeyStoreError("unable to find certificate in store: its private key is not there")
    found = [each for each in own if not skip_invalid or _is_valid(each, now)]
    if own and not found:
        raise KeyStoreError("unable to find certificate in store: it is not valid now")
    if not found:
        raise KeyStoreError("unable to find certificate in store")
    leaf = found[0]
    if len(found) > 1:
        _warn(f"{len(found)} certificates match in the store; the first is used: {_named(leaf)}")
    if not _is_valid(leaf, now):
        _warn(f"the certificate {_named(leaf)} is not valid now")
    chain = _chain(leaf, [each for each in certificates if each != leaf], now) or [leaf]
    sent = [each for each in chain if each is leaf or each.subject != each.issuer]
    return b"".join(each.public_bytes(Encoding.PEM) for each in sent) + keys[_public(leaf)]


def matches(certificate: x509.Certificate, match_by: str, match: str) -> bool:
    """Return whether a certificate matches: equal to a value, in the same case; no substring.

    Raises:
        KeyStoreError: If `match_by` is unknown.
    """
    _check_by(match_by)
    by = match_by.lower()
    if by == "thumbprint":
        return certificate.fingerprint(SHA1()).hex() == match.lower()  # noqa: S303 - only a name
    name = certificate.subject if by == "subject" else certificate.issuer
    return any(attribute.value == match for attribute in name)


def _content(store: str) -> bytes:
    if not store:
        raise KeyStoreError("expected 'cert_store' to be a valid non-empty string")
    name, _, address = store.partition(":")
    if name.lower() == _TOKENS:
        raise KeyStoreError("a token does not release its keys: use another store for a server")
    provider = find_provider(name, "cert")
    if not isinstance(provider, ReleasingProvider):
        raise KeyStoreError("cert store type not implemented: this one releases no certificates")
    content: object = ask(provider.read, address, _MOST)
    if not isinstance(content, bytes) or len(content) > _MOST:
        raise KeyStoreError(f"the key store did not return at most {_MOST} bytes")
    return content


def _parsed(content: bytes) -> _Bundle:
    """Return the certificates and keys of a PEM text."""
    certificates, keys = list[x509.Certificate](), dict[bytes, bytes]()
    for block in _BLOCK.finditer(content):
        text = block[0] + b"\n"
        try:
            if (certificate := _certificate(block)) is not None:
                certificates.append(certificate)
            else:
                public = load_pem_private_key(text, None).public_key()
                keys[public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)] = text
        except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm):
            problem = block[1].decode().lower()
        else:
            continue
        raise KeyStoreError(f"invalid or encrypted PEM block: {problem}")
    return certificates, keys


def _certificate(block: re.Match[bytes]) -> x509.Certificate | None:
    if block[1] != b"CERTIFICATE":
        return None
    return x509.load_pem_x509_certificate(block[0] + b"\n")


def _public(certificate: x509.Certificate) -> bytes:
    try:
        public = certificate.public_key()
    except Exception:  # noqa: BLE001 - a kind of key that OpenSSL does not know
        return b""
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _chain(
    last: x509.Certificate, untried: list[x509.Certificate], now: datetime
) -> list[x509.Certificate]:
    """Return the first chain from `last` to a self-signed certificate, or nothing.

    Each certificate is tried once: those of a hostile store could all have issued each other.
    """
    if last.subject == last.issuer:
        return [last]
    for issuer in [*untried]:
        if issuer in untried and _has_issued(issuer, last, now):
            untried.remove(issuer)
            if chain := _chain(issuer, untried, now):
                return [last, *chain]
    return []


def _has_issued(issuer: x509.Certificate, issued: x509.Certificate, now: datetime) -> bool:
    if issuer.subject != issued.issuer or not _is_valid(issuer, now):
        return False
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _named(certificate: x509.Certificate) -> str:
    return ascii(certificate.subject.rfc4514_string()[:80])


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=4)
