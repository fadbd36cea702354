"""Raw messages, and the bounded buffer of a subscription."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final, NamedTuple, Protocol

from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.transport.headers import parse_status

__all__ = ("STALL", "Owner", "Raw", "RawSubscription")

STALL: Final = 1.0
"""Seconds for which a full buffer pauses reading while nothing is taken from it."""

_SLICE: Final = 0.05
"""The same while a caller waits for a reply on this connection."""

_NO_RESPONDERS: Final = 503

_RUN: Final = 64
"""Messages taken in a row before the task yields to others."""


class Raw(NamedTuple):
    """A message as it arrived; nothing is decoded until needed."""

    subject: bytes
    reply: bytes
    headers: bytes
    """The header block as on the wire; `b""` without headers."""
    data: bytes

    @property
    def subject_text(self) -> str:
        """The subject; bytes that are not UTF-8 become surrogate escapes."""
        return self.subject.decode("utf-8", "surrogateescape")

    @property
    def reply_text(self) -> str:
        """The reply subject, empty without one; decoded as `subject_text`."""
        return self.reply.decode("utf-8", "surrogateescape")

    @property
    def says_nobody_listens(self) -> bool:
        """Whether this is the server's "no responders" status; anyone can forge it."""
        if self.data or not self.headers:
            return False
        status = parse_status(self.headers)
        return status is not None and status.code == _NO_RESPONDERS


class Owner(Protocol):
    """The interface of a subscription to its connection."""

    def is_asking(self) -> bool:
        """Return whether a caller waits for a reply on this connection."""

    def on_stall(self, stalled: bool) -> None:
        """Note that reading pauses, or resumes."""

    def on_drop(self, subscription: RawSubscription) -> None:
        """Note that a message was dropped because the buffer is full."""

    async def leave(self, subscription: RawSubscription, *, at_once: bool) -> None:
        """Unsubscribe; unless `at_once`, wait for the messages that the server has already sent."""


class RawSubscription:
    """The messages of one subscription in order of arrival, for `async for`.

    Several tasks may iterate; each message goes to one of them. The iteration ends after
    `unsubscribe`, `drain`, or when the connection is closed, but not when it is lost and
    reconnects. A task cancelled while it waits has taken nothing.

    The buffer is bounded. While it is full, the connection is not read, which delays all its
    subscriptions and, in the end, the server. If nothing was taken for a second, messages that do
    not fit are dropped, counted and reported. While a caller waits for a reply on this connection,
    the limit is a twentieth of a second: the consumer may be waiting for that very reply.
    """

    def __init__(
        self, owner: Owner, subject: str, queue: str, max_messages: int, max_bytes: int
    ) -> None:
        self.subject = subject
        """The subject or pattern."""
        self.queue = queue
        """The queue group that shares the messages; empty without one."""
        self.dropped = 0
        """Number of messages dropped because the buffer was full."""
        self._owner = owner
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[Raw] = deque()
        self._bytes = 0
        self._taken = 0
        self._hopeless = -1  # the value of `_taken` when a stall last ended without progress
        self._takers: deque[asyncio.Future[None]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._watchers: list[asyncio.Future[None]] = []  # wait for the buffer to be empty
        self._ended = False

    @property
    def pending(self) -> int:
        """Number of buffered messages."""
        return len(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether the subscription has ended: no more messages will arrive."""
        return self._ended

    def __aiter__(self) -> RawSubscription:
        return self

    async def __anext__(self) -> Raw:
        if not self._waiting:
            if not await self._arrival():
                raise StopAsyncIteration
        elif not self._taken % _RUN:
            await asyncio.sleep(0)
            if not self._waiting and not await self._arrival():
                raise StopAsyncIteration
        return self._take()

    def take(self) -> Raw | None:
        """Take a buffered message without waiting, or return None.

        Returns None also after every 64th message: the caller then uses `anext`, which yields to
        other tasks.
        """
        return self._take() if self._waiting and self._taken % _RUN else None

    async def next(self, timeout: float) -> Raw:
        """Take the next message.

        Args:
            timeout: How long to wait for it, in seconds.

        Raises:
            DeliveryError: If no message came in time.
            ConnectionFailedError: If the subscription has ended.
        """
        try:
            async with asyncio.timeout(timeout):
                return await anext(self)
        except TimeoutError:
            raise DeliveryError(f"no message within {timeout:g} s") from None
        except StopAsyncIteration:
            raise ConnectionFailedError("the subscription has ended") from None

    async def unsubscribe(self) -> None:
        """Unsubscribe at once, and drop buffered messages."""
        self._waiting.clear()
        self._bytes = 0
        self._tell_watchers()
        self.end()
        await self._owner.leave(self, at_once=True)

    async def drain(self) -> None:
        """Unsubscribe; the messages received so far can still be taken."""
        try:
            await self._owner.leave(self, at_once=False)
        finally:
            self.end()

    async def emptied(self) -> None:
        """Wait until all buffered messages have been taken."""
        while self._waiting:
            taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append(taken)
            await taken

    def end(self) -> None:
        """End the iteration after the buffered messages."""
        self._ended = True
        for taker in self._takers:
            if not taker.done():
                taker.set_result(None)
        self._give_room()

    # --- for the connection -----------------------------------------------------------------------

    def deliver(
        self, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> Awaitable[None] | None:
        """Accept a message from the parser, which must await the result before the next one."""
        size = len(headers) + len(data)
        if len(self._waiting) >= self._max_messages or self._bytes + size > self._max_bytes:
            return self._wait_for_room(Raw(subject, reply, headers, data), size)
        self._waiting.append(Raw(subject, reply, headers, data))
        self._bytes += size
        if self._takers:
            self._wake()
        return None

    def _is_full(self, size: int) -> bool:
        waiting = len(self._waiting)
        return waiting >= self._max_messages or (
            waiting > 0 and self._bytes + size > self._max_bytes
        )

    async def _wait_for_room(self, raw: Raw, size: int) -> None:
        if self._is_full(size) and self._taken != self._hopeless:
            await self._stall()
        if self._ended:
            return
        if self._is_full(size):
            self._hopeless = self._taken
            self.dropped += 1
            self._owner.on_drop(self)
            return
        self._waiting.append(raw)
        self._bytes += size
        self._wake()

    async def _stall(self) -> None:
        """Wait until half of the buffer is free, a message is taken, or the time limit is over."""
        self._room = asyncio.get_running_loop().create_future()
        self._owner.on_stall(True)
        taken, waited = self._taken, 0.0
        try:
            while self._taken == taken and not self._room.done():
                if waited >= (_SLICE if self._owner.is_asking() else STALL):
                    break
                await asyncio.wait({self._room}, timeout=_SLICE)
                waited += _SLICE
        finally:
            self._room = None
            self._owner.on_stall(False)

    # --- for the consumer -------------------------------------------------------------------------

    def _take(self) -> Raw:
        raw = self._waiting.popleft()
        self._bytes -= len(raw.headers) + len(raw.data)
        self._taken += 1
        if self._room is not None and self._is_half_empty():
            self._give_room()
        if self._watchers and not self._waiting:
            self._tell_watchers()
        return raw

    def _is_half_empty(self) -> bool:
        return len(self._waiting) * 2 <= self._max_messages and self._bytes * 2 <= self._max_bytes

    def _tell_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _give_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _wake(self) -> None:
        """Wake one task that is waiting for a message."""
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                break

    async def _arrival(self) -> bool:
        """Wait for a message; return False if the subscription has ended."""
        while not self._waiting:
            if self._ended:
                return False
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except BaseException:
                if taker.done() and not taker.cancelled() and self._waiting:
                    self._wake()  # another task has to take the message instead
                raise
            finally:
                if not taker.done() or taker.cancelled():
                    self._forget(taker)
        return True

    def _forget(self, taker: asyncio.Future[None]) -> None:
        if taker in self._takers:
            self._takers.remove(taker)
