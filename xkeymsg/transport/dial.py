"""The steps of a connection: what nats-py is told, bounded waits, errors that say what to do."""

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
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions, split_address

__all__ = ("close", "dial", "dialled")

_PING_INTERVAL: Final = 15
"""Seconds between PINGs: two lost ones are a dead connection, which nats-py by default takes six
minutes to notice."""

_CLOSE_TIMEOUT: Final = 2.0

_LONGEST_REASON: Final = 1000
"""Characters of what a server says that are told; a hostile one may say anything."""

_RETRY: Final = 0.25
"""Seconds between two attempts at one server."""


async def dial(
    client: HardenedClient,
    options: ConnectOptions,
    on_error: Callable[[Exception], None],
    *,
    once: bool = False,
    **more: Any,
) -> None:
    """Connect a client, within `options.timeout`.

    A server that is not up yet is tried again until then; one that refuses us is not.

    Args:
        client: A new client; to be closed by the caller, whatever comes of this.
        options: Where to and as whom.
        on_error: Told each asynchronous error of the connection, once it stands.
        once: Whether to try each server once only.
        **more: What else to tell nats-py's `connect`.

    Raises:
        ConfigurationError: If a file of the options does not hold what it should.
        KeyStoreError: If a file cannot be read.
        ConnectionFailedError: If there is no connection in time; the text says what was tried, why
            it failed and what to check.
    """
    failures: list[Exception] = []
    stands = False

    async def report(error: Exception) -> None:
        if stands:  # raising from here on would end nats-py's reconnection, or a subscription
            on_error(error)
            return
        failures.append(error)
        if _is_final(error) or (once and len(failures) >= len(client.server_pool)):
            raise error  # out of nats-py's loop: another attempt would end like this one

    arguments = _arguments_of(options) | {"error_cb": report} | more
    try:
        async with asyncio.timeout(options.timeout):
            await _resolve(options)
            await client.connect(**arguments)
    except (OSError, errors.Error, TimeoutError) as error:
        raise _explain(options, failures[-1] if failures else error) from error
    stands = True


@contextlib.asynccontextmanager
async def dialled(
    options: ConnectOptions, on_error: Callable[[Exception], None] = lambda _: None
) -> AsyncIterator[HardenedClient]:
    """Connect a client for the life of a block; nats-py makes its connection again.

    On leaving, what was published is flushed and the connection closed, in bounded time.
    Cancellation closes what was begun.

    Args:
        options: Where to and as whom.
        on_error: Told each asynchronous error of the connection, once it stands; raises nothing.

    Raises:
        XKeyMsgError: As `dial`.
    """
    client = HardenedClient()
    try:
        await dial(client, options, on_error)
        yield client
    finally:
        await close(client)


def _arguments_of(options: ConnectOptions) -> dict[str, Any]:
    """Return what nats-py's `connect` is told; files are read anew.

    Raises:
        ConfigurationError: If a file does not hold what it should.
        KeyStoreError: If a file cannot be read.
    """
    return {
        # As nats-py wants them: it takes NATS://host for a host of the name "nats".
        "servers": [split_address(server).geturl() for server in options.servers],
        "name": options.name,
        "inbox_prefix": options.inbox_prefix,
        "connect_timeout": options.timeout / len(options.servers),
        "reconnect_time_wait": _RETRY,
        "max_reconnect_attempts": -1,
        "ping_interval": _PING_INTERVAL,
        "tls": options.ssl_context(),
        "tls_handshake_first": options.tls_first,
        "tls_required": options.tls_required,
        "discover": options.discover,
        **login(options),
    }


async def _resolve(options: ConnectOptions) -> None:
    """Wait until a server's name is resolved, or all have failed to be; the client does it again.

    In threads that nobody waits for: the event loop's own ones are joined when it ends, and a
    resolver may take much longer than we are willing to.
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
            outcome: OSError | None = OSError(f"{host} cannot be resolved: {error}")
        else:
            outcome = None
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    for host in hosts:
        threading.Thread(target=look_up, args=(host,), daemon=True).start()
    if (error := await done) is not None:
        raise error


def _is_final(error: Exception) -> bool:
    """Tell whether a failure would repeat: the server is there and refuses us, or we refuse it."""
    if isinstance(error, (PlaintextRefusedError, NonceRefusedError, ssl.SSLCertVerificationError)):
        return True
    return _is_alert(error) or "authorization violation" in str(error).lower()


def _is_alert(error: Exception) -> bool:
    """Tell whether the server ended a TLS handshake: mostly because of our certificate."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")


async def close(client: HardenedClient, timeout: float | None = None) -> None:
    """Flush and close, whatever state the client is in; it may never have been connected."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT if timeout is None else timeout):
            await client.close()
    except Exception:  # noqa: BLE001, S110 - it is the end; a failure before it is the one to tell
        pass
    finally:
        client.abort()  # where it did not come to that


def _explain(options: ConnectOptions, cause: Exception) -> ConnectionFailedError:
    """Build the error: what was tried, why it failed, what to check."""
    reason, check = str(cause) or type(cause).__name__, "is the address right, and the server up?"
    if isinstance(cause, ConnectionRefusedError):
        reason = "connection refused"
    elif isinstance(cause, TimeoutError):
        reason = f"no answer within {options.timeout:g} s"
    elif isinstance(cause, PlaintextRefusedError):
        check = "does the server have a tls section, or is something in between?"
    elif _is_alert(cause):
        check = (
            "does the server want a certificate (tls_cert, --tlscert), and know this one's"
            " authority?"
        )
    elif isinstance(cause, ssl.SSLError):
        check = (
            "does the certificate name this host, does tls_ca (--tlsca) name its authority, and"
            " (for Python 3.13) has the authority a KeyUsage?"
        )
    elif "authorization violation" in reason.lower():
        reason, check = "the server refused the login", "are the credentials for this server?"
    # Some of it is what came from the network, by whomever, and somebody prints it.
    reason = "".join(each if each.isprintable() else "?" for each in reason[:_LONGEST_REASON])
    return ConnectionFailedError(f"cannot connect to {options.addresses}: {reason}; {check}")
