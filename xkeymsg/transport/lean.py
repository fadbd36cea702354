"""One connection of a `Link`: nothing between the socket and those who take and give messages.

What nats-py does for each message and a `Link` does not want: decode the headers and the subject,
build a `Msg`, put it into a queue with a lock, and start a task to take it from there; when
publishing, build the header block, a future for each flush, and three coroutines.

A connection that is lost stays lost: the `Link` makes another, with credentials read anew. So none
of nats-py's reconnection, which ends for good at an expired login and waits without a bound for a
dead server, runs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from nats import errors
from nats.aio.client import PING_PROTO, Client, Srv

from xkeymsg.transport.client import HardenedClient
from xkeymsg.transport.parser import Sink, StrictParser

__all__ = ("LeanClient",)

PENDING: Final = 2 << 20
"""Bytes that may wait to be written: more, and publishers wait."""

_TRANSIENT: Final = ("permissions violation", "maximum subscriptions exceeded")
"""Errors after which the server goes on with the connection."""

_KNOWN: Final = 32
"""So many of the servers that a server has named are remembered."""

_SILENCE: Final = 2
"""So many watches without a byte from the server, a PING in each, and the connection is dead."""


class LeanClient(HardenedClient):
    """A client that says when it is lost, takes bytes to send, and gives messages to sinks."""

    _ps: StrictParser

    def __init__(self, known: Sequence[Srv] = ()) -> None:
        super().__init__()
        self._known = known
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """Why the connection is no more, as soon as it is."""
        self.flushed = asyncio.Event()
        """Set for a moment when the kernel has taken what was to be sent, or never will."""
        self.unconfirmed = False
        """Whether something was published that no PONG has confirmed."""
        self.stalled = False
        """Whether nothing is read at the moment because a subscriber has no room."""
        self._limit = PENDING
        self._idle: asyncio.Future[None] | None = None  # the flusher's, while nothing is pending

    async def connect(self, *args: Any, **options: Any) -> None:
        """Connect as nats-py does; from then on each of its loops has to run."""
        await super().connect(*args, **options)
        for task in (self._reading_task, self._flusher_task, self._ping_interval_task):
            if task is not None:
                task.add_done_callback(self._on_loop_end)

    # --- sending ----------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether there is a connection and room for more to send."""
        return self._pending_data_size < self._limit

    @property
    def pending(self) -> int:
        """How many bytes wait to be written."""
        return self._pending_data_size

    def send(self, command: bytes) -> None:
        """Send a command: never waits; written with others when the event loop comes to it."""
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._idle is not None:
            self._wake_flusher()

    def ping(self) -> asyncio.Future[bool]:
        """Send a PING; the future becomes True with its answer, False with a lost connection."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.lost.done():
            answered.set_result(False)
        else:
            self._pongs.append(answered)
            self.send(PING_PROTO)
        return answered

    def listen(self, pattern: bytes, queue: bytes, sink: Sink) -> bytes:
        """Subscribe, and return the subscription's number."""
        self._sid += 1
        sid = b"%d" % self._sid
        self._ps.sinks[sid] = sink
        self.send(b"SUB %b %b %b\r\n" % (pattern, queue, sid))
        return sid

    def unlisten(self, sid: bytes) -> None:
        """Unsubscribe; what is on its way still comes, until `forget`."""
        self.send(b"UNSUB %b\r\n" % sid)

    def forget(self, sid: bytes) -> None:
        """Drop what still comes for a subscription."""
        self._ps.sinks.pop(sid, None)

    def _wake_flusher(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None and not idle.done():
            idle.set_result(None)

    async def _flush_pending(self, force_flush: bool = False) -> None:
        self._wake_flusher()

    async def _flusher(self) -> None:
        transport = self._transport
        assert transport is not None  # noqa: S101 - nats-py starts this when it has connected
        try:
            while True:
                if not self._pending:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
                batch, self._pending, self._pending_data_size = self._pending, [], 0
                # Not `writelines`: in Python 3.12 its buffer has no bound, and `drain` no end to
                # wait for.
                transport.write(b"".join(batch))
                await transport.drain()  # type: ignore[no-untyped-call]
                self._pulse()
        except OSError as error:
            self.lose(error)

    def _pulse(self) -> None:
        self.flushed.set()
        self.flushed.clear()

    # --- the end ----------------------------------------------------------------------------------

    def refuse(self) -> None:
        """Take nothing more to send: there is never room any more."""
        self._limit = -1
        self._pulse()

    def _on_loop_end(self, task: asyncio.Task[None]) -> None:
        self.lose(errors.Error("a loop of the connection ended unexpectedly"))

    def lose(self, error: Exception) -> None:
        """Give the connection up. Nothing is read or written from now on."""
        if self.lost.done():
            return
        self.lost.set_result(error)
        self._status = Client.DISCONNECTED
        self._ps.reset()
        self._ps.sinks = {}
        pongs, self._pongs = self._pongs, []
        for pong in pongs:
            if not pong.done():
                pong.set_result(False)
        self.refuse()

    async def hang_up(self) -> None:
        """End what runs for this connection, and its socket. Waits for nothing that can hang."""
        self.lose(errors.ConnectionClosedError())
        self._status = Client.CLOSED
        tasks = {self._reading_task, self._ping_interval_task, self._flusher_task}
        running = {task for task in tasks if task is not None and not task.done()}
        for task in running:
            task.cancel()
        self.abort()
        if running:
            await asyncio.wait(running, timeout=1)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        await super()._process_info(info, initial_connection)
        limit = info.get("max_payload")
        if isinstance(limit, int) and not initial_connection:
            self._max_payload = limit  # changed while the server runs

    async def _process_op_err(self, e: Exception) -> None:
        self.lose(e)

    async def _process_err(self, err_msg: str) -> None:
        error = errors.Error(f"nats: {err_msg.strip(chr(39))}")
        if any(text in err_msg for text in _TRANSIENT):
            await self._error_cb(error)
        else:
            self.lose(error)

    async def _ping_interval(self) -> None:
        """Watch the connection: the server is asked for a sign of life when it gives none."""
        heard, silent = -1, 0
        while True:
            await asyncio.sleep(self.options["ping_interval"])
            if self._ps.heard != heard or self.stalled:
                heard, silent = self._ps.heard, 0
            elif silent >= _SILENCE:
                self.lose(errors.StaleConnectionError())
                return
            silent += 1
            self.ping()

    # --- where to -----------------------------------------------------------------------------

    @property
    def discovered(self) -> list[Srv]:
        """The servers that this one has named: where to go when it is gone."""
        found = [server for server in self._server_pool if server.discovered]
        return [Srv(each.uri, discovered=True, tls_name=each.tls_name) for each in found[-_KNOWN:]]

    def _setup_server_pool(self, connect_url: Any) -> None:
        super()._setup_server_pool(connect_url)
        own = {server.uri.netloc for server in self._server_pool}
        self._server_pool.extend(each for each in self._known if each.uri.netloc not in own)
