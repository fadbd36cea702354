"""Connecting: the options for nats-py, bounded waits, and errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from nats import errors

from xkeymsg.errors import ConnectionFailedError
from xkeymsg.transport.client import HardenedClient, NonceRefusedError, PlaintextRefusedError
from xkeymsg.transport.credentials import login, validity
from xkeymsg.transport.lean_client import LeanClient
from xkeymsg.transport.options import ConnectOptions, split_address
from xkeymsg.transport.stored_keys import StoredKeys

__all__ = ("CLOSE_TIMEOUT", "RETRY", "close", "dial", "dialled")

_PING_INTERVAL: Final = 15
"""Seconds between PINGs. Two lost PINGs mean a dead connection; with nats-py's defaults, detecting
that takes six minutes."""

CLOSE_TIMEOUT: Final = 2.0

_LONGEST_REASON: Final = 1000
"""Characters of a server's error that are reported; a hostile server may send any amount."""

_LEAST: Final = 0.5
"""Seconds that each server has at least, in an attempt to reconnect."""

_PATIENT: Final = 4
"""Failed attempts to reconnect after which each server has twice as long, and later four times: one
that is slow must also be reached among many that are dead."""

RETRY: Final = 0.25
"""Seconds between two attempts to connect to one server."""


async def dial(
    client: HardenedClient,
    options: ConnectOptions,
    on_error: Callable[[Exception], None],
    *,
    tries: int = 0,
    keys: StoredKeys | None = None,
    **more: Any,
) -> None:
    """Connect a client, within `options.timeout`.

    Retries a server that is not up yet, but not one that refuses the login.

    Args:
        client: A new client; the caller must close it, even after an error.
        options: The servers and the login.
        on_error: Called with each asynchronous error of the established connection.
        tries: The number of this attempt to reconnect, from 1; it tries each server only once, also
            the announced ones. Each has a share of `options.timeout`, but at least half a second,
            and more after several attempts; the attempt takes as long as all together.
        keys: The keys of the options in key stores; by default, the stores are read now.
        **more: Further arguments for nats-py's `connect`.

    Raises:
        ConfigurationError: If a file of the options has invalid content.
        KeyStoreError: If a file cannot be read.
        ConnectionFailedError: If connecting fails or times out; the text says which servers were
            tried, why it failed and what to check.
    """
    failures: list[Exception] = []
    established = False

    async def report(error: Exception) -> None:
        if established:  # raising now would end nats-py's reconnection, or a subscription
            on_error(error)
            return
        failures.append(error)
        if _is_final(error) or (tries and len(failures) >= len(client.server_pool)):
            raise error  # leave nats-py's loop: another attempt would fail the same way

    known = client.known if isinstance(client, LeanClient) else ()
    count, limit = len(options.servers) + len(known), options.timeout
    share = limit / count
    if tries:
        share = min(limit, max(share, _LEAST) * 2 ** min(tries // _PATIENT, 2))
        limit = max(limit, share * count)
    arguments = (
        _arguments_of(options, share, keys or StoredKeys(options)) | {"error_cb": report} | more
    )
    try:
        async with asyncio.timeout(limit):
            await _resolve(options)
            await client.connect(**arguments)
    except (OSError, errors.Error, TimeoutError) as error:
        cause = failures[-1] if failures else error
        raise _explain(options, cause, is_silent=client.is_silent) from error
    established = True


@contextlib.asynccontextmanager
async def dialled(
    options: ConnectOptions, on_error: Callable[[Exception], None] = lambda _: None
) -> AsyncIterator[HardenedClient]:
    """Connect a client for the duration of a block; nats-py reconnects it.

    On exit, published messages are flushed and the connection is closed, in bounded time.
    Cancellation closes a partial connection.

    Args:
        options: The servers and the login.
        on_error: Called with each asynchronous error of the established connection; must not raise.

    Raises:
        XKeyMsgError: As `dial`.
    """
    client = HardenedClient()
    try:
        await dial(client, options, on_error)
        yield client
    finally:
        await close(client)


def _arguments_of(options: ConnectOptions, share: float, keys: StoredKeys) -> dict[str, Any]:
    """Return the arguments for nats-py's `connect`; reads the files again.

    Args:
        options: The servers and the login.
        share: Seconds for an attempt to connect to one server.
        keys: The keys in key stores.

    Raises:
        ConfigurationError: If a file has invalid content.
        KeyStoreError: If a file cannot be read.
    """
    return {
        # Normalized for nats-py, which takes NATS://host for a host named "nats".
        "servers": [split_address(server).geturl() for server in options.servers],
        "name": options.name,
        "inbox_prefix": options.inbox_prefix,
        "connect_timeout": share,
        "dont_randomize": True,  # the client orders them itself
        "reconnect_time_wait": RETRY,
        "max_reconnect_attempts": -1,
        "ping_interval": _PING_INTERVAL,
        "tls": options.ssl_context(keys.identity()),
        "tls_handshake_first": options.tls_first,
        "tls_required": options.tls_required,
        "discover": options.discover,
        **login(options, keys.signer),
    }


async def _resolve(options: ConnectOptions) -> None:
    """Wait until one server name resolves, or all have failed; the client resolves it again.

    Uses daemon threads: the event loop joins its own threads when it ends, and a resolver may take
    much longer than our timeout.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    hosts = {split_address(server).hostname for server in options.servers}
    left = len(hosts)

    def settle(error: OSError | None) -> None:
        nonlocal left
        left -= 1
        if not done.done() and (error is None or not left):
            done.set_result(error)

    def look_up(host: str | None) -> None:
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError) as error:
            outcome: OSError | None = OSError(f"cannot resolve {host}: {error}")
        else:
            outcome = None
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    for host in hosts:
        threading.Thread(target=look_up, args=(host,), daemon=True).start()
    if (error := await done) is not None:
        raise error


def _is_final(error: Exception) -> bool:
    """Return whether a failure is permanent: the server refuses us, or we refuse the server."""
    if isinstance(error, (PlaintextRefusedError, NonceRefusedError, ssl.SSLCertVerificationError)):
        return True
    return _is_alert(error) or "authorization violation" in str(error).lower()


def _is_alert(error: Exception) -> bool:
    """Return whether the server aborted the TLS handshake: mostly because of our certificate."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


async def close(client: HardenedClient, timeout: float | None = None) -> None:
    """Flush and close a client in any state; it may never have been connected."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT if timeout is None else timeout):
            await client.close()
    except Exception:  # noqa: BLE001, S110 - closing anyway; an earlier failure matters more
        pass
    finally:
        client.abort()  # if `close` did not get that far


def _explain(
    options: ConnectOptions, cause: Exception, *, is_silent: bool
) -> ConnectionFailedError:
    """Build the error: the addresses tried, the reason, and what to check."""
    reason, check = str(cause) or type(cause).__name__, "is the address right, and the server up?"
    if isinstance(cause, ConnectionRefusedError):
        reason = "connection refused"
    elif isinstance(cause, TimeoutError):
        reason = f"no answer within {options.timeout:g} s"
    elif isinstance(cause, (PlaintextRefusedError, ssl.SSLError)):
        check = _check_of_tls(cause)
    elif "authorization violation" in reason.lower():
        reason = "the server refused the login"
        check = "are the credentials for this server, and the user not revoked?"
        if (invalid := validity(options)) is not None:
            reason, check = f"{reason}: {invalid}", "use valid credentials"
    if is_silent and not options.tls_first:
        check += " Does it start with TLS (handshake_first)? Then use tls_first (--tlsfirst)"
    # Part of it is unauthenticated network input, and will be printed.
    reason = "".join(each if each.isprintable() else "?" for each in reason[:_LONGEST_REASON])
    return ConnectionFailedError(f"cannot connect to {options.addresses}: {reason}", check)


def _check_of_tls(cause: Exception) -> str:
    if isinstance(cause, PlaintextRefusedError):
        return "does the server have a tls section, or is something in between?"
    if _is_alert(cause):
        return (
            "does the server require a client certificate (tls_cert, --tlscert), and does it trust"
            " this one's authority?"
        )
    return (
        "does the certificate name this host, does tls_ca (--tlsca) name its authority, and (for"
        " Python 3.13) does the authority have a KeyUsage?"
    )
