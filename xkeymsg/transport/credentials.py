"""Login credentials; files are read for each connection, so that a renewed one takes effect.

Our own decoder checks seeds first: the `nkeys` package would take a mistyped seed for another key.
No error contains anything that is read here.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from xkeymsg.display import safe_repr
from xkeymsg.errors import ConfigurationError, KeyFormatError, KeyStoreError
from xkeymsg.nkey import Signer, UserKey, is_seed
from xkeymsg.refusals import refusing
from xkeymsg.text import MARK, path_text, without_mark
from xkeymsg.transport.options import ConnectOptions, LoginText
from xkeymsg.trust.creds import find_creds

__all__ = (
    "expand_path",
    "login",
    "read_login",
    "read_user_key",
    "resolve_login",
    "resolve_text",
    "validity",
)

_MAX_FILE: Final = 1 << 20
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?(.*)", re.DOTALL)
_RESOLVED: Final = ("data", "env", "file")
_STORES: Final = ("nsc", "op")
"""Secret stores that the nats CLI asks, and we do not."""
_VARIABLE: Final = re.compile(r"\$(?:\{(\w+)\}|(\w+))")

Source = Path | LoginText


@refusing
def login(options: ConnectOptions, stored: Signer | None = None) -> dict[str, Any]:
    """Return the login arguments for nats-py's `connect`.

    Args:
        options: The settings.
        stored: What `StoredKeys` has opened in `nkey_store`.

    Raises:
        ConfigurationError: If a file has invalid content.
        KeyStoreError: If a file cannot be read.
    """
    if options.creds is not None:
        creds = options.creds
        _read_creds(creds)  # report a bad file now, not while connecting
        signer = _Signer(lambda: _read_creds(creds)[1])
        return {"user_jwt_cb": lambda: _read_creds(creds)[0], "signature_cb": signer.sign}
    if options.nkey is not None:
        source = options.nkey
        signer = _Signer(lambda: _user_key(source, read_login(source)))
        signer.public()  # report a bad file now
        return {"public_nkey": signer.public, "signature_cb": signer.sign}
    if stored is not None:
        signer = _Signer(lambda: stored)
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
    return _user_key(path, read_login(path))


@refusing
def validity(options: ConnectOptions) -> str | None:
    """Return why the user JWT is not valid now, according to our clock; None if it may be valid."""
    try:
        jwt = None if options.creds is None else find_creds(read_login(options.creds))[0]
        payload = (jwt or "").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        now = datetime.now(UTC).timestamp()
        for claim, said in (("exp", "expired on"), ("nbf", "is not valid before")):
            at = claims.get(claim)
            if type(at) is int and at > 0 and (at <= now) == (claim == "exp"):
                when = datetime.fromtimestamp(at, UTC)
                return f"{_name(options.creds)}: the user JWT {said} {when:%Y-%m-%d %H:%M:%S} UTC"
    except (
        KeyStoreError,
        ValueError,
        IndexError,
        AttributeError,
        OSError,
        ArithmeticError,
        RecursionError,
    ):
        pass  # it is the server that judges a JWT
    return None


@safe_repr
@dataclass(frozen=True, slots=True)
class _Signer:
    key: Callable[[], Signer]

    def public(self) -> str:
        """Return the public key of the signing key that is now in the file."""
        return self.key().public_key.decode()

    def sign(self, nonce: str) -> bytes:
        """Sign a login nonce that `HardenedClient` has checked."""
        return base64.b64encode(self.key().sign(nonce.encode()))


def _read_creds(source: Source) -> tuple[bytes, UserKey]:
    """Return the user JWT and the key of a `.creds` file."""
    text = read_login(source)
    jwt = find_creds(text)[0]
    if jwt is None:
        raise ConfigurationError(f"{_name(source)}: USER JWT is missing")
    return jwt.encode(), _user_key(source, text, "USER NKEY SEED is missing")


def _name(source: Source | None) -> str:
    return source.name if isinstance(source, LoginText) else path_text(str(source))


def read_login(source: Source) -> str:
    """Return the text of credentials; characters that are not UTF-8 are replaced.

    Raises:
        KeyStoreError: If the file cannot be read.
    """
    if isinstance(source, LoginText):
        return source.text
    if is_seed(str(source)):
        raise KeyStoreError("expected a file name, not a secret seed: write the seed to a file")
    try:
        with source.open("rb") as file:
            return without_mark(file.read(_MAX_FILE)).decode(errors="replace")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "invalid file name"
        raise KeyStoreError(f"cannot read {_name(source)}: {reason}") from None


def _user_key(source: Source, text: str, missing: str = "") -> UserKey:
    """Return the first seed of a text: between marker lines, or else a line `S…` of its own."""
    seed = find_creds(text)[1]
    if seed is None and not missing:
        lines = map(str.strip, text.splitlines())
        likely = sorted((line for line in lines if line[:1] in "Ss"), key=is_seed, reverse=True)
        seed = likely[0] if likely and likely[0] else None
        missing = "expected a line with a user seed SU…"
    if seed is None:
        raise ConfigurationError(f"{_name(source)}: {missing}")
    try:
        return UserKey(seed)
    except KeyFormatError as error:
        raise ConfigurationError(f"{_name(source)}: {error}") from None


# --- the forms of the nats CLI --------------------------------------------------------------------


@refusing
def resolve_login(name: str, text: str, environ: Mapping[str, str] = os.environ) -> Source:
    """Return the credentials that a setting of the nats CLI names: a file, or their text.

    Args:
        name: What is set, for errors; they never repeat its value.
        text: A path, `file://PATH`, `env://VARIABLE`, or `data:;base64,…`.
        environ: The environment.

    Raises:
        ConfigurationError: If the form is invalid or not supported.
    """
    scheme, rest = _scheme(name, text)
    if scheme in ("", "file"):
        return expand_path(name, text, environ)
    return LoginText(name, _resolved(name, scheme, rest, environ))


@refusing
def resolve_text(name: str, text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a text of the nats CLI, such as a password: the value itself, or from `resolve_login`.

    Raises:
        ConfigurationError: If the form is invalid or not supported.
        KeyStoreError: If its file cannot be read.
    """
    match = _SCHEME.fullmatch(text)
    if match is None or match[1].lower() not in (*_RESOLVED, *_STORES):
        return text
    source = resolve_login(name, text, environ)
    return read_login(source).rstrip("\r\n")


@refusing
def expand_path(name: str, text: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file that a setting of the nats CLI names: `~`, `$VARIABLE` and `file://` work.

    Raises:
        ConfigurationError: If it names anything but a file, or a variable that is not set.
    """
    scheme, rest = _scheme(name, text)
    if scheme not in ("", "file"):
        raise ConfigurationError(f"{name}: expected a file name; {scheme}: is not supported here")

    def value(match: re.Match[str]) -> str:
        found = environ.get(match[1] or match[2])
        if found is None:
            raise ConfigurationError(f"{name}: the value refers to a variable that is not set")
        return found

    try:
        return Path(_VARIABLE.sub(value, rest)).expanduser()
    except RuntimeError:  # `~` of an unknown user
        raise ConfigurationError(f"{name}: no home directory for the user after '~'") from None


def _scheme(name: str, text: str) -> tuple[str, str]:
    """Split a scheme from a text; none, if it is a path."""
    match = _SCHEME.fullmatch(text)
    if match is None or not (match[1].lower() in _RESOLVED or match[2]):
        return "", text
    if (scheme := match[1].lower()) in _RESOLVED:
        return scheme, match[3]
    form = f"{scheme}://" if scheme in _STORES else "a URL of this scheme"  # it may be a secret
    said = "use the name of a file, env://VARIABLE or data:;base64,…"
    raise ConfigurationError(f"{name}: {form} is not supported: {said}")


def _resolved(name: str, scheme: str, rest: str, environ: Mapping[str, str]) -> str:
    if scheme == "env":
        if not (found := environ.get(rest)):
            raise ConfigurationError(f"{name}: the variable of env:// is not set")
        return found.removeprefix(MARK)
    header, comma, payload = rest.partition(",")
    if not comma or "base64" not in map(str.strip, header.split(";")):
        raise ConfigurationError(f"{name}: expected data:;base64,…")
    try:
        content = base64.b64decode(payload, validate=True)
    except ValueError:
        raise ConfigurationError(f"{name}: the data URI is not valid base64") from None
    return without_mark(content).decode(errors="replace")
