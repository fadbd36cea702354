"""The two processes of the suite `wire`: `publisher URL RECEIVER'S-KEY` and `receiver URL`.

Both answer with readings of the machine's monotonic clock, which they share, and with the processor
time that they used, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.harness import gc_off
from xkeymsg import XKey, XKeyPair, xkv1

_TIMEOUT = 60.0


async def _requests() -> AsyncIterator[list[str]]:
    """Yield the words of each line of standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()


def _answer(*words: object) -> None:
    print(*words, flush=True)


async def publisher(client: Client, recipient: XKey) -> None:
    """Answer `publish HOW SIZE N` with when it began, and the processor time it took."""
    keys = XKeyPair.generate()
    header = {"sender": str(keys.public)}

    async def sealed(data: bytes) -> None:
        await client.publish(
            "benchmark.sealed", xkv1.seal(data, key=keys, to=recipient), headers=header
        )

    async def with_header(data: bytes) -> None:
        await client.publish("benchmark.header", data, headers=header)

    async def plain(data: bytes) -> None:
        await client.publish("benchmark.plain", data)

    ways = {"sealed": sealed, "header": with_header, "plain": plain}
    _answer("ready", keys.public)
    async for _, how, size, n in _requests():
        _answer(*await _publish(client, ways[how], bytes(int(size)), int(n)))


async def _publish(
    client: Client, publish: Callable[[bytes], Awaitable[None]], data: bytes, n: int
) -> tuple[int, int]:
    with gc_off():
        cpu, start = time.process_time_ns(), time.monotonic_ns()
        for _ in range(n):
            await publish(data)
        await client.flush()
        return start, time.process_time_ns() - cpu


class _Countdown:
    """The messages of a batch that are still to come."""

    def __init__(self) -> None:
        self._left = self._cpu = 0
        self._result: asyncio.Future[tuple[int, int]]

    def start(self, n: int) -> None:
        """Expect n messages."""
        gc.collect()
        gc.disable()
        self._result = asyncio.get_running_loop().create_future()
        self._left, self._cpu = n, time.process_time_ns()

    def count(self) -> None:
        """Take note of one message."""
        self._left -= 1
        if self._left == 0:
            self._result.set_result((time.monotonic_ns(), time.process_time_ns() - self._cpu))

    async def result(self) -> tuple[int, int]:
        """Return when the last message came, and the processor time since the start."""
        try:
            return await asyncio.wait_for(self._result, _TIMEOUT)
        finally:
            gc.enable()


async def receiver(client: Client) -> None:
    """Answer `expect N` with nothing, then `result` with when the last came and what they took."""
    keys = XKeyPair.generate()
    countdown = _Countdown()

    async def sealed(message: Msg) -> None:
        assert message.headers is not None
        xkv1.open(message.data, key=keys, sender=XKey.parse(message.headers["sender"]))
        countdown.count()

    async def with_header(message: Msg) -> None:
        assert message.headers is not None
        assert message.headers["sender"]
        countdown.count()

    async def plain(_: Msg) -> None:
        countdown.count()

    await client.subscribe("benchmark.sealed", cb=sealed)
    await client.subscribe("benchmark.header", cb=with_header)
    await client.subscribe("benchmark.plain", cb=plain)
    await client.flush()
    _answer("ready", keys.public)
    async for request, *numbers in _requests():
        if request == "expect":
            countdown.start(int(numbers[0]))
            _answer()
        else:
            _answer(*await countdown.result())


async def _main(role: str, url: str, *key: str) -> None:
    client = await nats.connect(url)
    if role == "publisher":
        await publisher(client, XKey.parse(key[0]))
    else:
        await receiver(client)
    await client.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
