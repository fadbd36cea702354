"""A connection that comes back, whatever ended it, and lets messages pass as bytes.

What was published and not yet confirmed when a connection is lost may not have arrived: core NATS
promises no more. `confirm` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Literal, NamedTuple

from xkeymsg.errors import ConnectionFailedError, DeliveryError, PayloadTooLargeError
from xkeymsg.transport.keeper import CLOSE_TIMEOUT, Event, Keeper
from xkeymsg.transport.lean import LeanClient
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.parser import MAX_MESSAGE
from xkeymsg.transport.raw import Raw, RawSubscription
from xkeymsg.transport.rights import Refusal, parse_refusal
from xkeymsg.transport.subjects import encode_pattern, encode_subject

__all__ = ("Event", "Link", "open_link")

_BATCH: Final = 1 << 16
"""Bytes that are published in a row before the event loop writes them."""

_REPORTS: Final = 1.0
"""Seconds between two reports of one subscription that drops messages."""


class _Asked(NamedTuple):
    subject: str
    answer: asyncio.Future[Raw]

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Link:
    """A connection that comes back; made by `open_link`.

    Every wait has an end of its own: `options.timeout` where no other is named. A task that is
    cancelled in one leaves the link as it was.
    """

    def __init__(self, options: ConnectOptions, on_event: Callable[[Event], None]) -> None:
        self.dropped = 0
        """How many messages found no room in their subscription."""
        self._options = options
        self._on_event = on_event
        self._keeper = Keeper(options, self._note, self._subscribe_again)
        self._subscriptions: dict[RawSubscription, bytes] = {}  # and its number on the connection
        self._reported: dict[RawSubscription, float] = {}
        self._inbox = self.new_inbox()
        self._replies: dict[bytes, _Asked] = {}
        self._deaf: Refusal | None = None  # the server does not let us hear answers

    @property
    def state(self) -> Literal["connected", "reconnecting", "closed"]:
        """Whether there is a connection, or will be one."""
        lost = self._keeper.client.lost.done() and self._keeper.state == "connected"
        return "reconnecting" if lost else self._keeper.state

    @property
    def reconnects(self) -> int:
        """How many connections were made after the first."""
        return self._keeper.reconnects

    @property
    def max_payload(self) -> int:
        """The server's limit to header block and data together, in bytes.

        What it says above 64 MiB is none that a nats-server has, and would be no bound for buffers.
        """
        return min(self._keeper.client.max_payload, MAX_MESSAGE)

    # --- publishing -------------------------------------------------------------------------------

    async def publish(
        self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = ""
    ) -> None:
        """Hand a message to the connection; `confirm` tells whether the server has it.

        While there is no connection, or the server does not take what was sent before, it waits,
        but no longer than `options.timeout`.

        Args:
            subject: Where to.
            data: The message.
            headers: A header block, of `encode_block`.
            reply: Where an answer is expected.

        Raises:
            MalformedError: If subject or reply is none.
            PayloadTooLargeError: If the server would not take it; nothing was sent.
            DeliveryError: If it could not be sent in time.
            ConnectionFailedError: If the link is closed.
        """
        to = encode_subject(subject)
        if reply:
            to = b"%b %b" % (to, encode_subject(reply))
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
        """Wait until the server has taken, or refused, everything that was sent to it.

        Raises:
            DeliveryError: If it refused something (permissions) since the last call, if a
                connection was lost before it had confirmed, or if it gave no answer in time.
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
        """Publish a message and wait for the first answer.

        Args:
            subject: Where to.
            data: The message.
            headers: A header block, of `encode_block`.
            timeout: How long to wait, in seconds, for the connection too.

        Raises:
            MalformedError: If subject is none.
            PayloadTooLargeError: If the server would not take it; nothing was sent.
            DeliveryError: If there was no answer in time, or nobody to give one; or if the server
                does not permit to ask, or to hear answers.
            ConnectionFailedError: If the link is closed.
        """
        if self._deaf is not None:
            raise _unheard(self._deaf)
        token = secrets.token_urlsafe(16)
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_seen)
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
            raise DeliveryError("nobody listens there who could answer")
        return raw

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Say that an answer is awaited in this block, by whatever subscription it comes.

        The connection is then not left unread for long because of another subscription without
        room. `request` and `confirm` say so themselves.
        """
        with self._keeper.asking():
            yield

    def _take_answer(self, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        asked = self._replies.get(subject[len(self._inbox) + 1 :])
        if asked is not None and not asked.answer.done():
            asked.answer.set_result(Raw(subject, reply, headers, data))

    def _note(self, event: Event) -> None:
        """Pass an event on; where it says that there will be no answer, do not wait for one."""
        if event.kind in ("disconnected", "connected"):
            self._deaf = None  # the next connection may, whatever was said before it stood
        refusal = None if event.error is None else parse_refusal(event.error)
        if refusal is not None and refusal.what == "publish":
            for asked in self._replies.values():
                if refusal.is_of(asked.subject):
                    asked.fail(DeliveryError(str(refusal)))
        elif refusal is not None and refusal.is_of(f"{self._inbox}.*"):
            self._deaf = refusal
            for asked in self._replies.values():
                asked.fail(_unheard(refusal))
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
        """Subscribe, for as long as the link lives.

        Args:
            subject: What to listen on; wildcards as in NATS.
            queue: A group whose members share the messages.
            max_messages: How many messages may wait to be taken.
            max_bytes: How many bytes of header blocks and data they may have; one message may wait
                whatever its size.

        Raises:
            MalformedError: If subject or queue is none.
            ConnectionFailedError: If the link is closed.

        A server that does not permit it is an event, and an error of `confirm`.
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
        client.listen(encode_pattern(f"{self._inbox}.*"), b"", self._take_answer)
        for subscription in self._subscriptions:
            self._subscriptions[subscription] = self._listen(subscription)

    def is_asking(self) -> bool:
        """Tell whether somebody waits for an answer that has yet to be read."""
        return self._keeper.is_asking

    def on_stall(self, stalled: bool) -> None:
        """Take note that nothing is read because a subscription has no room, or that it goes on."""
        self._keeper.client.stalled = stalled

    def on_drop(self, subscription: RawSubscription) -> None:
        """Take note that a subscription has dropped a message."""
        self.dropped += 1
        now = asyncio.get_running_loop().time()
        if now - self._reported.get(subscription, -_REPORTS) >= _REPORTS:
            self._reported[subscription] = now
            subject, dropped = subscription.subject, subscription.dropped
            self._keeper.tell(Event("slow", subject=subject, dropped=dropped))

    async def leave(self, subscription: RawSubscription, *, at_once: bool) -> None:
        """Unsubscribe."""
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
        """Take no more messages, let those that came be taken, send what is to be sent; then close.

        Tasks that iterate over a subscription come to its end. What they do with the last message
        is theirs to wait for: publishing ends with this call.

        Args:
            timeout: The most that it takes, in seconds, whatever the connection is doing.
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


def _seen(answer: asyncio.Future[Raw]) -> None:
    """Have nobody complain of an error that came when nobody waited for the answer any more."""
    if not answer.cancelled():
        answer.exception()


def _unheard(refusal: Refusal) -> DeliveryError:
    return DeliveryError(f"{refusal}, where answers come")


@contextlib.asynccontextmanager
async def open_link(
    options: ConnectOptions, on_event: Callable[[Event], None] = lambda _: None
) -> AsyncIterator[Link]:
    """Connect to a NATS server for the life of a block, and again whenever that is necessary.

    A server that is not up yet is tried again until `options.timeout`; one that refuses us is not.
    Once there was a connection, everything is tried again, for ever.

    On leaving, what was published is flushed and the connection closed, in bounded time.

    Args:
        options: Where to and as whom.
        on_event: Told what happens to the connection, from within the event loop.

    Raises:
        ConfigurationError: If a file of the options does not hold what it should.
        KeyStoreError: If a file cannot be read.
        ConnectionFailedError: If there is no connection in time; the text says what was tried, why
            it failed and what to check.

    Cancellation closes what was begun.
    """
    link = Link(options, on_event)
    try:
        await link._open()  # noqa: SLF001 - made here
        yield link
    finally:
        await link._close()  # noqa: SLF001
