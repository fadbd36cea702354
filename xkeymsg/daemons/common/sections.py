"""The sections of a daemon's file that both programs have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from xkeymsg.daemons.common.destinations import check_address, is_loopback
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import (
    FilePath,
    Flag,
    PeersPath,
    Seconds,
    SeedPath,
    Subject,
    Text,
    UserName,
)
from xkeymsg.errors import XKeyMsgError
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.systemd import read_credential

__all__ = (
    "DrainSection",
    "KeySection",
    "NatsSection",
    "ObserveSection",
    "PlainNatsSection",
    "TrustSection",
)


def _credential(name: str) -> str:
    try:
        read_credential(name)
    except XKeyMsgError as error:
        raise ValueError(str(error)) from None
    return name


Credential = Annotated[Text, AfterValidator(_credential)]


def _past(day: date) -> date:
    if day > datetime.now(UTC).date():
        raise ValueError("expected is a day that has begun")
    return day


class KeySection(Section):
    """The program's own key."""

    seed_file: SeedPath | None = None
    """A file with the seed `SX…`, mode 0600."""
    credential: Credential | None = None
    """The name of a credential with the seed (systemd's `LoadCredential=`), in its place."""
    retired: tuple[SeedPath, ...] = ()
    """Files with keys of before, newest first: what was sealed to them still opens."""
    retired_credentials: tuple[Credential, ...] = ()
    """Names of credentials with keys of before, after those."""
    user: UserName | None = None
    """The user nkey `U…` under which others know the key, if they do."""
    created: Annotated[date, AfterValidator(_past)] | None = None
    """The day the key was made, for the metric of its age; else when its file was written."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what is wrong: there has to be one key."""
        if ("seed_file" in table) == ("credential" in table):
            yield "seed_file", "expected is one of seed_file and credential"


class TrustSection(Section):
    """Whom the program believes."""

    peers: PeersPath | None = None
    """A file of peers (`xkeymsg peers add`); read again on SIGHUP, and when it changes."""
    anyone: Flag = False
    """Admit every sender: a message then says which key sealed it, and nothing more."""
    require_signature: Flag = False
    """Refuse messages that the sender's user has not signed."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield what is wrong: there has to be one source of trust."""
        if ("peers" in table) == (table.get("anyone") is True):
            yield "peers", "expected is peers, a file, or anyone = true: one of them"
        if table.get("anyone") is True and table.get("require_signature") is True:
            yield "require_signature", "with anyone no signature can count: expected is peers"


class NatsSection(Section):
    """How to reach NATS, and as whom; at most one way to log in."""

    servers: Annotated[tuple[Text, ...], Field(min_length=1)] = ("nats://127.0.0.1:4222",)
    """Addresses, `nats://` or `tls://`."""
    creds: FilePath | None = None
    """A `.creds` file to log in with; read anew at each connection."""
    nkey: FilePath | None = None
    """A file with a user's seed `SU…` to log in with."""
    user: Text | None = None
    """A user name to log in with."""
    password: SecretStr | None = None
    """That user's password; better in the environment than here."""
    token: SecretStr | None = None
    """A token to log in with."""
    tls_cert: FilePath | None = None
    """A client certificate, PEM, with `tls_key`."""
    tls_key: FilePath | None = None
    """Its private key, PEM."""
    tls_ca: FilePath | None = None
    """The authorities to believe in the place of the system's, PEM."""
    tls_first: Flag = False
    """Shake hands before the server says anything (its `handshake_first`)."""
    inbox_prefix: Subject = "_INBOX"
    """What subjects for answers begin with."""
    timeout: Seconds = 5.0
    """Seconds that the first connection, and each answer of the server, may take."""

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        try:
            options = self.options("xkeymsg")
            options.ssl_context()
            login(options)
        except XKeyMsgError as error:
            raise ValueError(str(error)) from None
        return self

    def options(self, name: str) -> ConnectOptions:
        """Return the settings for a connection of that name.

        Raises:
            ConfigurationError: If they contradict each other.
        """
        given = {key: getattr(self, key) for key in NatsSection.model_fields}
        for key in ("password", "token"):
            secret = given[key]
            given[key] = None if secret is None else secret.get_secret_value()
        return ConnectOptions(**given, name=name)


Address = Annotated[Text, AfterValidator(check_address)]


class PlainNatsSection(NatsSection):
    """A server that may see plaintext: one of this machine, or one through TLS."""

    servers: Annotated[tuple[Address, ...], Field(min_length=1)] = ("nats://127.0.0.1:4222",)
    """Addresses: `tls://`, or `nats://` with 127.0.0.1 or [::1]."""

    def options(self, name: str) -> ConnectOptions:
        """Return the settings; without TLS a server cannot name another, which may be anywhere."""
        options = super().options(name)
        return replace(options, discover=options.tls_required)


def _listen(text: str) -> str:
    path = text.removeprefix("unix:")
    if path != text and path.startswith("/") and len(path.encode()) < 108:
        return text
    host, colon, port = text.rpartition(":")
    fits = colon and port.isascii() and port.isdecimal() and int(port) < 65536
    if path != text or not fits or not is_loopback(host.strip("[]")):
        raise ValueError(
            "expected is 127.0.0.1:PORT, [::1]:PORT or unix:/PATH: who can reach it sees how much"
            " comes from where"
        )
    return text


class ObserveSection(Section):
    """What others see of the program."""

    listen: Annotated[Text, AfterValidator(_listen)] | None = None
    """Where /healthz, /readyz and /metrics are: `127.0.0.1:9464`, `unix:/run/x.sock`."""
    log: Literal["text", "json"] = "text"
    """The form of log lines, on stderr."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Of log lines, the least that is shown."""
    micro: Flag = True
    """Answer `$SRV.PING`, `INFO` and `STATS`, for `nats micro ls`."""


class DrainSection(Section):
    """How the program stops."""

    seconds: Seconds = 20.0
    """What was accepted is finished within so many seconds of SIGTERM; then it is given up."""
