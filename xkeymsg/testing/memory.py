"""NATS in memory, for tests of programs: subjects, queue groups and bounded buffers, and no server.

Messages are sealed, opened and refused as over a real connection; only the connection is none. It
is never lost, and there is no JetStream: a `NATSServer` starts in 25 ms and has both.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Final, Literal, Unpack

from xkeymsg.client.client import Client
from xkeymsg.client.connect import client_on
from xkeymsg.client.core import ClientOptions, Core
from xkeymsg.envelope.admission import Senders
from xkeymsg.errors import ConnectionFailedError, PayloadTooLargeError
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.transport.link import Event
from xkeymsg.transport.raw import RawSubscription
from xkeymsg.transport.subjects import covers, encode_pattern, encode_subject

__all__ = ("MemoryLink", "MemoryNATS")

_NOBODY: Final = b"NATS/1.0 503\r\n\r\n"


class MemoryNATS:
    """What stands for a server: clients that are connected to one reach each other.

        nats = MemoryNATS()
        async with nats.connect(key=alice, trust=peers) as client: ...

    For use in one event loop.
    """

    def __init__(self, *, max_payload: int = 1 << 20) -> None:
        self.max_payload = max_payload
        """Bytes of headers and data that one message may have."""
        self.subscriptions: list[tuple[RawSubscription, bytes]] = []
        """All there are, with their patterns."""
        self._turns = count()

    def connect(
        self,
        *,
        key: XKeyPair | Keyring,
        trust: Senders,
        inbox_prefix: str = "_INBOX",
        **options: Unpack[ClientOptions],
    ) -> AbstractAsyncContextManager[Client]:
        """Return a client for the life of a block; arguments are those of `xkeymsg.connect`."""
        return self._connected(key, trust, inbox_prefix, options)

    @asynccontextmanager
    async def _connected(
        self, key: XKeyPair | Keyring, trust: Senders, inbox_prefix: str, options: ClientOptions
    ) -> AsyncIterator[Client]:
        link = MemoryLink(self, inbox_prefix)
        try:
            core = Core(key, trust, options)
            async with client_on(link, core, inbox_prefix, options) as client:
                link.clients.append(client)
                yield client
        finally:
            link.close()

    async def deliver(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> bool:
        """Give a message to all who listen, and to one of each queue group; False: to nobody.

        A subscription without room is waited for as long as a connection would be.
        """
        groups: dict[tuple[str, bytes], list[RawSubscription]] = {}
        takers = []
        for subscription, pattern in self.subscriptions:
            if not covers(pattern.decode(), subject.decode()):
                continue
            if subscription.queue:
                groups.setdefault((subscription.queue, pattern), []).append(subscription)
            else:
                takers.append(subscription)
        turn = next(self._turns)
        takers += [members[turn % len(members)] for members in groups.values()]
        for taker in takers:
            full = taker.deliver(subject, reply, headers, data)
            if full is not None:
                await full
        return bool(takers)


class MemoryLink:
    """A connection to a `MemoryNATS`, with the methods of a `Link`."""

    def __init__(self, nats: MemoryNATS, inbox_prefix: str = "_INBOX") -> None:
        self.state: Literal["connected", "reconnecting", "closed"] = "connected"
        """Whether it is connected."""
        self.dropped = 0
        """How many messages found no room in their subscription."""
        self.clients: list[Client] = []
        """Who is told of what happens to it."""
        self._nats = nats
        self._prefix = inbox_prefix
        self._asking = 0

    @property
    def max_payload(self) -> int:
        """Bytes of headers and data that one message may have."""
        return self._nats.max_payload

    async def publish(
        self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = ""
    ) -> None:
        """Give a message to all who listen.

        Raises:
            MalformedError: If subject or reply is none.
            PayloadTooLargeError: If it is too long.
            ConnectionFailedError: If the link is closed.
        """
        self._check()
        to, answer = encode_subject(subject), encode_subject(reply) if reply else b""
        size = len(headers) + len(data)
        if size > self.max_payload > 0:
            raise PayloadTooLargeError(size, self.max_payload)
        if not await self._nats.deliver(to, answer, headers, data) and answer:
            await self._nats.deliver(answer, b"", _NOBODY, b"")

    async def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        max_messages: int = 8192,
        max_bytes: int = 8 << 20,
    ) -> RawSubscription:
        """Subscribe, for as long as the link lives.

        Raises:
            MalformedError: If subject or queue is none.
            ConnectionFailedError: If the link is closed.
        """
        self._check()
        pattern = encode_pattern(subject)
        if queue:
            encode_subject(queue)
        subscription = RawSubscription(self, subject, queue, max_messages, max_bytes)
        self._nats.subscriptions.append((subscription, pattern))
        return subscription

    def new_inbox(self) -> str:
        """Return a subject that nobody can guess."""
        return f"{self._prefix}.{secrets.token_urlsafe(16)}"

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Say that an answer is awaited in this block."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    async def confirm(self) -> None:
        """Return: what was published has been delivered.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        self._check()
        await asyncio.sleep(0)

    async def drain(self, timeout: float) -> None:
        """Take no more, let what came be taken, for at most `timeout` seconds; then close."""
        mine = [each for each, _ in self._nats.subscriptions if each._owner is self]  # noqa: SLF001
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for each in mine:
                    await each.drain()
                for each in mine:
                    await each.emptied()
        self.close()

    def close(self) -> None:
        """End: iterations come to their end."""
        self.state = "closed"
        for subscription, _ in list(self._nats.subscriptions):
            if subscription._owner is self:  # noqa: SLF001 - made here
                subscription.end()
                self._forget(subscription)

    def _check(self) -> None:
        if self.state == "closed":
            raise ConnectionFailedError("the connection is closed")

    def _forget(self, subscription: RawSubscription) -> None:
        subscriptions = self._nats.subscriptions
        subscriptions[:] = [each for each in subscriptions if each[0] is not subscription]

    # --- what a subscription needs ----------------------------------------------------------------

    def is_asking(self) -> bool:
        """Tell whether an answer is awaited."""
        return self._asking > 0

    def on_stall(self, stalled: bool) -> None:
        """Take note that nothing is read: nobody else is concerned."""

    def on_drop(self, subscription: RawSubscription) -> None:
        """Take note that a message found no room."""
        self.dropped += 1
        event = Event("slow", subject=subscription.subject, dropped=subscription.dropped)
        for client in self.clients:
            client.happened(event)

    async def leave(self, subscription: RawSubscription, *, at_once: bool) -> None:
        """Unsubscribe."""
        self._forget(subscription)
