"""Configuration sections shared by both daemons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from xkeymsg.daemons.common.destinations import check_address, is_loopback
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.common.values import (
    Duration,
    FilePath,
    Flag,
    Name,
    PeersPath,
    Seconds,
    SeedPath,
    Subject,
    Text,
    UserName,
)
from xkeymsg.errors import KeyStoreError, PinError, XKeyMsgError
from xkeymsg.key_stores.opening import list_keys, open_key, open_keys
from xkeymsg.key_stores.stored import StoreKeyPair
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Signer
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.stored_keys import StoredKeys
from xkeymsg.trust.stores.file import read_seed
from xkeymsg.trust.stores.published_entry import MOST_CERTIFICATES

__all__ = (
    "DaemonConfig",
    "DrainSection",
    "KeySection",
    "NatsSection",
    "ObserveSection",
    "OpenedKeys",
    "PlainNatsSection",
    "SourcesSection",
    "TrustSection",
    "repeated_names",
    "rotation_faults",
)


_DAY: Final = 86_400


def _past(day: date) -> date:
    if day > datetime.now(UTC).date():
        raise ValueError("expected a date that is not in the future")
    return day


class OpenedKeys:
    """Opened keys, and how to read them again; equal to all others: settings decide."""

    def __init__(self, pairs: Sequence[XKeyPair] = (), signer: Signer | None = None) -> None:
        self.pairs = tuple(pairs)
        self.signer = signer
        self.reread: Callable[[], KeySection] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenedKeys)

    __hash__ = None  # type: ignore[assignment]


class KeySection(Section):
    """The daemon's own key."""

    seed_file: SeedPath | None = None
    """A file with the seed `SX…`, mode 0600."""
    key_store: Text | None = None
    """A key store instead of a file: `PROVIDER` or `PROVIDER:ADDRESS`, such as `systemd:xkey`."""
    key_match_by: Text | None = None
    """With `key_store`: what `key_match` is; by default, the address in the store."""
    key_match: Text | None = None
    """With `key_store`: which key; must be equal."""
    retired: tuple[SeedPath, ...] = ()
    """Retired key files, newest first; messages sealed to them can still be opened."""
    retired_stores: tuple[Text, ...] = ()
    """Key stores with retired keys, tried after the files."""
    user: UserName | None = None
    """The user nkey `U…` that peers bind to this key, if any."""
    created: Annotated[date, AfterValidator(_past)] | None = None
    """The date the key was created, for the key age metric; default: when its file was written."""
    rotation: Literal["self", "follow"] | None = None
    """Certificates decide which key is current; requires `directory`. "self": this daemon makes,
    certifies, publishes and deletes the keys in `key_store`; "follow": another program does."""
    interval: Annotated[Duration, Field(le=21 * _DAY)] = 14.0 * _DAY
    """With `rotation = "self"`: how long a key is current, such as "14d"."""
    lead: Duration = 600.0
    """With `rotation = "self"`: how long before that a new key is published, so that senders and
    replicas have it in time."""
    retain: Duration = 90.0 * _DAY
    """With `rotation = "self"`: how long a retired key is kept at least; not shorter than the
    `max_age` of the streams that are read, and at most 24 times `interval`."""
    _opened: OpenedKeys = PrivateAttr(default_factory=OpenedKeys)

    @classmethod
    def contradictions(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Require exactly one key."""
        if "seed_file" in table and "key_store" in table:
            yield "seed_file", "'seed_file' and 'key_store' may not both be configured"
        if not {"seed_file", "key_store"} & table.keys():
            yield "seed_file", "expected seed_file or key_store"
        for key in sorted({"key_match", "key_match_by"} & table.keys()):
            if "key_store" not in table:
                yield key, "requires key_store"
        yield from cls._of_rotation(table)

    @classmethod
    def _of_rotation(cls, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        rotation = table.get("rotation")
        if rotation == "self" and "key_store" not in table:
            yield "rotation", '"self" requires key_store: a folder, or a label on a token'
        for key in sorted({"key_match", "key_match_by"} & table.keys()):
            if rotation is not None:
                yield key, "rotation uses all keys of the store"
        for key in sorted({"interval", "lead", "retain"} & table.keys()):
            if rotation != "self":
                yield key, 'requires rotation = "self"'

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.lead > self.interval / 2:
            raise ValueError("lead must be at most half of interval")
        if self.retain > MOST_CERTIFICATES * self.interval:
            raise ValueError(
                f"retain must be at most {MOST_CERTIFICATES} times interval: no more certificates"
                " fit into an entry of the directory"
            )
        return self

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        """Open the keys; the program starts with them, so that a store is read only once."""
        try:
            self._opened = self._open()
        except PinError:
            raise  # it ends the program with its own exit code
        except XKeyMsgError as error:
            raise ValueError(str(error)) from None
        return self

    def open(self) -> tuple[XKeyPair, ...]:
        """Return the active key and the retired ones, as opened when the section was read.

        Raises:
            KeyStoreError: If a key cannot be read.
        """
        if not self._now().pairs:  # the owner of an empty store makes its first key before use
            self._opened.pairs = (XKeyPair.generate(),)
        return self._opened.pairs

    def close(self) -> None:
        """Forget the opened keys."""
        self._opened.pairs, self._opened.signer = (), None

    def _now(self) -> OpenedKeys:
        if not self._opened.pairs:
            opened = self._open()
            self._opened.pairs, self._opened.signer = opened.pairs, opened.signer
        return self._opened

    def reread_with(self, reread: Callable[[], KeySection]) -> None:
        """Set what reads this section again; without it, only its keys are."""
        self._opened.reread = reread

    def reread(self) -> KeySection:
        """Return this section as it is now, with its keys opened again.

        Raises:
            ConfigurationError: If the section is invalid, or a key cannot be read.
            KeyStoreError: If a key cannot be read.
        """
        reread = self._opened.reread
        if reread is None:
            section: KeySection = self.model_copy()
            section._opened = section._open()
            return section
        section = reread()
        section.reread_with(reread)
        return section

    def open_all(self) -> tuple[XKeyPair, ...]:
        """Return all keys, opened again; with `rotation`, their order says nothing.

        Raises:
            KeyStoreError: If a key cannot be read.
        """
        return KeySection._open(self).pairs  # without a signing key

    def _open(self) -> OpenedKeys:
        """Open the keys; all that match in `key_store` open messages, and the first one seals."""
        own: Sequence[XKeyPair]
        if self.rotation is not None and self.key_store is not None:
            keys = [key for key in list_keys(self.key_store) if key.public().startswith("X")]
            own = [StoreKeyPair(key) for key in keys]
        elif self.key_store is not None:
            own = open_keys(self.key_store, match_by=self.key_match_by, match=self.key_match)
        elif self.seed_file is not None:
            own = [read_seed(self.seed_file)]
        else:
            raise KeyStoreError("expected seed_file or key_store")
        retired = [read_seed(path) for path in self.retired]
        pairs = [*own, *retired, *map(open_key, self.retired_stores)]
        if not pairs and self.rotation != "self":
            raise KeyStoreError("unable to find key in store")
        return OpenedKeys(pairs)


def repeated_names(routes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the names that several routes have: logs and metrics could not tell them apart."""
    for name, count in Counter(str(each.get("name")) for each in routes).items():
        if count > 1 and name != "None":
            yield "route", f"names must be unique: {count} routes are called {name!r}"


def rotation_faults(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what a configuration with `rotation` lacks."""
    tables = {name: table.get(name) for name in ("key", "trust", "nats")}
    key, trust, nats = (each if isinstance(each, Mapping) else {} for each in tables.values())
    if key.get("rotation") is not None:
        if trust.get("directory") is not True:
            yield "key", "rotation requires directory = true in [trust]"
        if "creds" not in nats:
            yield "key", "rotation requires creds in [nats]: their user signs the certificates"


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
    """With `folder`: the own account `A…`; default: that of `creds` in `[nats]`, or else the only
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
    """With `nkey_store`: which key; must be equal."""
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
    path = text.removeprefix("unix:")
    if path != text and path.startswith("/") and len(path.encode()) < 108:
        return text
    host, colon, port = text.rpartition(":")
    fits = colon and port.isascii() and port.isdecimal() and int(port) < 65536
    if path != text or not fits or not is_loopback(host.strip("[]")):
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
