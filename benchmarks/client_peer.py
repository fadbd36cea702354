"""The processes of the suite `client`: `feeder`, `receiver`, `publisher` and `service`.

Each is asked line by line and answers with readings of the machine's monotonic clock, which they
share, and with the processor time that it used, in nanoseconds.

The feeder seals before anything is measured, and writes what goes over the wire itself: what the
receiver takes is then all that there is to measure.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client as StockClient
from nats.aio.msg import Msg

import xkeymsg
from benchmarks.harness import gc_off
from benchmarks.peer_side import TIMEOUT, Countdown, answer, requests
from xkeymsg import Admission, DurableOptions, Policy, Sealer, XKey, XKeyPair
from xkeymsg.client.client import Client

STOCK, CALLBACK, SEALED, ROUTE = "stock", "callback", "sealed", "route"
_HOSPITAL = Path(__file__).parent.parent / "examples" / "hospital"
_IN_FLIGHT = 256


def _subject(how: str) -> str:
    return f"benchmark.{how}"


class _Feeder:
    """Writes messages to the server as one run of bytes."""

    def __init__(self, url: str) -> None:
        self.pair = XKeyPair.generate()
        self._sealer = Sealer(self.pair)
        self._head = b"NATS/1.0\r\nsender: %s\r\n\r\n" % str(self.pair.public).encode()
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._file.readline()
        self._socket.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n')
        self._confirm()
        self._ready: list[bytes] = []

    def _confirm(self) -> None:
        self._socket.sendall(b"PING\r\n")
        while self._file.readline() != b"PONG\r\n":
            pass

    def prepare(self, how: str, size: int, n: int, recipients: list[XKey]) -> None:
        """Seal n messages, or take them as they are, and write them down."""
        subject, data = _subject(how), bytes(size)
        self._ready = [
            self._line(
                subject,
                self._sealer.seal(data, to=recipients, subject=subject) if how == SEALED else data,
            )
            for _ in range(n)
        ]

    def _line(self, subject: str, data: bytes) -> bytes:
        head, size = self._head, len(self._head) + len(data)
        return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject.encode(), len(head), size, head, data)

    def send(self, pause_ns: int) -> None:
        """Send what was prepared: as fast as it goes, or each message so long after the last."""
        if pause_ns:
            due = time.monotonic_ns()
            for line in self._ready:
                self._socket.sendall(line)
                due += pause_ns
                while time.monotonic_ns() < due:
                    pass
        else:
            for at in range(0, len(self._ready), 64):
                self._socket.sendall(b"".join(self._ready[at : at + 64]))
        self._confirm()


async def feeder(url: str) -> None:
    """Answer `prepare HOW SIZE N KEY…` with nothing, and `send PAUSE` with when it began."""
    feed = _Feeder(url)
    answer("ready", feed.pair.public)
    async for request, *words in requests():
        if request == "prepare":
            how, size, n, *keys = words
            feed.prepare(how, int(size), int(n), [XKey.parse(key) for key in keys])
            answer()
        else:
            start = time.monotonic_ns()
            feed.send(int(words[0]))
            answer(start)


async def receiver(url: str) -> None:
    """Take what comes.

    `expect N` is answered with nothing, then `result` with when the last of them came and the
    processor time they took; `pull HOW N` with the time, and processor time, that it takes to pull
    so many messages and acknowledge them.
    """
    pair = XKeyPair.generate()
    countdown = Countdown()
    async with _connected(url, pair) as (stock, client):

        async def taken(message: Msg) -> None:
            assert message.headers is not None
            assert message.headers["sender"]
            countdown.count()

        await stock.subscribe(_subject(CALLBACK), cb=taken)
        subscription = await stock.subscribe(_subject(STOCK))
        await stock.flush()

        async def iterated() -> None:
            async for message in subscription.messages:
                await taken(message)

        async with client.subscribe(_subject(SEALED)) as messages, asyncio.TaskGroup() as group:
            await client.flush()

            async def opened() -> None:
                async for message in messages:
                    assert message.data is not None
                    countdown.count()

            tasks = [group.create_task(opened()), group.create_task(iterated())]
            answer("ready", pair.public)
            await _answer_receiver(stock, client, countdown)
            for task in tasks:
                task.cancel()


async def _answer_receiver(stock: StockClient, client: Client, countdown: Countdown) -> None:
    async for request, *words in requests():
        if request == "expect":
            countdown.start(int(words[0]))
            answer()
        elif request == "result":
            answer(*await countdown.result())
        else:
            how, n = words[0], int(words[1])
            pull = _pull_sealed(client, n) if how == SEALED else _pull_stock(stock, n)
            answer(*await pull)


async def _pull_stock(client: StockClient, n: int) -> tuple[int, int]:
    """Take n messages as a program with nats-py does: fetch, acknowledge each."""
    subscription = await client.jetstream().pull_subscribe(
        f"pull.{STOCK}", durable=STOCK, stream=f"PULL_{STOCK}"
    )
    with gc_off():
        cpu, start, left = time.process_time_ns(), time.monotonic_ns(), n
        while left:
            for message in await subscription.fetch(min(left, _IN_FLIGHT), timeout=TIMEOUT):
                await message.ack()
                left -= 1
        await client.flush()
        return time.monotonic_ns() - start, time.process_time_ns() - cpu


async def _pull_sealed(client: Client, n: int) -> tuple[int, int]:
    """Take n messages with a consumer of ours; its handler does nothing."""
    left, done = n, asyncio.Event()

    async def handle(_message: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    with gc_off():
        cpu, start = time.process_time_ns(), time.monotonic_ns()
        async with client.js.consume(f"PULL_{SEALED}", SEALED, handle, create=DurableOptions()):
            await asyncio.wait_for(done.wait(), TIMEOUT)
        return time.monotonic_ns() - start, time.process_time_ns() - cpu


class _Publisher:
    """Publishes in every way that is compared."""

    def __init__(self, stock: StockClient, client: Client, keys: list[XKey]) -> None:
        self._stock = stock
        self._client = client
        self._service, self._receiver = keys
        self._header = {"sender": str(client.public)}
        lines = (_HOSPITAL / "patients.ndjson").read_text().splitlines()
        resources = [json.loads(line) for line in lines]
        self._documents = [{each["resourceType"]: each} for each in resources]
        self._policy = Policy.load(_HOSPITAL / "policy.toml")
        roles = ("clinic", "billing", "research", "audit")
        self._readers = {role: [XKeyPair.generate().public for _ in range(5)] for role in roles}

    async def publish(self, how: str, size: int, n: int, to: list[XKey]) -> tuple[int, int]:
        """Publish n messages; return the processor time, and the time."""
        data, subject = bytes(size), "nobody.listens"

        async def stock() -> None:
            await self._stock.publish(subject, data, headers=self._header)

        async def sealed() -> None:
            await self._client.publish(subject, data, to=to)

        route = self._client.route(subject, to)

        async def prepared() -> None:
            await route.publish(data)

        return await self._repeat(how, {SEALED: sealed, ROUTE: prepared}.get(how, stock), n)

    async def documents(self, how: str, n: int) -> tuple[int, int]:
        """Publish n documents, for 20 readers in four roles, or as one JSON text for all."""
        documents, subject = itertools.cycle(self._documents), "nobody.listens"

        async def stock() -> None:
            data = json.dumps(next(documents)).encode()
            await self._stock.publish(subject, data, headers=self._header)

        async def sealed() -> None:
            await self._client.publish_document(
                subject, next(documents), policy=self._policy, readers=self._readers
            )

        return await self._repeat(how, sealed if how == SEALED else stock, n)

    async def _repeat(
        self, how: str, publish: Callable[[], Awaitable[None]], n: int
    ) -> tuple[int, int]:
        with gc_off():
            cpu, start = time.process_time_ns(), time.monotonic_ns()
            for _ in range(n):
                await publish()
            await (self._stock.flush() if how == STOCK else self._client.flush())
            return time.process_time_ns() - cpu, time.monotonic_ns() - start

    async def store(self, how: str, subject: str, size: int, n: int) -> tuple[int, int]:
        """Publish n messages to a stream, acknowledged, 256 in flight; return both times."""
        data = bytes(size)
        with gc_off():
            cpu, start = time.process_time_ns(), time.monotonic_ns()
            if how == SEALED:
                await self._store_sealed(subject, data, n)
            else:
                await self._store_stock(subject, data, n)
            return time.monotonic_ns() - start, time.process_time_ns() - cpu

    async def _store_stock(self, subject: str, data: bytes, n: int) -> None:
        context = self._stock.jetstream(publish_async_max_pending=_IN_FLIGHT)
        futures = [
            await context.publish_async(subject, data, headers=self._header.copy())
            for _ in range(n)
        ]
        await asyncio.wait_for(asyncio.gather(*futures), TIMEOUT)

    async def _store_sealed(self, subject: str, data: bytes, n: int) -> None:
        to = [self._receiver]
        futures = [await self._client.js.publish_async(subject, data, to=to) for _ in range(n)]
        await asyncio.wait_for(asyncio.gather(*futures), TIMEOUT)

    async def request(self, how: str, size: int, n: int) -> list[int]:
        """Ask n times, one after the other; return nanoseconds each."""
        data, took = bytes(size), []
        for _ in range(n):
            start = time.monotonic_ns()
            if how == SEALED:
                to = [self._service]
                await self._client.request("service.sealed", data, to=to, timeout=TIMEOUT)
            else:
                await self._stock.request("service.stock", data, timeout=TIMEOUT)
            took.append(time.monotonic_ns() - start)
        return took


async def publisher(url: str, *keys: str) -> None:
    """Publish, when asked `publish HOW SIZE N KEY…`, `documents HOW N`, `store HOW SUBJECT SIZE N`.

    `request HOW SIZE N` asks the service so many times.
    """
    pair = XKeyPair.generate()
    async with _connected(url, pair) as (stock, client):
        publish = _Publisher(stock, client, [XKey.parse(key) for key in keys])
        answer("ready", pair.public)
        async for request, how, *words in requests():
            if request == "publish":
                size, n, *to = words
                readers = [XKey.parse(key) for key in to]
                answer(*await publish.publish(how, int(size), int(n), readers))
            elif request == "documents":
                answer(*await publish.documents(how, int(words[0])))
            elif request == "store":
                subject, size, n = words
                answer(*await publish.store(how, subject, int(size), int(n)))
            else:
                answer(*await publish.request(how, int(words[0]), int(words[1])))


async def service(url: str) -> None:
    """Answer requests, in plaintext and sealed, until standard input ends."""
    pair = XKeyPair.generate()
    async with _connected(url, pair) as (stock, client):

        async def answered(message: Msg) -> None:
            await stock.publish(message.reply, message.data)

        async def echo(message: Any) -> bytes:
            return bytes(message.data)

        await stock.subscribe("service.stock", cb=answered)
        await stock.flush()
        async with client.serve("service.sealed", echo, answer_anyone=True):
            await client.flush()
            answer("ready", pair.public)
            async for _ in requests():
                answer()


class _Everybody:
    """Trust in all keys, as in ones that are known."""

    def admit(self, _sender: XKey, _subject: str, _at: int) -> Admission:
        return Admission()


@asynccontextmanager
async def _connected(url: str, pair: XKeyPair) -> AsyncIterator[tuple[StockClient, Client]]:
    """A connection of each kind."""
    stock = await nats.connect(url)
    try:
        async with xkeymsg.connect(url, key=pair, trust=_Everybody()) as client:
            yield stock, client
    finally:
        await stock.close()


_ROLES: dict[str, Callable[..., Awaitable[None]]] = {
    "feeder": feeder,
    "receiver": receiver,
    "publisher": publisher,
    "service": service,
}


def main() -> None:
    """Take part until standard input ends."""
    role, *arguments = sys.argv[1:]
    with suppress(KeyboardInterrupt):
        asyncio.run(_ROLES[role](*arguments))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
