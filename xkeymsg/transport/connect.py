"""A connection for the life of a block: bounded waits, and errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from nats import errors

from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.transport.client import HardenedClient, NonceRefusedError, PlaintextRefusedError
from xkeymsg.transport.credentials import login
from xkeymsg.transport.options import ConnectOptions

__all__ = ("Connection", "connect")

_PING_INTERVAL: Final = 15
"""Seconds between PINGs: two lost ones are a dead connection, which nats-py by default takes six
minutes to notice."""

_CLOSE_TIMEOUT: Final = 2.0

_RETRY: Final = 0.25
"""Seconds between two attempts at one server."""


class Connection:
    """A client that is connected, and what has gone wrong on it since."""

    def __init__(self, client: HardenedClient, timeout: float) -> None:
        self.client = client
        self.closed = asyncio.Event()
        """Set when the connection is closed for good, by us or by the server."""
        self._timeout = timeout
        self._error: Exception | None = None

    async def confirm(self) -> None:
        """Wait until the server has taken, or refused, everything that was sent to it.

        Raises:
            DeliveryError: If it refused something (permissions), or gave no answer in time.
            ConnectionFailedError: If the connection is closed for good.
        """
        before = self.client.last_error
        try:
            await self.client.flush(self._timeout)  # type: ignore[arg-type]  # it takes fractions
        except errors.Error as error:
            if self.client.is_closed:
                raise self.failure() from error
            raise DeliveryError(f"no answer from the server within {self._timeout:g} s") from error
        after = self.client.last_error
        first = self._error or (after if after is not before else None)
        if first is not None:
            self._error = None
            raise DeliveryError(str(first)) from first

    def failure(self) -> ConnectionFailedError:
        """Build the error for a connection that is closed for good."""
        reason = self.client.last_error
        return ConnectionFailedError(f"the server closed the connection: {reason or 'no reason'}")

    def note(self, error: Exception) -> None:
        """Keep an error for `confirm`: the first alone, for anybody may cause any number."""
        self._error = self._error or error

    async def _on_closed(self) -> None:
        self.closed.set()


@contextlib.asynccontextmanager
async def connect(
    options: ConnectOptions, on_error: Callable[[Exception], None] = lambda _: None
) -> AsyncIterator[Connection]:
    """Connect to a NATS server for the life of a block; it reconnects by itself.

    A server that is not up yet is tried again until `options.timeout`; one that refuses us is not.
    On leaving, what was published is flushed and the connection closed, in bounded time.

    Args:
        options: Where to and as whom.
        on_error: Told each asynchronous error of the connection, once it stands.

    Raises:
        ConfigurationError: If a file of the options does not hold what it should.
        KeyStoreError: If a file cannot be read.
        ConnectionFailedError: If there is no connection in time; the text says what was tried, why
            it failed and what to check.

    Cancellation closes what was begun.
    """
    client = HardenedClient()
    connection = Connection(client, options.timeout)
    failures: list[Exception] = []

    stands = False

    async def report(error: Exception) -> None:
        if stands:  # raising from here on would end nats-py's reconnection, or a subscription
            connection.note(error)
            try:
                on_error(error)
            except Exception as fault:  # noqa: BLE001 - the caller's, told as asyncio tells such
                context = {"message": "on_error raised", "exception": fault}
                asyncio.get_running_loop().call_exception_handler(context)
            return
        failures.append(error)
        if _is_final(error):
            raise error  # out of nats-py's loop: another attempt would end like this one

    arguments: dict[str, Any] = {
        # As nats-py wants them: it takes NATS://host for a host of the name "nats".
        "servers": [urlsplit(s if "://" in s else f"nats://{s}").geturl() for s in options.servers],
        "name": options.name,
        "inbox_prefix": options.inbox_prefix,
        "connect_timeout": options.timeout,
        "reconnect_time_wait": _RETRY,
        "max_reconnect_attempts": -1,
        "ping_interval": _PING_INTERVAL,
        "tls": options.ssl_context(),
        "tls_handshake_first": options.tls_first,
        "tls_required": options.tls_required,
        "error_cb": report,
        "closed_cb": connection._on_closed,  # noqa: SLF001 - made here
        **login(options),
    }
    try:
        try:
            async with asyncio.timeout(options.timeout):
                await _resolve(options)
                await client.connect(**arguments)
        except (OSError, errors.Error, TimeoutError) as error:
            raise _explain(options, failures[-1] if failures else error) from error
        stands = True
        yield connection
    finally:
        await _close(client)


async def _resolve(options: ConnectOptions) -> None:
    """Wait until a server's name is resolved, or all have failed to be; the client does it again.

    In threads that nobody waits for: the event loop's own ones are joined when it ends, and a
    resolver may take much longer than we are willing to.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    hosts = {urlsplit(s if "://" in s else f"nats://{s}").hostname for s in options.servers}
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


async def _close(client: HardenedClient) -> None:
    """Flush and close, whatever state the client is in; it may never have been connected."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
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
        check = "does the server want a certificate (--tlscert), and know this one's authority?"
    elif isinstance(cause, ssl.SSLError):
        check = (
            "does the certificate name this host, does --tlsca name its authority, and (for Python"
            " 3.13) has the authority a KeyUsage?"
        )
    elif "authorization violation" in reason.lower():
        reason, check = "the server refused the login", "are the credentials for this server?"
    return ConnectionFailedError(f"cannot connect to {options.addresses}: {reason}; {check}")
