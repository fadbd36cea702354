"""A connection for the life of a block: bounded waits, and errors that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from nats import errors

from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.transport.client import HardenedClient
from xkeymsg.transport.dial import close, dial
from xkeymsg.transport.options import ConnectOptions

__all__ = ("Connection", "connect")


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

    def report(error: Exception) -> None:
        connection.note(error)
        try:
            on_error(error)
        except Exception as fault:  # noqa: BLE001 - the caller's, told as asyncio tells such
            context = {"message": "on_error raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    try:
        await dial(client, options, report, closed_cb=connection._on_closed)  # noqa: SLF001
        yield connection
    finally:
        await close(client)
