"""Runs an ASGI application on a listener, with bounded connections, times and sizes.

uvicorn bounds the head of a request and reads a body only as fast as the application does. What it
leaves unbounded is bounded here: how long a connection may send nothing, how long it may read
nothing, and how many connections are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ("MOST", "ended", "served")

MOST: Final = 64
"""Connections at a time; a further one closes the one that has been idle for longest."""
_HEAD: Final = 16_384
"""Bytes of the head of a request."""
_STUCK: Final = 6
"""Looks in a row without progress of reading after which a connection is closed."""
_GRACE: Final = 1
"""Seconds for requests in progress at the end."""


class _Connection(H11Protocol):
    patience = 5.0
    _since = 0.0
    _left = _looks = 0
    _timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = self.loop.time()
        self._timer = self.loop.call_later(self.patience, self._look)
        if len(self.connections) > MOST:
            others = [each for each in self.connections if isinstance(each, _Connection)]
            idle = [each for each in others if each.is_idle]
            min(idle, key=lambda each: each._since).transport.abort()  # noqa: SLF001 - our own

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        """Close the connection if it sends no request, or reads nothing of the response."""
        self._timer = self.loop.call_later(self.patience, self._look)
        left = self.transport.get_write_buffer_size()
        self._looks = self._looks + 1 if left and left >= self._left else 0
        self._left = left
        is_late = self.is_idle and self.loop.time() - self._since >= self.patience
        if (is_late and not left) or self._looks >= _STUCK:
            self.transport.abort()


class _WebServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


async def ended(server: asyncio.Task[None], stopping: asyncio.Event) -> None:
    """Wait until a server is to stop, or fails.

    Args:
        server: The task of the server.
        stopping: Is set when it is to stop.

    Raises:
        Exception: What the server has raised.
    """
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({server, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if server.done():
        await server


@contextlib.asynccontextmanager
async def served(
    app: Any,
    listener: socket.socket,
    certificate: tuple[Path, Path] | None = None,
    *,
    patience: float = 5.0,
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve while the block runs.

    Args:
        app: The ASGI application.
        listener: The socket.
        certificate: For TLS: the files with the certificate and its private key, PEM.
        patience: How long a connection may send nothing, in seconds; six times as long, it may read
            nothing.

    Yields:
        The task of the server, which ends only if it fails.

    Raises:
        OSError: If the certificate or its key cannot be used.
    """
    config = uvicorn.Config(
        app,
        http=type("_Connection", (_Connection,), {"patience": patience}),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST + 1,
        h11_max_incomplete_event_size=_HEAD,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=certificate and certificate[0],
        ssl_keyfile=certificate and certificate[1],
    )
    config.load()
    server = _WebServer(config)
    copy = listener.dup()  # the server closes it
    task = asyncio.create_task(server.serve([copy]))
    try:
        yield task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        copy.close()
