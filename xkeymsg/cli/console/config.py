"""The console's configuration file: what it shows, and where it listens."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field

from xkeymsg.daemons.common.config import load_config
from xkeymsg.daemons.common.destinations import check_websocket
from xkeymsg.daemons.common.listeners import is_local
from xkeymsg.daemons.common.sections import NatsSection, SourcesSection
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import Duration, FilePath, Name, Pattern, PolicyPath, Text
from xkeymsg.daemons.receiver.sinks.token import read_token
from xkeymsg.errors import ConfigurationError

__all__ = (
    "PREFIX",
    "ConsoleConfig",
    "LoginSection",
    "SubjectSection",
    "TLSSection",
    "load",
    "read_password",
)

PREFIX: Final = "XKEYMSG_CONSOLE"

_HOST: Final = re.compile(
    r"(\[[0-9a-f:]{2,39}\]|[a-z0-9](?:[a-z0-9.-]{0,252}[a-z0-9])?)(:[0-9]{1,5})?"
)
_MOST: Final = 64
"""Subjects, and streams, that the pages show."""


def _listen(text: str) -> str:
    if text.startswith("unix:"):
        if is_local(text):
            return text
        raise ValueError("expected unix:/PATH with at most 107 bytes")
    host, colon, port = text.rpartition(":")
    fits = colon and port.isascii() and port.isdecimal() and int(port) < 65536
    if not fits or not re.fullmatch(r"[0-9.]+|\[[0-9a-f:]+\]", host):
        raise ValueError(
            "expected ADDRESS:PORT, such as 127.0.0.1:8480 or [::1]:8480, or unix:/PATH"
        )
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("expected the Host of a URL in lower case: console.example.com:8480")
    return text


def _websocket(text: str) -> str:
    return check_websocket(text).removesuffix("/")


class SubjectSection(Section):
    """Sealed messages, and who can read them: the settings of the sender's route."""

    subject: Pattern
    """The subject, wildcards as in NATS. A message on it that is not sealed is reported."""
    policy: PolicyPath | None = None
    """The policy of documents on it."""
    readers: dict[Text, tuple[Text, ...]] = Field(default_factory=dict)
    """With `policy`: the holders of each permission, instead of `perm:NAME`."""
    recipients: tuple[Text, ...] = ()
    """Without `policy`: the recipients, names or `perm:NAME`."""
    compare: PolicyPath | None = None
    """With `policy`: another version of it; the page shows what it would change."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield conflicting settings."""
        if ("policy" in table) == bool(table.get("recipients")):
            yield "recipients", "expected exactly one of recipients and policy"
        for key in ("readers", "compare"):
            if key in table and "policy" not in table:
                yield key, "requires policy"


class TLSSection(Section):
    """TLS, for an address other than loopback."""

    cert: FilePath
    """The certificate and its chain, PEM."""
    key: FilePath
    """Its private key, PEM, mode 0600."""


class LoginSection(Section):
    """The login of browsers (HTTP Basic), required for an address other than loopback."""

    user: Name
    """The user."""
    password_file: FilePath
    """A file with the password, at least 16 printable characters, mode 0600."""


class ConsoleConfig(Section):
    """The console's configuration."""

    name: Name = "console"
    """The name in the server's list of connections."""
    listen: Annotated[Text, AfterValidator(_listen)] = "127.0.0.1:8480"
    """Where browsers connect: a loopback port, or `unix:/PATH`; elsewhere requires `[tls]`,
    `[login]` and `hosts`."""
    hosts: tuple[Annotated[Text, AfterValidator(_host)], ...] = ()
    """Names of this server in URLs, with the port unless it is 443; not needed on loopback."""
    log: Literal["text", "json"] = "text"
    """The format of log lines, on stderr."""
    websocket: Annotated[Text, AfterValidator(_websocket)] | None = None
    """The websocket of the NATS server, `wss://HOST:PORT`: browsers connect to it themselves, with
    their own login, to open messages."""
    retain: Duration = 90.0 * 86_400
    """How long receivers keep retired keys: their `retain`."""
    streams: Annotated[tuple[Name, ...], Field(max_length=_MOST)] = ()
    """The streams to show, and to sample."""
    unproven: Name = "XKM_UNPROVEN"
    """The quarantine stream of unauthenticated messages."""
    proven: Name = "XKM_PROVEN"
    """The quarantine stream of authenticated messages."""
    subject: Annotated[tuple[SubjectSection, ...], Field(max_length=_MOST)] = ()
    """Who can read what."""
    nats: NatsSection = Field(default_factory=NatsSection)
    trust: SourcesSection | None = None
    tls: TLSSection | None = None
    login: LoginSection | None = None

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Demand TLS, a login and names for an address that others can reach."""
        if not is_local(str(table.get("listen", "127.0.0.1:0"))):
            for key in ("tls", "login", "hosts"):
                if not table.get(key):
                    yield key, "missing: others can reach the address in listen"
        named = [each for each in table.get("subject", ()) if isinstance(each, Mapping)]
        for name, count in Counter(str(each.get("subject")) for each in named).items():
            if count > 1:
                yield "subject", f"must be unique: {count} are {name[:80]!r}"
        if named and "trust" not in table:
            yield "trust", "missing: it tells who the recipients are"


def load(path: Path, environ: Mapping[str, str] | None = None) -> ConsoleConfig:
    """Read the console's configuration file.

    Raises:
        ConfigurationError: If it is invalid; the error has one line per fault.
    """
    given = os.environ if environ is None else environ
    config = load_config(ConsoleConfig, path, prefix=PREFIX, environ=given)
    if config.login is not None:
        read_password(config.login.password_file)
    return config


def read_password(path: Path) -> str:
    """Read the password of the login.

    Raises:
        ConfigurationError: If it cannot be read, is readable by others, or is too short.
    """
    password = read_token(path)
    if len(password) < 16:
        raise ConfigurationError(f"{path}: expected at least 16 characters")
    return password
