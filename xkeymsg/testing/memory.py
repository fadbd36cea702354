"""NATS in memory, for tests of programs: subjects, queue groups and bounded buffers, no server.

Messages are sealed, opened and refused as over a real connection; so are the entries of key-value
buckets. There are no connection losses and no JetStream: for these use a `NATSServer`, which starts
in 25 ms.
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
from xkeymsg.testing.kv import MemoryBucket
from xkeymsg.transport.link import Event
from xkeymsg.transport.raw import RawSubscription
from xkeymsg.transport.subjects import covers, encode_pattern, encode_subject

__all__ = ("MemoryLink", "MemoryNATS")

_NOBODY: Final = b"NATS/1.0 503\r\n\r\n"


class MemoryNATS:
    """An in-memory server: clients connected to the same instance reach each other.

        nats = MemoryNATS()
        async with nats.connect(key=alice, trust=peers) as client: ...

    For use in one event loop.
    """

    def __init__(self, *, max_payload: int = 1 << 20) -> None:
        self.max_payload = max_payload
        """Maximum bytes of headers and data per message."""
        self.subscriptions: list[tuple[RawSubscription, bytes]] = []
        """All subscriptions, with their patterns."""
        self._turns = count()
        self._buckets: dict[str, MemoryBucket] = {}

    def bucket(self, name: str) -> MemoryBucket:
        """Return a key-value bucket, which exists from the first call on."""
        return self._buckets.setdefault(name, MemoryBucket(name, self.max_payload))

    def connect(
        self,
        *,
        key: XKeyPair | Keyring,
        trust: Senders,
        inbox_prefix: str = "_INBOX",
        **options: Unpack[ClientOptions],
    ) -> AbstractAsyncContextManager[Client]:
        """Return a context manager for a client; arguments are those of `xkeymsg.connect`."""
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
        """Deliver to subscriptions and to one member per queue group; return whether any exist.

        A full subscription is awaited for as long as on a real connection.
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
        """Number of messages dropped by full subscriptions."""
        self.clients: list[Client] = []
        """The clients to notify of events."""
        self._nats = nats
        self._prefix = inbox_prefix
        self._asking = 0

    @property
    def max_payload(self) -> int:
        """Maximum bytes of headers and data per message."""
        return self._nats.max_payload

    async def publish(
        self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = ""
    ) -> None:
        """Publish a message.

        Raises:
            MalformedError: If `subject` or `reply` is not a valid subject.
            PayloadTooLargeError: If it is too large.
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
        """Subscribe for the life of the link.

        Raises:
            MalformedError: If `subject` or `queue` is not valid.
            ConnectionFailedError: If the link is closed.
        """
        self._check()
        pattern = encode_pattern(subject)
        if queue:
            encode_subject(queue)
        subscription = RawSubscription(self, subject, queue, max_messages, max_bytes)
        self._nats.subscriptions.append((subscription, pattern))
        return subscription

    def kv_store(self, bucket: str) -> MemoryBucket:
        """Return the store of a bucket."""
        return self._nats.bucket(bucket)

    def new_inbox(self) -> str:
        """Return a subject that nobody can guess."""
        return f"{self._prefix}.{secrets.token_urlsafe(16)}"

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Mark this block as waiting for a reply."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    async def confirm(self) -> None:
        """Return; everything published has already been delivered.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        self._check()
        await asyncio.sleep(0)

    async def drain(self, timeout: float) -> None:
        """Unsubscribe, wait up to `timeout` seconds until received messages are read, and close."""
        mine = [each for each, _ in self._nats.subscriptions if each._owner is self]  # noqa: SLF001
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for each in mine:
                    await each.drain()
                for each in mine:
                    await each.emptied()
        self.close()

    def close(self) -> None:
        """Close the link; iterations end."""
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

    # --- callbacks of a subscription --------------------------------------------------------------

    def is_asking(self) -> bool:
        """Return whether a reply is awaited."""
        return self._asking > 0

    def on_stall(self, stalled: bool) -> None:
        """Ignore a stalled subscription: it affects no other."""

    def on_drop(self, subscription: RawSubscription) -> None:
        """Count a dropped message, and notify clients."""
        self.dropped += 1
        event = Event("slow", subject=subscription.subject, dropped=subscription.dropped)
        for client in self.clients:
            client.happened(event)

    async def leave(self, subscription: RawSubscription, *, at_once: bool) -> None:
        """Unsubscribe."""
        self._forget(subscription)
