"""A way to a server on which what one side says can be lost, at a moment of the test's choice."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

_ACKS = re.compile(rb"PUB \$JS\.ACK\.[^\r]*\r\n[^\r]*\r\n")


class Way:
    """Bytes in both directions; `deaf` loses those of the client that answer a stream.

    While `flowing` is cleared, what the server says is held.
    """

    def __init__(self, port: int) -> None:
        self.port = 0
        self.deaf = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._to = port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
        down = asyncio.create_task(self._pass(up_reader, writer, up=False))
        try:
            await self._pass(reader, up_writer, up=True)
        finally:
            down.cancel()
            up_writer.close()
            writer.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if not up:
                    await self.flowing.wait()
                writer.write(_ACKS.sub(b"", data) if up and self.deaf else data)
                await writer.drain()


@contextlib.asynccontextmanager
async def way_to(port: int) -> AsyncIterator[Way]:
    way = Way(port)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
