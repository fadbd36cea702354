"""Acknowledged publishing into streams, with many messages in flight, and retries.

A message that is not acknowledged is sent again, with the same bytes and the same `Nats-Msg-Id`, so
that the stream stores it once: after a reconnect, if no stream listens or accepts it yet, and every
few seconds until its timeout. One inbox, one task that reads it and one timer serve all messages.

An acknowledgement marked *duplicate* refers to our own retry only if the stream holds our bytes.
The id is not secret once the message is sent: anyone who sees it, above all the broker, may have
stored another message under it (docs/spec/envelope.md, "Message id").
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
    PayloadTooLargeError,
    XKeyMsgError,
)
from xkeymsg.transport.headers import parse_block
from xkeymsg.transport.raw import Raw, RawSubscription
from xkeymsg.transport.rights import Refusal
from xkeymsg.transport.subjects import encode_subject

__all__ = ("NoStreamError", "StreamPublisher")

_TICK: Final = 0.1
_RETRY: Final = 2.0
"""Seconds after which an unacknowledged message is sent again."""
_LONGEST: Final = 86_400.0
_SOON: Final = 0.25
"""The same, after an answer that says "not now"."""
_NOT_NOW: Final = frozenset((10008, 10158, 10167))
"""JetStream's error numbers for "temporarily unavailable", "duplicate message id is in process" and
"too many requests"."""
_TOO_LARGE: Final = 10054
"""JetStream's error number for a message above the stream's `max_msg_size`."""
_NO_STREAM: Final = "no stream takes {}: create one (xkeymsg stream add), or correct the subject"


class NoStreamError(DeliveryError):
    """No stream takes a subject."""


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
        "refusal",
        "sent",
        "size",
        "subject",
        "timeout",
        "to",
    )

    def __init__(self, subject: str, data: bytes, headers: bytes, reply: bytes) -> None:
        self.subject = subject
        self.to = b"%b %b" % (encode_subject(subject), reply)
        """The subject and the reply subject on the wire."""
        self.data = data
        self.headers = headers
        self.size = len(data) + len(headers)
        self.future: asyncio.Future[PubAck] = asyncio.get_running_loop().create_future()
        self.timeout = self.deadline = self.due = 0.0
        self.first_refusal: float | None = None
        self.refusal: DeliveryError | None = None
        self.known = False
        self.sent = 0


class StreamPublisher:
    """Publisher that awaits a stream's acknowledgement of each message.

    Args:
        api: The JetStream API client.
        in_flight: Limit of unacknowledged messages.
        in_flight_bytes: Limit of their bytes; a single message of any size is accepted.
        no_stream: After how many seconds without a listener to ask JetStream whether a stream
            takes the subject; 0 gives up without asking.
    """

    def __init__(
        self,
        api: API,
        *,
        in_flight: int = 256,
        in_flight_bytes: int = 32 << 20,
        no_stream: float = 2.0,
    ) -> None:
        self.duplicates = 0
        """Number of messages that the stream had from an earlier attempt."""
        self.retries = 0
        """Number of retries."""
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
        self._prefix = encode_subject(self._inbox) + b"."
        self._tokens_at = len(self._prefix)
        self._subscription: RawSubscription | None = None
        self._background = Background()
        self._reconnects = self._link.reconnects
        self._starting = asyncio.Lock()
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Number of unacknowledged messages."""
        return len(self._flying)

    @property
    def is_full(self) -> bool:
        """Whether the next message must wait until fewer are in flight."""
        return len(self._flying) >= self._limit or self._bytes >= self._limit_bytes

    async def submit(
        self,
        subject: str,
        data: bytes,
        headers: bytes,
        *,
        timeout: float,
        known: bool = False,
        again: bool = False,
    ) -> asyncio.Future[PubAck]:
        """Send a message, and return a future of its acknowledgement.

        Waits only while too many messages are in flight.

        Args:
            subject: The subject.
            data: The sealed message.
            headers: A header block with a `Nats-Msg-Id`, without which a retry could be stored
                twice.
            timeout: Timeout of the acknowledgement in seconds, including retries. It must be less
                than the stream's `duplicate_window`, two minutes by default, in which the stream
                remembers the id.
            known: Whether an earlier process may have sent it, under an unguessable id: then a
                duplicate is not compared.
            again: Whether the same bytes were submitted before, and their acknowledgement timed
                out: then a duplicate that cannot be read is our own.

        The future raises:
            DeliveryError: If the stream refuses it (`err_code` says why), no stream takes it, the
                server does not permit it, or the acknowledgement timed out: then it may or may not
                be stored.
            ConflictError: If a stream holds another message under its id.
            PayloadTooLargeError: If it exceeds the stream's `max_msg_size`.
            ConnectionFailedError: If the link is closed.

        Raises:
            MalformedError: If the subject is invalid.
            ConfigurationError: If the timeout is invalid.
            PayloadTooLargeError: If it exceeds the server's limit.
            ConnectionFailedError: If the link is closed.
        """
        if not 0 < timeout <= _LONGEST:
            raise ConfigurationError("timeout must be above 0 and at most 86400 seconds")
        if self._subscription is None or self._subscription.ended:
            await self._start()
        size = len(data) + len(headers)
        while self._flying and (
            len(self._flying) >= self._limit or self._bytes + size > self._limit_bytes
        ):
            await self._wait_for_room()
        if self._closed:  # meanwhile: the acknowledgement would not be read
            raise ConnectionFailedError("the connection is closed")
        token = b"%d" % next(self._numbers)
        entry = _Entry(subject, data, headers, self._prefix + token)
        now = asyncio.get_running_loop().time()
        entry.timeout, entry.deadline, entry.due = timeout, now + timeout, now + _RETRY
        entry.known, entry.sent = known, int(again)
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
        """Wait until nothing is in flight; each future has its own result."""
        await self._idle.wait()

    async def close(self) -> None:
        """Close; messages in flight, and callers waiting to send, fail."""
        self._closed = True
        self._link.on_refusal.discard(self._refused)
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
            # One reply for each message, and more for retries.
            self._subscription = await self._link.subscribe(
                f"{self._inbox}.*", max_messages=4 * self._limit + 1024
            )
            self._link.on_refusal.add(self._refused)
            self._background.spawn(self._read(self._subscription))
            self._background.spawn(self._watch())

    async def _send(self, entry: _Entry) -> None:
        """Publish a message on the link; if the link refuses it now, it becomes due for a retry."""
        entry.sent += 1
        try:
            await self._link.send(entry.to, entry.data, entry.headers)
        except DeliveryError:  # nothing was sent
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
                self._give_room()  # pass the turn on
            raise

    def _give_room(self) -> None:
        while self._room:
            waiter = self._room.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _land(self, token: bytes) -> _Entry | None:
        """Remove a message from those in flight."""
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
            return  # reply to a retry; another reply came first
        if raw.says_nobody_listens:
            self._no_stream(token, entry)
            return
        try:
            ack = parse_puback(raw.data)
        except DeliveryError as error:
            if error.err_code in _NOT_NOW:
                entry.refusal = error
                entry.due = asyncio.get_running_loop().time() + _SOON
            elif error.err_code == _TOO_LARGE:
                self._end(token, PayloadTooLargeError(entry.size))
            else:
                self._end(token, error)
            return
        if ack.duplicate and not entry.known:
            # It stays in flight, with its deadline, until its bytes are compared.
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
        entry.due = now + _SOON
        if now - entry.first_refusal < self._no_stream_for or entry.subject in self._missed:
            return
        if not self._no_stream_for:
            self._end(token, NoStreamError(_NO_STREAM.format(entry.subject)))
            return
        self._missed.add(entry.subject)
        self._background.spawn(self._look_for_stream(entry.subject))

    async def _look_for_stream(self, subject: str) -> None:
        """Give up if no stream takes the subject; wait for one that is electing its leader."""
        try:
            answer = await self._api.request("STREAM.NAMES", {"subject": subject})
        except DeliveryError:
            return  # no reply, or not permitted to ask: the deadline decides
        finally:
            self._missed.discard(subject)
        if not answer.get("streams"):
            for token, entry in list(self._flying.items()):
                if entry.subject == subject and entry.first_refusal is not None:
                    self._end(token, NoStreamError(_NO_STREAM.format(subject)))

    def _refused(self, refusal: Refusal) -> None:
        """Give up the messages on a subject that the server does not permit."""
        for token, entry in list(self._flying.items()):
            if refusal.is_of(entry.subject):
                unsure = ": an earlier attempt may be stored" if entry.sent > 1 else ""
                self._end(token, DeliveryError(f"{refusal}{unsure}"))

    async def _compare(self, token: bytes, entry: _Entry, ack: PubAck) -> None:
        """Distinguish our own retry from another message with the id."""
        kept = await self._kept(ack)
        if kept is None and entry.sent == 1:
            error = "a stream had this message's id before it was sent, and its copy cannot be read"
            self._end(token, ConflictError(error))
        elif kept not in (None, entry.data):
            self._end(token, ConflictError("a stream holds another message under this one's id"))
        else:
            self.duplicates += 1
            self._land(token)
            if not entry.future.done():
                entry.future.set_result(ack)

    async def _kept(self, ack: PubAck) -> bytes | None:
        """Return the bytes that a stream holds; None if they cannot be read."""
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

    # --- the timer --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Resend due messages, and fail expired ones."""
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
            # A list: replies arrive while we send.
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
                text = f"no acknowledgement within {entry.timeout:g} s: it may or may not be stored"
                code = None
                if (refusal := entry.refusal) is not None:
                    text, code = f"{text}; {refusal}", refusal.err_code
                self._end(token, DeliveryError(text, code))
