"""A connection that always reconnects, and passes messages as bytes.

Messages that are unconfirmed when a connection is lost may not have arrived: core NATS promises no
more. `confirm` reports this.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Final, Literal, NamedTuple

from xkeymsg.errors import ConnectionFailedError, DeliveryError, PayloadTooLargeError
from xkeymsg.transport.keeper import CLOSE_TIMEOUT, Event, Keeper
from xkeymsg.transport.lean_client import LeanClient
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.parser import MAX_MESSAGE
from xkeymsg.transport.raw import Raw, RawSubscription
from xkeymsg.transport.rights import Refusal, parse_refusal
from xkeymsg.transport.stored_keys import StoredKeys
from xkeymsg.transport.subjects import encode_pattern, encode_subject

__all__ = ("REPORTS", "Event", "Link", "open_link")

_BATCH: Final = 1 << 16
"""Bytes published in a row before the event loop runs to write them."""

REPORTS: Final = 1.0
"""Seconds between two `slow` events of one subscription."""


class _Asked(NamedTuple):
    subject: str
    answer: asyncio.Future[Raw]

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Link:
    """A connection that reconnects; made by `open_link`.

    Every wait is bounded: by `options.timeout`, unless a method has its own timeout. A cancelled
    call leaves the link unchanged.
    """

    def __init__(
        self,
        options: ConnectOptions,
        on_event: Callable[[Event], None],
        keys: StoredKeys | None = None,
    ) -> None:
        self.dropped = 0
        """Number of messages dropped because their subscription was full."""
        self.refusals = 0
        """Number of published messages that the server has refused (permissions)."""
        self.on_refusal: set[Callable[[Refusal], None]] = set()
        """Called with each of them."""
        self._options = options
        self._on_event = on_event
        self._keeper = Keeper(options, self._note, self._subscribe_again, keys)
        self._subscriptions: dict[RawSubscription, bytes] = {}  # with their numbers on the wire
        self._reported: dict[RawSubscription, float] = {}
        self._inbox = self.new_inbox()
        self._replies: dict[bytes, _Asked] = {}
        self._inbox_refusal: Refusal | None = None  # to subscribe to our inbox

    @property
    def state(self) -> Literal["connected", "reconnecting", "closed"]:
        """The state of the connection."""
        lost = self._keeper.client.lost.done() and self._keeper.state == "connected"
        return "reconnecting" if lost else self._keeper.state

    @property
    def reconnects(self) -> int:
        """Number of connections made after the first."""
        return self._keeper.reconnects

    @property
    def timeout(self) -> float:
        """The seconds that a wait may take; `request` and `drain` have their own."""
        return self._options.timeout

    @property
    def jetstream_api(self) -> str:
        """The subject prefix of JetStream's API."""
        return self._options.jetstream_api

    @property
    def has_room(self) -> bool:
        """Whether `publish` passes a message to the present connection without waiting."""
        return self._keeper.client.is_ready

    @property
    def max_payload(self) -> int:
        """The server's limit for header block and data together, in bytes.

        Capped at 64 MiB, nats-server's own maximum: a larger value would not bound our buffers.
        """
        return min(self._keeper.client.max_payload, MAX_MESSAGE)

    # --- publishing -------------------------------------------------------------------------------

    def publish(
        self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = ""
    ) -> Coroutine[Any, Any, None]:
        """Pass a message to the connection; `confirm` waits until the server has it.

        Waits up to `options.timeout` while disconnected, or while the send buffer is full.

        Args:
            subject: The subject to publish to.
            data: The payload.
            headers: A header block, from `encode_block`.
            reply: The reply subject.

        Raises:
            MalformedError: If the subject or reply is invalid.
            PayloadTooLargeError: If it exceeds the server's limit; nothing was sent.
            DeliveryError: If it could not be sent in time.
            ConnectionFailedError: If the link is closed.
        """
        to = encode_subject(subject)
        return self.send(b"%b %b" % (to, encode_subject(reply)) if reply else to, data, headers)

    async def send(self, to: bytes, data: bytes, headers: bytes = b"") -> None:
        """Publish as `publish`, to a subject in its form on the wire, which must be valid.

        For subjects that differ for each message, whose encoding no cache remembers.

        Args:
            to: The subject; or the subject, a space and the reply subject.
            data: The payload.
            headers: A header block, from `encode_block`.

        Raises:
            XKeyMsgError: As `publish`.
        """
        client = self._keeper.client
        if not client.is_ready:
            client = await self._keeper.ready()
        self._send(client, to, data, headers)
        if client.pending > _BATCH:
            await asyncio.sleep(0)

    def _send(self, client: LeanClient, to: bytes, data: bytes, headers: bytes) -> None:
        size = len(headers) + len(data)
        if size > client.max_payload > 0:
            raise PayloadTooLargeError(size, client.max_payload)
        if headers:
            client.send(b"HPUB %b %d %d\r\n%b%b\r\n" % (to, len(headers), size, headers, data))
        else:
            client.send(b"PUB %b %d\r\n%b\r\n" % (to, size, data))
        client.unconfirmed = True

    async def confirm(self) -> None:
        """Wait until the server has accepted, or refused, everything that was sent to it.

        Raises:
            DeliveryError: If the server refused something (permissions) since the last call, if a
                connection was lost before it had confirmed, or if it did not answer in time.
            ConnectionFailedError: If the link is closed.
        """
        await self._keeper.confirm()

    # --- asking -----------------------------------------------------------------------------------

    def new_inbox(self) -> str:
        """Return a subject that nobody can guess."""
        return f"{self._options.inbox_prefix}.{secrets.token_urlsafe(16)}"

    async def request(
        self, subject: str, data: bytes, *, headers: bytes = b"", timeout: float
    ) -> Raw:
        """Publish a message and wait for the first reply.

        Args:
            subject: The subject to publish to.
            data: The payload.
            headers: A header block, from `encode_block`.
            timeout: How long to wait, in seconds, including for a connection.

        Raises:
            MalformedError: If the subject is invalid.
            PayloadTooLargeError: If it exceeds the server's limit; nothing was sent.
            DeliveryError: If no reply came in time; if there are no responders; or if the server
                does not permit the request, or the subscription to its replies.
            ConnectionFailedError: If the link is closed.
        """
        if self._inbox_refusal is not None:
            raise _inbox_error(self._inbox_refusal)
        token = secrets.token_urlsafe(16)
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_mark_retrieved)
        self._replies[token.encode()] = _Asked(subject, answer)
        reply = f"{self._inbox}.{token}"
        try:
            with self.asking():
                async with asyncio.timeout(timeout):
                    await self.publish(subject, data, headers=headers, reply=reply)
                    raw = await answer
        except TimeoutError:
            raise DeliveryError(f"no answer within {timeout:g} s") from None
        finally:
            del self._replies[token.encode()]
        if raw.says_nobody_listens:
            raise DeliveryError("no responders: nobody listens on this subject")
        return raw

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Context: a reply is expected, on any subscription (shortens back-pressure).

        A full subscription then pauses reading only briefly. `request` and `confirm` enter it
        themselves.
        """
        with self._keeper.asking():
            yield

    def _take_answer(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        asked = self._replies.get(subject[len(self._inbox) + 1 :])
        if asked is not None and not asked.answer.done():
            asked.answer.set_result(Raw(subject, reply, headers, data))

    def _note(self, event: Event) -> None:
        """Pass an event on; fail the requests that can get no reply because of it."""
        refusal = None if event.error is None else parse_refusal(event.error)
        if refusal is not None and refusal.what == "publish":
            self.refusals += 1
            for tell in [*self.on_refusal]:
                tell(refusal)
            for asked in self._replies.values():
                if refusal.is_of(asked.subject):
                    asked.fail(DeliveryError(str(refusal)))
        elif refusal is not None and refusal.is_of(f"{self._inbox}.*"):
            self._inbox_refusal = refusal
            for asked in self._replies.values():
                asked.fail(_inbox_error(refusal))
        self._on_event(event)

    # --- listening --------------------------------------------------------------------------------

    async def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        max_messages: int = 8192,
        max_bytes: int = 8 << 20,
    ) -> RawSubscription:
        """Subscribe for the lifetime of the link.

        If the server does not permit it, that is an `error` event, and an error of `confirm`.

        Args:
            subject: The subject; wildcards as in NATS.
            queue: A group whose members share the messages.
            max_messages: How many messages may be buffered.
            max_bytes: How many bytes of header blocks and data may be buffered; a single message
                fits whatever its size.

        Raises:
            MalformedError: If the subject or queue is invalid.
            ConnectionFailedError: If the link is closed.
        """
        if self.state == "closed":
            raise ConnectionFailedError("the connection is closed")
        encode_pattern(subject)
        if queue:
            encode_subject(queue)
        subscription = RawSubscription(self, subject, queue, max_messages, max_bytes)
        self._subscriptions[subscription] = self._listen(subscription)
        return subscription

    def _listen(self, subscription: RawSubscription) -> bytes:
        if self._keeper.client.lost.done():
            return b""
        queue = encode_subject(subscription.queue) if subscription.queue else b""
        pattern = encode_pattern(subscription.subject)
        return self._keeper.client.listen(pattern, queue, subscription.deliver)

    def _subscribe_again(self, client: LeanClient) -> None:
        self._inbox_refusal = None  # this connection may have the permission
        client.listen(encode_pattern(f"{self._inbox}.*"), b"", self._take_answer)
        for subscription in self._subscriptions:
            self._subscriptions[subscription] = self._listen(subscription)

    def is_asking(self) -> bool:
        """Return whether a caller waits for a reply."""
        return self._keeper.is_asking

    def on_stall(self, stalled: bool) -> None:
        """Note that reading pauses because a subscription is full, or that it resumes."""
        self._keeper.client.stalled = stalled

    def on_drop(self, subscription: RawSubscription) -> None:
        """Count a message that a subscription has dropped, and report it now and then."""
        self.dropped += 1
        now = asyncio.get_running_loop().time()
        if now - self._reported.get(subscription, -REPORTS) >= REPORTS:
            self._reported[subscription] = now
            subject, dropped = subscription.subject, subscription.dropped
            self._keeper.tell(Event("slow", subject=subject, dropped=dropped))

    async def leave(self, subscription: RawSubscription, *, at_once: bool) -> None:
        """Unsubscribe; unless `at_once`, wait for the messages that the server has already sent."""
        client, sid = self._keeper.client, self._subscriptions.pop(subscription, b"")
        self._reported.pop(subscription, None)
        if not sid or client.lost.done():
            return
        client.unlisten(sid)
        try:
            if not at_once:
                async with asyncio.timeout(self._options.timeout):
                    await client.ping()
        except TimeoutError:
            pass
        finally:
            client.forget(sid)

    # --- the end ----------------------------------------------------------------------------------

    async def drain(self, timeout: float) -> None:
        """Stop receiving, let buffered messages be taken, send buffered data, then close.

        Iterations over subscriptions end. Callers must wait themselves for the handling of the last
        messages: publishing is not possible after this call.

        Args:
            timeout: The upper bound of this call, in seconds, in any state of the connection.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        try:
            async with asyncio.timeout_at(end):
                subscriptions = list(self._subscriptions)
                await asyncio.gather(*(each.drain() for each in subscriptions))
                for each in subscriptions:
                    await each.emptied()
                await self._keeper.client.ping()
        except TimeoutError:
            pass
        finally:
            await self._close(max(0, end - loop.time()))

    async def _open(self) -> None:
        await self._keeper.open()

    async def _close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions.clear()
        for asked in self._replies.values():
            asked.fail(ConnectionFailedError("the connection is closed"))
        await self._keeper.close(timeout)


def _mark_retrieved(answer: asyncio.Future[Raw]) -> None:
    """Retrieve an error, so that asyncio does not log one that came after the caller gave up."""
    if not answer.cancelled():
        answer.exception()


def _inbox_error(refusal: Refusal) -> DeliveryError:
    return DeliveryError(f"{refusal}, the inbox for replies")


@contextlib.asynccontextmanager
async def open_link(
    options: ConnectOptions,
    on_event: Callable[[Event], None] = lambda _: None,
    keys: StoredKeys | None = None,
) -> AsyncIterator[Link]:
    """Connect to a NATS server for the duration of a block, and reconnect when necessary.

    Retries a server that is not up yet until `options.timeout`, but not one that refuses the login.
    After the first connection, every failure is retried, forever.

    On exit, published messages are flushed and the connection is closed, in bounded time.
    Cancellation closes a partial connection.

    Args:
        options: The servers and the login.
        on_event: Called in the event loop with each event of the connection.
        keys: The keys of the options in key stores; by default, the stores are read once, now.

    Raises:
        ConfigurationError: If a file of the options has invalid content.
        KeyStoreError: If a file cannot be read.
        ConnectionFailedError: If connecting fails or times out; the text says which servers were
            tried, why it failed and what to check.
    """
    link = Link(options, on_event, keys)
    try:
        await link._open()  # noqa: SLF001 - made here
        yield link
    finally:
        await link._close()  # noqa: SLF001
