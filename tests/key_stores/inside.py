"""The internals of keys on tokens, for tests that cannot do without them.

No other module of these tests uses private names. They count logins and derivations, and play a
token whose PIN was changed.
"""

from __future__ import annotations

from typing import Any

import pytest

from xkeymsg import XKey, XKeyPair
from xkeymsg.key_stores import descriptor, openssl, pkcs11_token
from xkeymsg.key_stores.pkcs11 import Pkcs11Provider
from xkeymsg.key_stores.pkcs11_uri import parse_uri

_LONG_AGO = -1000.0


def shared(pair: XKeyPair, peer: XKey) -> bytes | None:
    """Return the X25519 shared secret of a key with another."""
    return pair._dh(peer)


def token_of(provider: Pkcs11Provider, address: str) -> pkcs11_token.Token:
    return provider._token(parse_uri(address))


def forget() -> None:
    """Log out and forget what is known about a PIN, as a new process would."""
    initialize_again()
    forget_modules()


def forget_modules() -> None:
    """Forget the modules, which stay loaded."""
    pkcs11_token._modules.clear()


def isolate_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no modules for a test, and none that OpenSSL uses, too."""
    monkeypatch.setattr(pkcs11_token, "_modules", {})
    monkeypatch.setattr(pkcs11_token, "_shared", set())


def initialize_again() -> bool:
    """Initialize each module again; return whether all could be."""
    done = []
    for module in pkcs11_token._modules.values():
        module._reset_at = _LONG_AGO
        done.append(module.initialize_again())
    return all(done)


def proxy() -> str:
    """Return the path of p11-kit-proxy."""
    return str(pkcs11_token._proxy())


def lose_token(pin: str) -> None:
    """Initialize the only module again, and let its token believe that this PIN was right."""
    [module] = pkcs11_token._modules.values()
    [token] = module.tokens.values()
    token._known_pin = pin
    module._reset_at = _LONG_AGO
    assert module.initialize_again()


def count_logins() -> list[int]:
    """Count the logins with a PIN from now on."""
    counted, real = [0], pkcs11_token.Token._secret

    def secret(self: pkcs11_token.Token, flags: object) -> object:
        pin = real(self, flags)  # type: ignore[arg-type]
        counted[0] += 1
        return pin

    pkcs11_token.Token._secret = secret  # type: ignore[method-assign]
    return counted


def count_derivations(pair: XKeyPair) -> list[int]:
    """Count the derivations of a key on a token from now on."""
    counted, key = [0], pair._key  # type: ignore[attr-defined]
    real = key.dh

    def dh(peer: bytes) -> Any:
        counted[0] += 1
        return real(peer)

    key.dh = dh
    return counted


def forget_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which descriptors were read, as a new process would."""
    monkeypatch.setattr(descriptor, "_read", {})


def replace_library(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    """Replace OpenSSL's library."""
    monkeypatch.setattr(openssl, "_library", lambda: library)


def replace_extension(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    """Replace Python's extension module for OpenSSL."""
    monkeypatch.setattr(openssl, "_ssl", module)
