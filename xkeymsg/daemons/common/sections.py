"""Configuration sections shared by both daemons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from xkeymsg.client.telemetry import Telemetry
from xkeymsg.daemons.common.destinations import check_address
from xkeymsg.daemons.common.listeners import is_local
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import (
    FilePath,
    Flag,
    Name,
    PeersPath,
    Seconds,
    Subject,
    Text,
)
from xkeymsg.errors import PinError, XKeyMsgError
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.stored_keys import StoredKeys

__all__ = (
    "DaemonConfig",
    "DrainSection",
    "NatsSection",
    "ObserveSection",
    "PlainNatsSection",
    "SourcesSection",
    "TrustSection",
    "repeated_names",
)


def repeated_names(routes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the names that several routes have: logs and metrics could not tell them apart."""
    for name, count in Counter(str(each.get("name")) for each in routes).items():
        if count > 1 and name != "None":
            yield "route", f"names must be unique: {count} routes are called {name!r}"


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class SourcesSection(Section):
    """A source of trust: a peers file, or a folder of NATS JWTs and xkey certificates."""

    peers: PeersPath | None = None
    """A peers file (`xkeymsg peers add`); reloaded on SIGHUP, and when it changes."""
    folder: FilePath | None = None
    """Instead of `peers`: an operator's folder in nsc's store, with certificates beside the users;
    reloaded on SIGHUP, and when it changes."""
    anchor: Annotated[tuple[Text, ...], BeforeValidator(_several)] = ()
    """With `folder`: the operator's identity `O…`; during a change of it, an array of both."""
    account: Text | None = None
    """With `folder`: your own account `A…`; default: that of `creds` in `[nats]`, or else the only
    one."""
    accounts: dict[Text, Text] = Field(default_factory=dict)
    """With `folder`: other accounts `A…` by alias; `insurer/claims` is a user of `insurer`."""
    pins: dict[Text, Text] = Field(default_factory=dict)
    """With `folder`: names that stand for one user `U…`, whoever else uses the name."""
    marks: FilePath | None = None
    """With `folder`: a file of this daemon alone with the newest claims seen, so that no older one
    comes back after a restart."""
    operator_identity_issues: Flag = False
    """With `folder`: allow accounts issued by the operator's identity."""
    account_identity_issues: Flag = True
    """With `folder`: allow users issued by an account's identity."""
    directory: Flag = False
    """With `folder`: also follow the directory of users, the bucket XKEYS."""
    stale_after: Annotated[Seconds, Field(ge=30)] = 600.0
    """With `directory`: seconds without an answer of the bucket after which the daemon is not
    ready."""
    fail_closed: Flag = False
    """With `directory`: resolve no name after that time, either."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Require one source of trust, and its own settings only."""
        if ("peers" in table) == ("folder" in table):
            yield "peers", "expected exactly one of peers and folder"
        yield from cls._of_folder(table)

    @classmethod
    def _of_folder(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "folder" not in table:
            for key in sorted(table.keys() & _OF_FOLDERS):
                yield key, "requires folder"
            return
        if not table.get("anchor"):
            yield "anchor", "missing: folder requires the operator's identity O…"
        if table.get("directory") is not True:
            for key in sorted(table.keys() & {"stale_after", "fail_closed"}):
                yield key, "requires directory = true"


_OF_FOLDERS: Final = SourcesSection.model_fields.keys() - {"peers", "folder"}


class TrustSection(SourcesSection):
    """The senders that the daemon trusts."""

    anyone: Flag = False
    """Admit every sender: a message then proves only which key sealed it."""
    require_signature: Flag = False
    """Refuse messages that are not signed by the sender's user."""

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Require exactly one source of trust."""
        anyone = table.get("anyone") is True
        if ("peers" in table) + ("folder" in table) + anyone != 1:
            yield "peers", "expected exactly one of peers, folder and anyone = true"
        if anyone and table.get("require_signature") is True:
            yield (
                "require_signature",
                ("requires peers or folder: with anyone = true no signature is trusted"),
            )
        yield from cls._of_folder(table)


class NatsSection(Section):
    """The NATS servers and the login; at most one login method."""

    servers: Annotated[tuple[Text, ...], Field(min_length=1, repr=False)] = (
        "nats://127.0.0.1:4222",
    )
    """Addresses, `nats://` or `tls://`."""
    creds: FilePath | None = None
    """A `.creds` file to log in with; read again for each connection."""
    nkey: FilePath | None = None
    """A file with a user's seed `SU…` to log in with."""
    nkey_store: Text | None = None
    """A key store with that key instead; read again on SIGHUP."""
    nkey_match_by: Text | None = None
    """With `nkey_store`: what `nkey_match` is; by default, the address in the store."""
    nkey_match: Text | None = None
    """With `nkey_store`: which key (exact match)."""
    user: Text | None = None
    """A user name to log in with."""
    password: SecretStr | None = None
    """That user's password; preferably set in the environment."""
    token: SecretStr | None = None
    """A token to log in with."""
    tls_cert: FilePath | None = None
    """A client certificate, PEM, with `tls_key`."""
    tls_key: FilePath | None = None
    """Its private key, PEM."""
    tls_ca: FilePath | None = None
    """The certificate authorities to trust instead of the system's, PEM."""
    cert_store: Text | None = None
    """A key store with the certificate and its key, instead of `tls_cert`; read again on SIGHUP."""
    cert_match_by: Text = "Subject"
    """With `cert_store`: what `cert_match` is: `Subject`, `Issuer` or `Thumbprint`."""
    cert_match: str = ""
    """With `cert_store`: which certificate; equal to a value of its subject or issuer."""
    cert_match_skip_invalid: Flag = False
    """With `cert_store`: skip certificates that are not valid now."""
    tls_first: Flag = False
    """Start TLS before the server's greeting (its `handshake_first`)."""
    inbox_prefix: Subject = "_INBOX"
    """The prefix of reply subjects."""
    jetstream_domain: Text | None = None
    """The JetStream domain, if it is not the server's own."""
    jetstream_api_prefix: Subject | None = None
    """The subject prefix of an imported JetStream API, instead of a domain."""
    timeout: Seconds = 5.0
    """Timeout of the first connection, and of each reply from the server, in seconds."""

    _keys: StoredKeys | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        """Open the keys; the program connects with them, so that a store is read only once."""
        try:
            options = self.options("xkeymsg")
            self._keys = StoredKeys(options)
            options.ssl_context(self._keys.identity())
            login(options, self._keys.signer)
        except PinError:
            raise
        except XKeyMsgError as error:
            raise ValueError(str(error)) from None
        return self

    @property
    def keys(self) -> StoredKeys | None:
        """The keys in key stores, as opened when the section was read."""
        return self._keys

    def options(self, name: str) -> ConnectOptions:
        """Return the connection options for a client called `name`.

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
    """A server that may see plaintext: on this machine, or reached through TLS."""

    servers: Annotated[tuple[Address, ...], Field(min_length=1)] = ("nats://127.0.0.1:4222",)
    """Addresses: `tls://`, or `nats://` with 127.0.0.1 or [::1]."""

    def options(self, name: str) -> ConnectOptions:
        """Return the options; without TLS, ignore servers that a server announces."""
        options = super().options(name)
        return replace(options, discover=options.tls_required)


def _listen(text: str) -> str:
    if not is_local(text):
        raise ValueError(
            "expected 127.0.0.1:PORT, [::1]:PORT or unix:/PATH: anyone who can connect sees how"
            " many messages come from where"
        )
    return text


class ObserveSection(Section):
    """Monitoring: health checks, metrics and logs."""

    listen: Annotated[Text, AfterValidator(_listen)] | None = None
    """The address of /healthz, /readyz and /metrics: `127.0.0.1:9464`, `unix:/run/x.sock`."""
    log: Literal["text", "json"] = "text"
    """The format of log lines, on stderr."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged."""
    telemetry: Telemetry = "sealed"
    """With a tracer provider of OpenTelemetry: `sealed` also seals trace contexts, `clear` also
    publishes them unencrypted, `off` creates no spans."""
    micro: Flag = True
    """Answer `$SRV.PING`, `INFO` and `STATS`, for `nats micro ls`."""


class DrainSection(Section):
    """Shutdown."""

    seconds: Seconds = 20.0
    """Seconds after SIGTERM to finish accepted messages; the rest are given up."""


class DaemonConfig(Section):
    """The settings that both daemons have."""

    name: Name
    """The name in `nats micro ls` and in the server's list of connections."""
    nats: NatsSection = Field(default_factory=NatsSection)
    observe: ObserveSection = ObserveSection()
    drain: DrainSection = DrainSection()
