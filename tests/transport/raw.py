"""Bytes by hand: a publisher and a broker that say what no client or server of good will would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.running import DEADLINE
from xkeymsg.testing import NATSServer

__all__ = (
    "Broker",
    "Publisher",
    "Script",
    "Session",
    "broker",
    "dead",
    "frozen",
    "hpub",
    "pub",
    "publisher",
)


def pub(subject: bytes, payload: bytes = b"", reply: bytes = b"") -> bytes:
    """Return the line and payload of a message without headers."""
    fields = [b"PUB", subject, *([reply] if reply else []), b"%d" % len(payload)]
    return b" ".join(fields) + b"\r\n" + payload + b"\r\n"


def hpub(subject: bytes, headers: bytes, payload: bytes = b"", reply: bytes = b"") -> bytes:
    """Return the line and payload of a message with headers, whatever these are."""
    sizes = [b"%d" % len(headers), b"%d" % (len(headers) + len(payload))]
    fields = [b"HPUB", subject, *([reply] if reply else []), *sizes]
    return b" ".join(fields) + b"\r\n" + headers + payload + b"\r\n"


class Publisher:
    """A connection to a real server that sends its bytes as they are given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *frames: bytes) -> None:
        """Send, and return when the server has taken it all: it answers the PING behind it."""
        self._writer.writelines([*frames, b"PING\r\n"])
        async with asyncio.timeout(DEADLINE):
            while (line := await self._reader.readline()) != b"PONG\r\n":
                assert line.startswith((b"INFO", b"PING")), line

    async def subscribe(self, subject: bytes) -> None:
        await self.send(b"SUB %s 1\r\n" % subject)

    async def request(self) -> bytes:
        """Take one message without headers and return the subject that its sender waits on."""
        async with asyncio.timeout(DEADLINE):
            line = await self._reader.readline()
            operation, _subject, _sid, reply, size = line.split()
            assert operation == b"MSG", line
            await self._reader.readexactly(int(size) + 2)
        return reply


@contextlib.asynccontextmanager
async def publisher(url: str) -> AsyncIterator[Publisher]:
    """Connect to a server as somebody who may publish."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    try:
        writer.write(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
        hostile = Publisher(reader, writer)
        await hostile.send()
        yield hostile
    finally:
        writer.close()
        await writer.wait_closed()


@contextlib.contextmanager
def frozen(server: NATSServer) -> Iterator[None]:
    """Let a real server do nothing in a block, with all its connections open."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)  # until all its threads stand
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def dead(address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Listen on a port that accepts no connection, like a lost host: its backlog is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, port), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@dataclass(eq=False)
class Session:
    """One client's connection to a scripted broker."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    received: bytearray = field(default_factory=bytearray)
    """Everything that the client has sent."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the script is through."""

    async def say(self, *data: bytes) -> None:
        self.writer.writelines(data)
        await self.writer.drain()

    async def info(self, **fields: object) -> None:
        """Introduce the broker as nats-server does."""
        known: dict[str, object] = {"server_id": "X", "version": "2.11.0", "proto": 1}
        known |= {"headers": True, "max_payload": 1048576}
        await self.say(b"INFO ", json.dumps(known | fields).encode(), b"\r\n")

    async def line(self) -> bytes:
        """Take one line from the client."""
        line = await self.reader.readline()
        self.received += line
        return line

    async def welcome(self, **fields: object) -> None:
        """Do the whole of a connection's beginning, as nats-server would."""
        await self.info(**fields)
        while (line := await self.line()) != b"PING\r\n":
            assert line, "the client hung up"
        await self.say(b"PONG\r\n")

    async def listen(self) -> None:
        """Take what the client sends until it hangs up."""
        while data := await self.reader.read(1 << 16):
            self.received += data

    async def serve(self) -> None:
        """Answer PINGs until the client hangs up."""
        while line := await self.line():
            if line == b"PING\r\n":
                await self.say(b"PONG\r\n")

    @property
    def connect(self) -> dict[str, object]:
        """What the client said in its CONNECT line."""
        line = next(part for part in self.received.split(b"\r\n") if part.startswith(b"CONNECT "))
        fields = json.loads(line.removeprefix(b"CONNECT "))
        assert isinstance(fields, dict)
        return fields


Script = Callable[[Session], Awaitable[None]]


class Broker:
    """A server on a loopback port that plays one script for each connection.

    The last script is played again for every further connection.
    """

    def __init__(self, *scripts: Script) -> None:
        self.sessions: list[Session] = []
        self.port = 0
        self.scripts = scripts
        self._tasks: set[asyncio.Task[None]] = set()
        self._change = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def connections(self, number: int) -> None:
        """Wait until so many have connected."""
        async with asyncio.timeout(DEADLINE), self._change:
            await self._change.wait_for(lambda: len(self.sessions) >= number)

    async def session(self, number: int = 0) -> Session:
        """Wait for the connection of that number, and for the end of its script."""
        await self.connections(number + 1)
        async with asyncio.timeout(DEADLINE):
            await self.sessions[number].ended.wait()
        return self.sessions[number]

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        session = Session(reader, writer)
        script = self.scripts[min(len(self.sessions), len(self.scripts) - 1)]
        async with self._change:
            self.sessions.append(session)
            self._change.notify_all()
        try:
            # A client may hang up at any moment.
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.CancelledError):
                await script(session)
        finally:
            self._tasks.discard(task)
            session.ended.set()
            writer.close()

    async def stop(self) -> None:
        """Hang up on everybody."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        for session in self.sessions:
            # Not `wait_closed`: after a handshake that failed it waits for ever.
            session.writer.transport.abort()
        await asyncio.sleep(0)  # which closes the sockets


@contextlib.asynccontextmanager
async def broker(
    *scripts: Script, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Broker]:
    """Run a scripted broker; with `tls` it shakes hands before it says anything."""
    scripted = Broker(*scripts)
    server = await asyncio.start_server(scripted.play, "127.0.0.1", port, ssl=tls)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        await scripted.stop()
        await server.wait_closed()
