"""NATS contexts: named connection settings of the nats CLI (ADR-21).

Reads `$XDG_CONFIG_HOME/nats/context/NAME.json`, and the name of the selected context from
`nats/context.txt`. `creds` and `nkey` may also be `env://VARIABLE` or `data:;base64,…`, and paths
may contain `~` and `$VARIABLE`. Unsupported settings (an nsc lookup, a proxy) are errors: without
them the connection would not be the one that the user configured. Our own settings `nkey_store` and
`cert_store`, with their matches, are ignored by the nats CLI.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from xkeymsg.errors import ConfigurationError, KeyStoreError
from xkeymsg.refusals import refusing
from xkeymsg.text import may_be_secret, path_text, without_mark
from xkeymsg.transport.credentials import expand_path, resolve_login, resolve_text
from xkeymsg.transport.options import ConnectOptions, LoginText
from xkeymsg.trust.creds import join_creds

__all__ = ("load_context", "selected_context")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*")
_UNSUPPORTED: Final = ("nsc", "socks_proxy", "jetstream_event_prefix")
_PLAIN: Final = (
    "user", "inbox_prefix", "jetstream_domain", "jetstream_api_prefix", "nkey_store",
    "nkey_match_by", "nkey_match", "cert_store", "cert_match_by", "cert_match",
)  # fmt: skip
_STORES: Final = frozenset({"nkey_store", "cert_store"})
_TEXTS: Final = ("password", "token", "user_jwt", "user_seed")
_LOGINS: Final = ("creds", "nkey")
_PATHS: Final = {"cert": "tls_cert", "key": "tls_key", "ca": "tls_ca"}
_MAX_FILE: Final = 1 << 16
_BROKEN: Final = object()


def _directory(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "nats"


def selected_context(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the context that `nats context select` chose, or None.

    Raises:
        ConfigurationError: If the selection exists but cannot be read.
    """
    path = _directory(environment) / "context.txt"
    try:
        return without_mark(path.read_bytes()).decode(errors="replace").strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path_text(path)}: {error.strerror}") from None


@refusing
def load_context(name: str, environment: Mapping[str, str] = os.environ) -> ConnectOptions:
    """Read a context as connection settings.

    Args:
        name: Its name, as in `nats context ls`.
        environment: The variables, for `XDG_CONFIG_HOME`.

    Raises:
        ConfigurationError: If the context does not exist, cannot be read, or has an unsupported
            setting. The error repeats no value: it may be a password.
    """
    if not _NAME.fullmatch(name) or may_be_secret(name):
        shown = "" if may_be_secret(name) else f" {name!r}"
        raise ConfigurationError(f"invalid NATS context name{shown}")
    path = _directory(environment) / "context" / f"{name}.json"
    settings = _read(name, path)
    for key in _UNSUPPORTED:
        if settings.get(key):
            raise ConfigurationError(f"context {name!r}: {key!r} is not supported")
    if settings.get("windows_cert_store"):
        raise ConfigurationError(
            f"context {name!r}: cert_store not compatible with current operating system"
        )
    try:
        return _options(name, settings, environment)
    except (ConfigurationError, KeyStoreError) as error:
        raise type(error)(f"context {name!r}: {error}") from error


def _options(name: str, settings: dict[str, Any], environment: Mapping[str, str]) -> ConnectOptions:
    given = {key: value for key, value in settings.items() if value}
    chosen: dict[str, Any] = {key: given[key] for key in _PLAIN if key in given}
    for key in given.keys() & set(_TEXTS):
        chosen[key] = resolve_text(key, given[key], environment)
    for key in given.keys() & set(_LOGINS):
        source = resolve_login(key, given[key], environment)
        if isinstance(source, LoginText):
            source.name = f"context {name!r}: {key}"
        chosen[key] = source
    for key in given.keys() & _PATHS.keys():
        chosen[_PATHS[key]] = expand_path(key, given[key], environment)
    _join_user(name, chosen)
    if "url" in given:
        chosen["servers"] = tuple(part.strip() for part in given["url"].split(","))
    for key in ("tls_first", "cert_match_skip_invalid"):
        chosen[key] = bool(given.get(key))
    return ConnectOptions(**chosen)


def _join_user(name: str, chosen: dict[str, Any]) -> None:
    """Replace `user_jwt` and `user_seed` by the login that they stand for."""
    jwt, seed = chosen.pop("user_jwt", None), chosen.pop("user_seed", None)
    if jwt is not None and seed is None:
        raise ConfigurationError("user_jwt requires user_seed")
    if seed is not None:
        kind, text = ("nkey", seed) if jwt is None else ("creds", join_creds(jwt, seed))
        if kind in chosen:
            raise ConfigurationError(f"only one of {kind} and user_seed can be used to log in")
        chosen[kind] = LoginText(f"context {name!r}: user_seed", text)


def _read(name: str, path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            settings = _json(without_mark(file.read(_MAX_FILE)))
    except OSError as error:
        where = path_text(path)
        raise ConfigurationError(f"no NATS context {name!r} at {where}: {error.strerror}") from None
    if settings is _BROKEN:
        raise ConfigurationError(f"the NATS context {path} is not JSON")
    if not isinstance(settings, dict):
        raise ConfigurationError(f"the NATS context {path} is not a JSON object")
    # The nats CLI accepts any case. A key that it reads, and we do not, would change the login.
    settings = {str(key).lower(): value for key, value in settings.items()}
    if settings.keys() & _STORES and (
        status.st_mode & 0o022 or status.st_uid not in (0, os.geteuid())
    ):
        raise ConfigurationError(
            f"the NATS context {path} names a key store, which can run a program, but other users"
            " can change it: chown it, and chmod 600 it"
        )
    for key in (*_PLAIN, *_TEXTS, *_LOGINS, *_PATHS, "url"):
        if not isinstance(settings.get(key, ""), str):
            raise ConfigurationError(f"the NATS context {path}: {key!r} is not a string")
    return settings


def _json(text: bytes) -> object:
    """Parse JSON, or return `_BROKEN`: the parser's error holds the text, with passwords."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN
