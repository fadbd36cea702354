"""One connection of a `Link`, without nats-py's overhead for each message.

A `Link` avoids what nats-py does for each message: decoding the headers and the subject, building a
`Msg`, putting it into a queue with a lock, and starting a task to take it from there; when
publishing, building the header block, a future for each flush, and three coroutines.

A lost connection stays lost: the `Link` makes another one, and reads the credentials again. So
nats-py's reconnection, which ends permanently at an expired login and waits without a bound for a
dead server, never runs here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from secrets import SystemRandom
from typing import Any, Final

from nats import errors
from nats.aio.client import PING_PROTO, Client, Srv

from xkeymsg.transport.client import HardenedClient
from xkeymsg.transport.parser import Sink, StrictParser

__all__ = ("LeanClient",)

PENDING: Final = 2 << 20
"""Bytes in the send buffer above which publishers wait."""

_TRANSIENT: Final = ("permissions violation", "maximum subscriptions exceeded")
"""Errors after which the server keeps the connection open."""

_KNOWN: Final = 32
"""Announced servers that are remembered."""

_SILENCE: Final = 2
"""Intervals, with one PING each, without a byte from the server before the connection counts as
dead."""


class LeanClient(HardenedClient):
    """A client that reports its loss, sends raw bytes, and delivers messages to sinks."""

    _ps: StrictParser

    def __init__(self, known: Sequence[Srv] = ()) -> None:
        super().__init__()
        self.known = known
        """Announced servers, tried after those of the options."""
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """Resolves to the reason when the connection is lost."""
        self.flushed = asyncio.Event()
        """Pulsed when the kernel has accepted the buffered data, or never will."""
        self.unconfirmed = False
        """Whether a published message is not yet confirmed by a PONG."""
        self.stalled = False
        """Whether reading is paused because a subscription's buffer is full."""
        self._limit = PENDING
        self._idle: asyncio.Future[None] | None = None  # the flusher's, while nothing is pending

    async def connect(self, *args: Any, **options: Any) -> None:
        """Connect as nats-py does; the connection then counts as lost if one of its loops ends."""
        await super().connect(*args, **options)
        for task in (self._reading_task, self._flusher_task, self._ping_interval_task):
            if task is not None:
                task.add_done_callback(self._on_loop_end)

    # --- sending ----------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the client is connected and has room in its send buffer."""
        return self._pending_data_size < self._limit

    @property
    def pending(self) -> int:
        """Number of bytes in the send buffer."""
        return self._pending_data_size

    def send(self, command: bytes) -> None:
        """Buffer a command; never waits. The flusher writes several at once."""
        self._pending.append(command)
        self._pending_data_size += len(command)
        if self._idle is not None:
            self._wake_flusher()

    def ping(self) -> asyncio.Future[bool]:
        """Send a PING; the future resolves to True with its PONG, False with a lost connection."""
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self.lost.done():
            answered.set_result(False)
        else:
            self._pongs.append(answered)
            self.send(PING_PROTO)
        return answered

    def listen(self, pattern: bytes, queue: bytes, sink: Sink) -> bytes:
        """Subscribe, and return the subscription number."""
        self._sid += 1
        sid = b"%d" % self._sid
        self._ps.sinks[sid] = sink
        self.send(b"SUB %b %b %b\r\n" % (pattern, queue, sid))
        return sid

    def unlisten(self, sid: bytes) -> None:
        """Unsubscribe; messages in transit are still delivered, until `forget`."""
        self.send(b"UNSUB %b\r\n" % sid)

    def forget(self, sid: bytes) -> None:
        """Drop all further messages of a subscription."""
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
                # Not `writelines`: in Python 3.12 its buffer is unbounded, and `drain` does not
                # wait for it.
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
        """Refuse further data: `is_ready` stays false from now on."""
        self._limit = -1
        self._pulse()

    def _on_loop_end(self, task: asyncio.Task[None]) -> None:
        self.lose(errors.Error("a loop of the connection ended unexpectedly"))

    def lose(self, error: Exception) -> None:
        """Abandon the connection. Nothing is read or written from now on."""
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
        """End the connection's tasks and close its socket. Waits for nothing that can hang."""
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
            self._max_payload = limit  # reconfigured while the server runs

    async def _process_op_err(self, e: Exception) -> None:
        self.lose(e)

    async def _process_err(self, err_msg: str) -> None:
        error = errors.Error(f"nats: {err_msg.strip(chr(39))}")
        if any(text in err_msg for text in _TRANSIENT):
            await self._error_cb(error)
        else:
            self.lose(error)

    async def _ping_interval(self) -> None:
        """Send a PING in each interval, and end the connection if the server stays silent."""
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

    # --- servers ------------------------------------------------------------------------------

    @property
    def discovered(self) -> list[Srv]:
        """The servers that this one has announced, as alternatives when it fails."""
        found = [server for server in self._server_pool if server.discovered]
        return [Srv(each.uri, discovered=True, tls_name=each.tls_name) for each in found[-_KNOWN:]]

    def _setup_server_pool(self, connect_url: Any) -> None:
        super()._setup_server_pool(connect_url)
        own = {server.uri.netloc for server in self._server_pool}
        known = [each for each in self.known if each.uri.netloc not in own]
        # Behind the servers that were given.
        self._server_pool.extend(SystemRandom().sample(known, len(known)))
