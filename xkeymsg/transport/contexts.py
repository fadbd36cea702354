"""NATS contexts: named connection settings of the nats CLI (ADR-21).

Reads `$XDG_CONFIG_HOME/nats/context/NAME.json`, and the name of the selected context from
`nats/context.txt`. Unsupported settings (an nsc lookup, a proxy) are errors: without them the
connection would not be the one that the user configured.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from xkeymsg.errors import ConfigurationError
from xkeymsg.refusals import refusing
from xkeymsg.text import without_mark
from xkeymsg.transport.options import ConnectOptions

__all__ = ("load_context", "selected_context")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@:-]*")
_UNSUPPORTED: Final = (
    "nsc",
    "socks_proxy",
    "user_jwt",
    "windows_cert_store",
    "jetstream_domain",
    "jetstream_api_prefix",
    "jetstream_event_prefix",
)
_STRINGS: Final = ("user", "password", "token")
_PATHS: Final = {
    "creds": "creds",
    "nkey": "nkey",
    "cert": "tls_cert",
    "key": "tls_key",
    "ca": "tls_ca",
}
_MAX_FILE: Final = 1 << 16
_BROKEN: Final = object()


def _directory(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else _path("~/.config")) / "nats"


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
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


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
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"invalid NATS context name {name!r}")
    path = _directory(environment) / "context" / f"{name}.json"
    settings = _read(name, path)
    for key in _UNSUPPORTED:
        if settings.get(key):
            raise ConfigurationError(f"context {name!r}: {key!r} is not supported")
    chosen: dict[str, Any] = {
        key: settings[key] for key in (*_STRINGS, "inbox_prefix") if settings.get(key)
    }
    chosen |= {ours: _path(settings[key]) for key, ours in _PATHS.items() if settings.get(key)}
    if url := settings.get("url"):
        chosen["servers"] = tuple(part.strip() for part in str(url).split(","))
    try:
        return ConnectOptions(**chosen, tls_first=bool(settings.get("tls_first")))
    except ConfigurationError as error:
        raise ConfigurationError(f"context {name!r}: {error}") from error


def _read(name: str, path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            settings = _json(without_mark(file.read(_MAX_FILE)))
    except OSError as error:
        raise ConfigurationError(f"no NATS context {name!r} at {path}: {error.strerror}") from error
    if settings is _BROKEN:
        raise ConfigurationError(f"the NATS context {path} is not JSON")
    if not isinstance(settings, dict):
        raise ConfigurationError(f"the NATS context {path} is not a JSON object")
    for key in (*_STRINGS, *_PATHS, "url", "inbox_prefix"):
        if not isinstance(settings.get(key, ""), str):
            raise ConfigurationError(f"the NATS context {path}: {key!r} is not a string")
    return settings


def _json(text: bytes) -> object:
    """Parse JSON, or return `_BROKEN`: the parser's error holds the text, with passwords."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN


def _path(text: object) -> Path:
    try:
        return Path(str(text)).expanduser()
    except RuntimeError as error:  # `~` of an unknown user
        raise ConfigurationError(f"no home directory for {str(text)!r}") from error
