"""Connection options: the servers, login and TLS flags of the nats CLI, as one value."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from xkeymsg.display import safe_repr
from xkeymsg.errors import ConfigurationError
from xkeymsg.nkey import is_seed
from xkeymsg.refusals import refusing
from xkeymsg.text import may_be_secret
from xkeymsg.transport.subjects import is_written_subject
from xkeymsg.transport.tls import tls_context

__all__ = ("DEFAULT_SERVER", "ConnectOptions", "LoginText", "split_address")

DEFAULT_SERVER: Final = "nats://127.0.0.1:4222"
_SCHEMES: Final = ("nats", "tls")
_API: Final = "$JS.API"


class LoginText:
    """The text of credentials or of a seed, for a login without a file; it is never shown.

    Args:
        name: The origin of the text, for errors.
        text: The text.
    """

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def __repr__(self) -> str:
        return "<LoginText>"


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """The servers to connect to, and how to log in.

    At most one login method may be given. Any of these makes TLS required: a `tls://` address,
    `tls_first`, one of the TLS files, or `cert_store`.

    Raises:
        ConfigurationError: If the settings contradict each other or an address is invalid.
    """

    servers: tuple[str, ...] = field(default=(DEFAULT_SERVER,), repr=False)
    """Addresses, `nats://` or `tls://`; hidden in `repr`, as they may hold a password."""
    creds: Path | LoginText | None = field(default=None, repr=False)
    """A `.creds` file, or its text: a user JWT and the seed of its nkey."""
    nkey: Path | LoginText | None = field(default=None, repr=False)
    """A file, or its text, with the seed `SU…` of a user nkey."""
    nkey_store: str | None = field(default=None, repr=False)
    """A key store with a user nkey, such as `systemd:user`; opened once."""
    nkey_match_by: str | None = field(default=None, repr=False)
    """What `nkey_match` is; by default, the address in the store."""
    nkey_match: str | None = field(default=None, repr=False)
    """Which key of the store; must be equal."""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_cert: Path | None = field(default=None, repr=False)
    """A PEM file with the client's certificate chain, with `tls_key`."""
    tls_key: Path | None = field(default=None, repr=False)
    tls_ca: Path | None = field(default=None, repr=False)
    """A PEM file with the certificate authorities to trust instead of the system's."""
    cert_store: str | None = field(default=None, repr=False)
    """A key store with the client's certificate and its private key, instead of `tls_cert`."""
    cert_match_by: str = field(default="Subject", repr=False)
    """What `cert_match` is: `Subject`, `Issuer` or `Thumbprint`."""
    cert_match: str = field(default="", repr=False)
    """Which certificate of the store: equal to a value of its subject or issuer."""
    cert_match_skip_invalid: bool = False
    """Whether to skip certificates that are not valid now."""
    tls_first: bool = False
    """Start the TLS handshake before the server's INFO (its `handshake_first`)."""
    discover: bool = True
    """Whether to use the servers that a server announces: those of its cluster."""
    inbox_prefix: str = field(default="_INBOX", repr=False)
    jetstream_domain: str | None = field(default=None, repr=False)
    """The JetStream domain, if it is not the server's own."""
    jetstream_api_prefix: str | None = field(default=None, repr=False)
    """The subject prefix of JetStream's API, as imported from another account; instead of a
    domain."""
    name: str = field(default="xkeymsg", repr=False)
    """The name of this program in `nats server report connections`."""
    timeout: float = 5.0
    """How long the first connection, each flush, and each reply of JetStream may take, in
    seconds."""

    @refusing
    def __post_init__(self) -> None:
        if not self.servers:
            raise ConfigurationError("servers is empty: give at least one address")
        for server in self.servers:
            self._check_server(server)
        logins = [name for name in _LOGINS if getattr(self, name) is not None]
        if len(logins) > 1:
            raise ConfigurationError(f"only one of {' and '.join(logins)} can be used to log in")
        if self.password is not None and self.user is None:
            raise ConfigurationError("password requires user")
        if self.nkey_store is None and (self.nkey_match_by or self.nkey_match) is not None:
            raise ConfigurationError("nkey_match requires nkey_store")
        self._check_certificate()
        if not is_written_subject(self.inbox_prefix):
            raise ConfigurationError("inbox_prefix must be a subject without wildcards")
        self._check_jetstream()
        if not self.timeout > 0:
            raise ConfigurationError("timeout must be greater than 0 seconds")

    def _check_certificate(self) -> None:
        if self.cert_store is None:
            if (self.tls_cert is None) != (self.tls_key is None):
                raise ConfigurationError("tls_cert and tls_key require each other")
            if self.cert_match or self.cert_match_by != "Subject" or self.cert_match_skip_invalid:
                raise ConfigurationError("cert_match requires cert_store")
        elif self.tls_cert is not None:
            raise ConfigurationError(
                "'cert_file' and 'cert_store' may not both be configured: remove tls_cert"
            )
        elif self.tls_key is not None:
            warnings.warn(
                "tls_key is ignored: the key is in cert_store", RuntimeWarning, stacklevel=2
            )

    def _check_jetstream(self) -> None:
        domain, prefix = self.jetstream_domain, self.jetstream_api_prefix
        if domain is not None and prefix is not None:
            raise ConfigurationError(
                "only one of jetstream_domain and jetstream_api_prefix is used"
            )
        if domain is not None and ("." in domain or not is_written_subject(domain)):
            raise ConfigurationError("jetstream_domain must be one token of a subject")
        if prefix is not None and not is_written_subject(prefix):
            raise ConfigurationError("jetstream_api_prefix must be a subject without wildcards")

    @staticmethod
    def _check_server(server: str) -> None:
        """Refuse an address that nats-py would misread, without revealing its credentials."""
        try:
            parts = split_address(server)
            usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
            host = parts.netloc.rpartition("@")[2]  # it is shown in errors
            secret = host != host.lower() and may_be_secret(host)
            usable = usable and not secret and not any(map(is_seed, host.split(".")))
        except ValueError:  # from urlsplit or `port`
            usable = False
        if not usable:
            raise ConfigurationError("invalid server address; expected e.g. nats://host:4222")

    @property
    def tls_required(self) -> bool:
        """Whether plaintext is refused."""
        files = (self.tls_cert, self.tls_key, self.tls_ca, self.cert_store)
        schemes = {split_address(server).scheme for server in self.servers}
        return self.tls_first or any(files) or "tls" in schemes

    @property
    def addresses(self) -> str:
        """Server addresses for display, with credentials removed."""
        return ", ".join(map(_address, self.servers))

    @property
    def jetstream_api(self) -> str:
        """The subject prefix of JetStream's API."""
        if self.jetstream_domain is not None:
            return f"$JS.{self.jetstream_domain}.API"
        return (self.jetstream_api_prefix or _API).rstrip(".")

    def ssl_context(self, identity: bytes | None = None) -> ssl.SSLContext | None:
        """Build the TLS context, or return None if TLS is not required.

        Args:
            identity: What `StoredKeys` has read from `cert_store`.

        Raises:
            ConfigurationError: If a file cannot be read or used.
            KeyStoreError: If a key on a token cannot be used.
        """
        if not self.tls_required:
            return None
        if self.cert_store is not None:  # beside it, `tls_key` is ignored
            return tls_context(self.tls_ca, None, None, identity=identity)
        return tls_context(self.tls_ca, self.tls_cert, self.tls_key)

    @refusing
    def merged(self, over: Mapping[str, Any]) -> ConnectOptions:
        """Return a copy of these settings with some replaced, by name.

        Any login setting replaces the whole login: a user name from a flag is not combined with a
        password from a context. So does any setting of the client's certificate.

        Raises:
            ConfigurationError: If the result contradicts itself, or does not require TLS although
                these settings do.
        """
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        for several in (_LOGIN, _CERTIFICATE):
            if over.keys() & several:
                own = {name: value for name, value in own.items() if name not in several}
        result = ConnectOptions(**(own | dict(over)))
        if self.tls_required and not result.tls_required:
            raise ConfigurationError("the new address drops the required TLS: use tls://")
        return result


def split_address(server: str) -> SplitResult:
    """Return the parts of a server address; the scheme `nats://` is optional.

    Raises:
        ValueError: If the address is invalid, as from `urlsplit`.
    """
    return urlsplit(server if "://" in server else f"nats://{server}")


def _address(server: str) -> str:
    """Return a server address without credentials, with NATS's port as the default."""
    parts = split_address(server)
    host = parts.netloc.rpartition("@")[2]
    port = ":4222" if parts.port is None else ""
    return f"{parts.scheme}://{host.rstrip(':')}{port}"


_LOGINS: Final = ("creds", "nkey", "nkey_store", "user", "token")
_LOGIN: Final = frozenset({*_LOGINS, "password", "nkey_match_by", "nkey_match"})
_CERTIFICATE: Final = frozenset(
    {"tls_cert", "tls_key", "cert_store", "cert_match_by", "cert_match", "cert_match_skip_invalid"}
)
