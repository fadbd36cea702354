"""`connect`: a client for the duration of a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final, Protocol, TypedDict, Unpack

from xkeymsg.client.client import Client
from xkeymsg.client.connection import Connection
from xkeymsg.client.core import ClientOptions, Core
from xkeymsg.client.replies import Prefix
from xkeymsg.client.stats import OnError
from xkeymsg.client.telemetry import Telemetry
from xkeymsg.envelope.admission import Senders
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.limits import Limits
from xkeymsg.nkey import Signer
from xkeymsg.refusals import refusing
from xkeymsg.transport.credentials import read_login
from xkeymsg.transport.link import Event, Link, open_link
from xkeymsg.transport.options import DEFAULT_SERVER, ConnectOptions
from xkeymsg.trust.stores.chains import Trust, own_account

__all__ = ("ConnectionArguments", "client_on", "connect")

_PATHS: Final = ("creds", "nkey", "tls_cert", "tls_key", "tls_ca")


class _Follower(Protocol):
    """Keeps trust up to date over the connection of a client: a `Directory`."""

    def following(
        self, link: Link, tell: Callable[[Exception], None]
    ) -> AbstractAsyncContextManager[None]:
        """Do so for the duration of a block; `tell` is called with each new problem."""


class ConnectionArguments(TypedDict, total=False):
    """The fields of `ConnectOptions` except `servers`; files also as texts."""

    creds: Path | str | None
    nkey: Path | str | None
    nkey_store: str | None
    nkey_match_by: str | None
    nkey_match: str | None
    user: str | None
    password: str | None
    token: str | None
    tls_cert: Path | str | None
    tls_key: Path | str | None
    tls_ca: Path | str | None
    tls_first: bool
    cert_store: str | None
    cert_match_by: str
    cert_match: str
    cert_match_skip_invalid: bool
    discover: bool
    inbox_prefix: str
    jetstream_domain: str | None
    jetstream_api_prefix: str | None
    name: str
    timeout: float


@refusing
def connect(
    servers: str | Sequence[str] | ConnectOptions = DEFAULT_SERVER,
    *,
    key: XKeyPair | Keyring,
    trust: Senders,
    directory: _Follower | None = None,
    signer: Signer | None = None,
    identity: str | None = None,
    limits: Limits | None = None,
    padding: bool = False,
    on_error: OnError | None = None,
    on_event: Callable[[Event], None] | None = None,
    reply_prefix: Prefix | None = None,
    telemetry: Telemetry = "sealed",
    **connection: Unpack[ConnectionArguments],
) -> AbstractAsyncContextManager[Client]:
    """Connect to NATS for the duration of a block.

        async with connect(url, key=alice, trust=PeersFile("peers.toml")) as client:
            await client.publish("orders.new", b"…", to=["bob", "perm:audit"])

    The connection reconnects by itself after any loss. On exit, published messages are flushed and
    the connection is closed, in bounded time. A reloadable trust source is checked once a second;
    changes apply from the next message on.

    Args:
        servers: An address, several, or all the options of a connection.
        key: The client's own key pair, or a keyring.
        trust: Who may send, and what names resolve to: `Peers`, `Trust`, or another Resolver; a set
            of keys or a mapping from key to user, which resolve no names; or `ANYONE`.
        directory: The `Directory` of the same `Trust`. Connecting waits for it to be read, for
            at most its `wait`; for account JWTs, for up to 10 seconds in any case.
        signer: The user nkey that signs each message.
        identity: The public user nkey of messages that are not signed; by default the keyring's.
            Under `Trust`, which admits users only, also that of `creds`, or else the one user that
            has certified the key.
        limits: Limits for sealed and accepted messages.
        padding: Whether to hide the exact length of messages, for at most 12 % more.
        on_error: Called in the event loop with each refusal or failure, and where it happened. By
            default, the logger `xkeymsg` gets a WARNING, at most one in ten seconds for each code,
            with place and traceback, but without content.
        on_event: Called with each event of the connection.
        reply_prefix: The required prefix of the inboxes in requests, or a function that returns the
            prefix for the sender of a request; by default `inbox_prefix`.
        telemetry: Where the W3C trace context of OpenTelemetry travels, if a tracer provider is
            configured: `sealed`; `clear`, which also sends it unencrypted; or `off`, without spans.
        **connection: The fields of `ConnectOptions`: `creds`, `nkey`, `nkey_store`, `user`,
            `password`, `token`, `tls_cert`, `tls_key`, `tls_ca`, `tls_first`, `cert_store`,
            `cert_match_by`, `cert_match`, `cert_match_skip_invalid`, `discover`, `inbox_prefix`,
            `jetstream_domain`, `jetstream_api_prefix`, `name`, `timeout` (in seconds).

    Raises:
        ConfigurationError: If a setting, or a file of the options, is invalid.
        KeyStoreError: If a file cannot be read.
        ConnectionFailedError: If connecting fails or times out.
        TypeError: If an argument has the wrong type.
    """
    options = _options(servers, connection)
    if identity is None and signer is None:
        identity = _login(key, trust, options)
    more: ClientOptions = {
        "signer": signer,
        "identity": identity,
        "limits": limits,
        "padding": padding,
        "on_error": on_error,
        "on_event": on_event,
        "reply_prefix": reply_prefix,
        "telemetry": telemetry,
    }
    # Build the core first, so that invalid arguments fail before anything is connected.
    return _connected(options, Core(key, trust, more), more, directory)


def _options(
    servers: str | Sequence[str] | ConnectOptions, connection: Mapping[str, Any]
) -> ConnectOptions:
    fields: dict[str, Any] = {
        name: Path(value) if name in _PATHS and isinstance(value, str) else value
        for name, value in connection.items()
    }
    if isinstance(servers, ConnectOptions):
        return servers.merged(fields) if fields else servers
    several = (servers,) if isinstance(servers, str) else tuple(servers)
    return ConnectOptions(servers=several, **fields)


def _login(key: object, trust: object, options: ConnectOptions) -> str | None:
    """Return the user of the login, under trust in users, unless the keyring has one."""
    if not isinstance(trust, Trust) or options.creds is None:
        return None
    if isinstance(key, Keyring) and key.user is not None:
        return None
    return own_account(read_login(options.creds)).claims.subject


@asynccontextmanager
async def _connected(
    options: ConnectOptions, core: Core, more: ClientOptions, directory: _Follower | None
) -> AsyncIterator[Client]:
    clients: list[Client] = []

    def happened(event: Event) -> None:
        for each in clients:
            each.happened(event)

    async with (
        open_link(options, happened) as link,
        client_on(link, core, options.inbox_prefix, more) as client,
    ):
        clients.append(client)
        following = nullcontext() if directory is None else directory.following(link, client.warn)
        async with following:
            yield client


@asynccontextmanager
async def client_on(
    connection: Connection, core: Core, inbox_prefix: str, more: ClientOptions
) -> AsyncIterator[Client]:
    """Run a client on a connection for the duration of a block; for `connect` and tests."""
    client = Client(
        connection,
        core,
        reply_prefix=more.get("reply_prefix") or inbox_prefix,
        on_error=more.get("on_error"),
        on_event=more.get("on_event"),
    )
    client.start()
    try:
        yield client
    finally:
        await client.close()
