"""HTTP server for /healthz, /readyz and /metrics, on a loopback port or a Unix socket.

It runs in a thread with its own event loop, so that it can report a hung daemon: `/healthz` fails
if the daemon's loop has not run for a while. A request is limited to 8 KiB and a few seconds, and
few connections are open at a time: a further one closes the oldest, so that idle connections cannot
keep out a probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from xkeymsg.daemons.common.listeners import listening

__all__ = ("DEADLINE", "HANGS", "MOST", "Health", "serving")

DEADLINE: Final = 5.0
MOST: Final = 16
"""Concurrent connections, and connections accepted at a time."""
_QUEUE: Final = 1024
"""Connections that the system holds until they are accepted."""
HANGS: Final = 15.0
"""Seconds without an iteration of the loop after which the daemon counts as hung."""
_TEXT: Final = "text/plain; charset=utf-8"
_EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"


class Health:
    """Health of a daemon: named readiness conditions, which any thread may read."""

    def __init__(self, *conditions: str) -> None:
        self._conditions = dict.fromkeys(conditions, False)
        self._turned = time.monotonic()
        self.stopping = False

    def turn(self) -> None:
        """Record that the daemon's loop is running."""
        self._turned = time.monotonic()

    def set(self, condition: str, holds: bool) -> None:
        """Set whether a readiness condition holds."""
        self._conditions[condition] = holds

    @property
    def alive(self) -> bool:
        """Whether the daemon's loop is running."""
        return time.monotonic() - self._turned < HANGS

    @property
    def ready(self) -> bool:
        """Whether the daemon works: alive, not stopping, and every condition holds."""
        return self.alive and not self.stopping and all(self._conditions.values())

    def page(self) -> str:
        """Return the conditions, one per line."""
        states = {"alive": self.alive, **self._conditions, "not stopping": not self.stopping}
        return "".join(f"{'ok' if holds else 'NO'} {name}\n" for name, holds in states.items())


class _HealthServer:
    def __init__(self, health: Health, exposition: Callable[[], bytes]) -> None:
        self._health = health
        self._exposition = exposition
        self._open: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        while len(self._open) >= MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(DEADLINE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client can retry
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.split(b" ", 1)[0].partition(b"?")[0]
        status, kind, body = "404 Not Found", _TEXT, "not found\n"
        if method not in (b"GET", b"HEAD"):
            status, body = "405 Method Not Allowed", "GET or HEAD\n"
        elif path == b"/metrics":
            return _response("200 OK", _EXPOSITION, self._exposition(), method)
        elif path == b"/healthz":
            status = "200 OK" if self._health.alive else "503 Service Unavailable"
            body = "ok\n" if self._health.alive else "the event loop is not running\n"
        elif path == b"/readyz":
            status = "200 OK" if self._health.ready else "503 Service Unavailable"
            body = self._health.page()
        return _response(status, kind, body.encode(), method)


def _response(status: str, kind: str, body: bytes, method: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else body)


@contextlib.contextmanager
def serving(
    listen: str | None, health: Health, exposition: Callable[[], bytes]
) -> Iterator[str | None]:
    """Serve while the block runs; yield the address, with the chosen port if it was 0.

    Raises:
        ConfigurationError: If it cannot listen on the address.
    """
    if listen is None:
        yield None
        return
    server = _HealthServer(health, exposition)
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    with listening(listen) as (listener, where):

        async def run() -> None:
            loops.append(asyncio.get_running_loop())
            async with await asyncio.start_server(
                server.serve, sock=listener.dup(), limit=8192, backlog=MOST
            ):
                listener.listen(_QUEUE)
                started.set()
                await stop.wait()

        thread = threading.Thread(target=lambda: asyncio.run(run()), name="health", daemon=True)
        thread.start()
        started.wait(DEADLINE)
        try:
            yield where
        finally:
            for loop in loops:
                loop.call_soon_threadsafe(stop.set)
            thread.join(DEADLINE)
