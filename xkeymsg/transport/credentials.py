"""Login credentials, read again for each connection, so that a renewed file takes effect.

Our own decoder checks seeds first: the `nkeys` package would take a mistyped seed for another key.
No error contains anything that is read here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xkeymsg.errors import ConfigurationError, KeyFormatError, KeyStoreError
from xkeymsg.nkey import UserKey, is_seed
from xkeymsg.refusals import refusing
from xkeymsg.shown import safe_repr
from xkeymsg.text import without_mark
from xkeymsg.transport.options import ConnectOptions

__all__ = ("login", "read_user_key")

_MAX_FILE: Final = 1 << 20
_JWT: Final = ("-----BEGIN NATS USER JWT-----", "USER JWT")
_SEED: Final = ("-----BEGIN USER NKEY SEED-----", "USER NKEY SEED")


@refusing
def login(options: ConnectOptions) -> dict[str, Any]:
    """Return the login arguments for nats-py's `connect`.

    Raises:
        ConfigurationError: If a file has invalid content.
        KeyStoreError: If a file cannot be read.
    """
    if options.creds is not None:
        creds = _Credentials(options.creds)
        creds.read()  # report a bad file now, not while connecting
        return {"user_jwt_cb": creds.jwt, "signature_cb": creds.sign}
    if options.nkey is not None:
        path = options.nkey
        signer = _Signer(lambda: _user_key(path, _read(path).strip()))
        signer.public()  # report a bad file now
        return {"public_nkey": signer.public, "signature_cb": signer.sign}
    password = options.password
    if options.user is not None and password is None:
        password = ""  # without a password nats-py would not send the user, either
    given = {"user": options.user, "password": password, "token": options.token}
    return {name: value for name, value in given.items() if value is not None}


@refusing
def read_user_key(path: Path) -> UserKey:
    """Read a user nkey from a seed file (`SU…`) or a `.creds` file.

    Raises:
        ConfigurationError: If the file does not hold a user seed.
        KeyStoreError: If the file cannot be read.
    """
    text = _read(path)
    if _SEED[0] in text:
        return _Credentials(path).read()[1]
    return _user_key(path, text.strip())


@safe_repr
@dataclass(frozen=True, slots=True)
class _Signer:
    key: Callable[[], UserKey]

    def public(self) -> str:
        """Return the public key of the signing key that is now in the file."""
        return self.key().public

    def sign(self, nonce: str) -> bytes:
        """Sign a login nonce that `HardenedClient` has checked."""
        return base64.b64encode(self.key().sign(nonce.encode()))


@safe_repr
@dataclass(frozen=True, slots=True)
class _Credentials:
    """A `.creds` file: a user JWT and a seed, each between two marker lines."""

    path: Path

    def read(self) -> tuple[str, UserKey]:
        text = _read(self.path)
        return self._block(text, *_JWT), _user_key(self.path, self._block(text, *_SEED))

    def _block(self, text: str, marker: str, what: str) -> str:
        lines = iter(text.splitlines())
        for line in lines:
            if line.strip() == marker and (content := next(lines, "").strip()):
                return content
        raise ConfigurationError(f"{self.path}: {what} is missing")

    def jwt(self) -> bytes:
        return self.read()[0].encode()

    def sign(self, nonce: str) -> bytes:
        return base64.b64encode(self.read()[1].sign(nonce.encode()))


def _read(path: Path) -> str:
    """Read a file of credentials."""
    if is_seed(str(path)):
        raise KeyStoreError("expected a file name, not a secret seed")
    try:
        with path.open("rb") as file:
            content = without_mark(file.read(_MAX_FILE))
    except OSError as error:
        raise KeyStoreError(f"cannot read {path}: {error.strerror}") from error
    if not content.isascii():  # checked first, because a decoding error would hold the content
        raise ConfigurationError(f"{path} is not a text file of credentials")
    return content.decode()


def _user_key(path: Path, seed: str) -> UserKey:
    try:
        return UserKey(seed)
    except KeyFormatError as error:
        raise ConfigurationError(f"{path}: {error}") from None
