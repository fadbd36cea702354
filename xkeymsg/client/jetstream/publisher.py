"""Publishing into streams: acknowledged, many in flight, and sent again as they were.

A message that is not acknowledged is sent again, the same bytes with the same `Nats-Msg-Id`, so
that the stream keeps it once: after a connection was lost, where nobody listens yet, and every few
seconds until its time is over. There is one inbox, one task that reads it and one that looks at the
clock, whatever the number of messages.

An acknowledgement that says *duplicate* is our own retry only if the stream keeps our bytes. The id
is no secret any more once the message has been sent: whoever sees it, the broker above all, can
have put another message in its place (docs/spec/envelope.md, "Message id").
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from typing import Final

from xkeymsg.client.jetstream.api import API, PubAck, check_name, parse_puback
from xkeymsg.client.tasks import Background
from xkeymsg.errors import (
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    DeliveryError,
    XKeyMsgError,
)
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("StreamPublisher",)

_TICK: Final = 0.1
_RETRY: Final = 2.0
"""Seconds after which what was not answered is sent again."""
_LONGEST: Final = 86_400.0
_NO_STREAM_RETRY: Final = 0.25
_UNAVAILABLE: Final = 10008
"""JetStream's own: temporarily unavailable."""


class _Entry:
    """One message in flight."""

    __slots__ = (
        "data",
        "deadline",
        "due",
        "first_refusal",
        "future",
        "headers",
        "known",
        "reply",
        "sent",
        "size",
        "subject",
        "timeout",
    )

    def __init__(self, subject: str, data: bytes, headers: bytes, reply: str) -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.reply = reply
        self.size = len(data) + len(headers)
        self.future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        self.timeout = self.deadline = self.due = 0.0
        self.first_refusal: float | None = None
        self.known = False
        self.sent = 0


class StreamPublisher:
    """Sends messages to whatever stream takes their subject, and waits for its word."""

    def __init__(
        self,
        api: API,
        *,
        in_flight: int = 256,
        in_flight_bytes: int = 32 << 20,
        no_stream: float = 2.0,
    ) -> None:
        """Take the connection.

        Args:
            api: The connection, and how to ask JetStream.
            in_flight: How many messages may wait for their acknowledgement.
            in_flight_bytes: How many bytes they may have; one may wait whatever its size.
            no_stream: After how many seconds in which nobody listens JetStream is asked whether
                there is a stream at all; 0 is to give up without a question.
        """
        self.duplicates = 0
        """How many messages the stream had from an attempt before."""
        self.retries = 0
        """How many times a message was sent again."""
        self._api = api
        self._link = api.link
        self._limit = in_flight
        self._limit_bytes = in_flight_bytes
        self._no_stream_for = no_stream
        self._missed: set[str] = set()
        self._bytes = 0
        self._flying: dict[bytes, _Entry] = {}
        self._awaiting = contextlib.ExitStack()  # while something is in flight
        self._room: deque[asyncio.Future[None]] = deque()
        self._numbers = itertools.count()
        self._inbox = self._link.new_inbox()
        self._tokens_at = len(self._inbox) + 1
        self._subscription: RawSubscription | None = None
        self._background = Background()
        self._reconnects = self._link.reconnects
        self._starting = asyncio.Lock()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """How many messages wait for their acknowledgement."""
        return len(self._flying)

    @property
    def is_full(self) -> bool:
        """Whether the next message has to wait for room."""
        return len(self._flying) >= self._limit or self._bytes >= self._limit_bytes

    async def submit(
        self, subject: str, data: bytes, headers: bytes, *, timeout: float, known: bool = False
    ) -> asyncio.Future[PubAck]:
        """Send a message, and return where its acknowledgement will be.

        Waits only for room among those in flight.

        Args:
            subject: Where to.
            data: The message, sealed.
            headers: A header block with a `Nats-Msg-Id`, without which a retry could be kept twice.
            timeout: How long the acknowledgement may take, in seconds, retries included. A stream
                knows an id for its `duplicate_window`, two minutes by default: less than that.
            known: Whether an earlier process may have sent it, under an id that nobody can guess:
                then a duplicate is not looked at.

        The future raises:
            DeliveryError: If the stream refuses it (`err_code` says why), there is none, or there
                was no answer in time: then it may be stored, or not.
            ConflictError: If a stream keeps another message under its id.
            ConnectionFailedError: If the link is closed.

        Raises:
            MalformedError: If subject is none.
            ConfigurationError: If the timeout is none.
            PayloadTooLargeError: If the server would not take it.
            ConnectionFailedError: If the link is closed.
        """
        if not 0 < timeout <= _LONGEST:
            raise ConfigurationError("timeout is a number of seconds above 0, and at most a day")
        if self._subscription is None or self._subscription.ended:
            await self._start()
        size = len(data) + len(headers)
        while self._flying and (
            len(self._flying) >= self._limit or self._bytes + size > self._limit_bytes
        ):
            await self._wait_for_room()
        if self._closed:  # meanwhile, so that nobody would take the answer
            raise ConnectionFailedError("the connection is closed")
        token = b"%d" % next(self._numbers)
        entry = _Entry(subject, data, headers, f"{self._inbox}.{token.decode()}")
        now = asyncio.get_running_loop().time()
        entry.timeout, entry.deadline, entry.due = timeout, now + timeout, now + _RETRY
        entry.known = known
        if not self._flying:
            self._awaiting.enter_context(self._link.asking())
        self._flying[token] = entry
        self._bytes += size
        self._idle.clear()
        try:
            await self._send(entry)
        except BaseException:
            self._land(token)
            raise
        return entry.future

    async def flush(self) -> None:
        """Wait until nothing is in flight; how each fared is for its own future to say."""
        await self._idle.wait()

    async def close(self) -> None:
        """End; what is in flight, or waits for room, fails."""
        self._closed = True
        subscription, self._subscription = self._subscription, None
        await self._background.close()
        self._fail(ConnectionFailedError("the connection is closed"))
        if subscription is not None:
            await subscription.unsubscribe()

    async def _start(self) -> None:
        async with self._starting:
            if self._closed:
                raise ConnectionFailedError("the connection is closed")
            if self._subscription is not None and not self._subscription.ended:
                return
            # Each message has one answer, and its retries some more.
            self._subscription = await self._link.subscribe(
                f"{self._inbox}.*", max_messages=4 * self._limit + 1024
            )
            self._background.spawn(self._read(self._subscription))
            self._background.spawn(self._watch())

    async def _send(self, entry: _Entry) -> None:
        """Hand a message to the link; where that takes none now, its time will come again."""
        entry.sent += 1
        try:
            await self._link.publish(
                entry.subject, entry.data, headers=entry.headers, reply=entry.reply
            )
        except DeliveryError:  # nothing of it has left
            entry.sent -= 1
            entry.due = 0.0

    # --- room -------------------------------------------------------------------------------------

    async def _wait_for_room(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._give_room()  # the next one takes this one's turn
            raise

    def _give_room(self) -> None:
        while self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _land(self, token: bytes) -> _Entry | None:
        """Take a message out of those in flight."""
        entry = self._flying.pop(token, None)
        if entry is not None:
            self._bytes -= entry.size
            if self._room:
                self._give_room()
            if not self._flying:
                self._awaiting.close()
                self._idle.set()
        return entry

    def _fail(self, error: XKeyMsgError) -> None:
        for token in list(self._flying):
            self._end(token, error)
        while self._room:
            self._give_room()

    def _end(self, token: bytes, error: XKeyMsgError) -> None:
        entry = self._land(token)
        if entry is not None and not entry.future.done():
            entry.future.set_exception(error)

    # --- answers ----------------------------------------------------------------------------------

    async def _read(self, subscription: RawSubscription) -> None:
        async for raw in subscription:
            self._take(raw)
        self._fail(ConnectionFailedError("the connection is closed"))

    def _take(self, raw: Raw) -> None:
        token = raw.subject[self._tokens_at :]
        entry = self._flying.get(token)
        if entry is None:
            return  # the answer to a retry, after that to the first
        if raw.says_nobody_listens:
            self._no_stream(token, entry)
            return
        try:
            ack = parse_puback(raw.data)
        except DeliveryError as error:
            if error.err_code == _UNAVAILABLE:
                self._no_stream(token, entry)
            else:
                self._end(token, error)
            return
        if ack.duplicate and not entry.known:
            # It stays in flight, with its deadline, until its bytes were compared.
            entry.due = entry.deadline
            self._background.spawn(self._compare(token, entry, ack))
            return
        self._land(token)
        if not entry.future.done():
            entry.future.set_result(ack)

    def _no_stream(self, token: bytes, entry: _Entry) -> None:
        now = asyncio.get_running_loop().time()
        if entry.first_refusal is None:
            entry.first_refusal = now
        entry.due = now + _NO_STREAM_RETRY
        if now - entry.first_refusal < self._no_stream_for or entry.subject in self._missed:
            return
        if not self._no_stream_for:
            self._end(token, DeliveryError(f"no stream takes {entry.subject}"))
            return
        self._missed.add(entry.subject)
        self._background.spawn(self._look_for_stream(entry.subject))

    async def _look_for_stream(self, subject: str) -> None:
        """Give up where there is no stream; one whose leader is being elected is waited for."""
        try:
            answer = await self._api.request("STREAM.NAMES", {"subject": subject})
        except DeliveryError:
            return  # the deadline decides, where nobody answers or we may not ask
        finally:
            self._missed.discard(subject)
        if not answer.get("streams"):
            for token, entry in list(self._flying.items()):
                if entry.subject == subject and entry.first_refusal is not None:
                    self._end(token, DeliveryError(f"no stream takes {subject}"))

    async def _compare(self, token: bytes, entry: _Entry, ack: PubAck) -> None:
        """Tell our own retry from another message under the id."""
        kept = await self._kept(ack)
        if kept is None and entry.sent == 1:
            error = "a stream had this message's id before it was sent, and does not show with what"
            self._end(token, ConflictError(error))
        elif kept not in (None, entry.data):
            self._end(token, ConflictError("a stream keeps another message under this one's id"))
        else:
            self.duplicates += 1
            self._land(token)
            if not entry.future.done():
                entry.future.set_result(ack)

    async def _kept(self, ack: PubAck) -> bytes | None:
        """Return the bytes that a stream keeps; None if it is not to be seen."""
        try:
            return (await self._api.message(ack.stream, ack.sequence)).data
        except XKeyMsgError:
            pass
        try:
            stream = check_name("stream", ack.stream)
            raw = await self._api.ask(f"DIRECT.GET.{stream}", {"seq": ack.sequence})
        except XKeyMsgError:
            return None
        found = [value for name, value in parse_block(raw.headers) if name == "Nats-Sequence"]
        return raw.data if found == [str(ack.sequence)] else None

    # --- the clock --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Send again what is due, and give up what is over."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK)
            if self._link.state != "connected":
                self._expire(loop.time())
                continue
            lost = self._link.reconnects != self._reconnects
            self._reconnects = self._link.reconnects
            now = loop.time()
            self._expire(now)
            # A list: answers come while we send.
            due = [e for e in self._flying.values() if lost or e.due <= now]
            for entry in due:
                if not entry.future.done():
                    entry.due = now + _RETRY
                    self.retries += 1
                    await self._again(entry)

    async def _again(self, entry: _Entry) -> None:
        try:
            await self._send(entry)
        except XKeyMsgError as error:  # a server with a smaller max_payload, or a closed link
            if not entry.future.done():
                entry.future.set_exception(error)

    def _expire(self, now: float) -> None:
        for token, entry in list(self._flying.items()):
            if entry.future.done():
                self._land(token)  # its publisher was cancelled
            elif entry.deadline <= now:
                seconds = entry.timeout
                error = f"no acknowledgement within {seconds:g} s: it may be stored, or not"
                self._end(token, DeliveryError(error))
