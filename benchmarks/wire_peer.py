"""The two processes of the suite `wire`: `publisher URL RECEIVER'S-KEY` and `receiver URL`.

Both answer with readings of the machine's monotonic clock, which they share, and with the processor
time that they used, in nanoseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.harness import gc_off
from benchmarks.peer_side import Countdown, answer, requests
from xkeymsg import XKey, XKeyPair, xkv1


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
    answer("ready", keys.public)
    async for _, how, size, n in requests():
        answer(*await _publish(client, ways[how], bytes(int(size)), int(n)))


async def _publish(
    client: Client, publish: Callable[[bytes], Awaitable[None]], data: bytes, n: int
) -> tuple[int, int]:
    with gc_off():
        cpu, start = time.process_time_ns(), time.monotonic_ns()
        for _ in range(n):
            await publish(data)
        await client.flush()
        return start, time.process_time_ns() - cpu


async def receiver(client: Client) -> None:
    """Answer `expect N` with nothing, then `result` with when the last came and what they took."""
    keys = XKeyPair.generate()
    countdown = Countdown()

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
    answer("ready", keys.public)
    async for request, *numbers in requests():
        if request == "expect":
            countdown.start(int(numbers[0]))
            answer()
        else:
            answer(*await countdown.result())


async def _main(role: str, url: str, *key: str) -> None:
    client = await nats.connect(url)
    if role == "publisher":
        await publisher(client, XKey.parse(key[0]))
    else:
        await receiver(client)
    await client.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
