"""A message as it came, and the bounded buffer in which a subscription's wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Final, NamedTuple, Protocol

from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.transport.headers import parse_status

__all__ = ("Owner", "Raw", "RawSubscription")

_STALL: Final = 1.0
"""Seconds that the connection is not read when nothing is taken from a full buffer."""

_SLICE: Final = 0.05
"""The same while an answer is awaited that has yet to be read."""

_NO_RESPONDERS: Final = 503

_RUN: Final = 64
"""So many messages are taken in a row before others have their turn."""


class Raw(NamedTuple):
    """A message as it came: nothing is decoded before it is wanted."""

    subject: bytes
    reply: bytes
    headers: bytes
    """The block as it stands on the wire, `b""` for none."""
    data: bytes

    @property
    def subject_text(self) -> str:
        """The subject; bytes that are not UTF-8 are surrogate escapes."""
        return self.subject.decode("utf-8", "surrogateescape")

    @property
    def reply_text(self) -> str:
        """The subject to answer to, empty for none; as `subject_text`."""
        return self.reply.decode("utf-8", "surrogateescape")

    @property
    def says_nobody_listens(self) -> bool:
        """Whether it is what a server answers where nobody listens; anybody can send the same."""
        if self.data or not self.headers:
            return False
        status = parse_status(self.headers)
        return status is not None and status.code == _NO_RESPONDERS


class Owner(Protocol):
    """What a subscription needs of its connection."""

    def is_asking(self) -> bool:
        """Tell whether somebody waits for an answer that has yet to be read."""

    def on_stall(self, stalled: bool) -> None:
        """Take note that nothing is read, or that it goes on."""

    def on_drop(self, subscription: RawSubscription) -> None:
        """Take note that a message found no room."""

    async def leave(self, subscription: RawSubscription, *, at_once: bool) -> None:
        """Unsubscribe."""


class RawSubscription:
    """The messages of one subscription, in the order in which they came: `async for` takes them.

    Several tasks may take from one; each message goes to one of them. The iteration ends after
    `unsubscribe`, `drain`, or the end of the connection for good, and not with a connection that is
    lost and comes back. A task that is cancelled while it waits has taken nothing.

    What waits is bounded. When it is full, the connection is not read until there is room: then all
    its subscriptions wait, and the server in the end. If nothing was taken for a second, what does
    not fit is dropped, counted, and reported; after a twentieth of a second already while an answer
    is awaited over this connection, for which the taker may be waiting.
    """

    def __init__(
        self, owner: Owner, subject: str, queue: str, max_messages: int, max_bytes: int
    ) -> None:
        self.subject = subject
        """What it listens on."""
        self.queue = queue
        """The group that shares the messages; empty for none."""
        self.dropped = 0
        """How many messages found no room."""
        self._owner = owner
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._waiting: deque[Raw] = deque()
        self._bytes = 0
        self._taken = 0
        self._hopeless = -1  # what had been taken when a stall last ended without progress
        self._takers: deque[asyncio.Future[None]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._watchers: list[asyncio.Future[None]] = []  # who wait for the buffer to be empty
        self._ended = False

    @property
    def pending(self) -> int:
        """How many messages wait to be taken."""
        return len(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether no more messages will come."""
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
        """Take a message that is here, without waiting; now and then None all the same.

        Then, and when there is none, `anext` takes the next one, and gives others their turn.
        """
        return self._take() if self._waiting and self._taken % _RUN else None

    async def next(self, timeout: float) -> Raw:
        """Take the next message.

        Args:
            timeout: How long to wait for it, in seconds.

        Raises:
            DeliveryError: If none came in time.
            ConnectionFailedError: If none will come: the subscription has ended.
        """
        try:
            async with asyncio.timeout(timeout):
                return await anext(self)
        except TimeoutError:
            raise DeliveryError(f"no message within {timeout:g} s") from None
        except StopAsyncIteration:
            raise ConnectionFailedError("the subscription has ended") from None

    async def unsubscribe(self) -> None:
        """End it at once; what waits is dropped."""
        self._waiting.clear()
        self._bytes = 0
        self._tell_watchers()
        self.end()
        await self._owner.leave(self, at_once=True)

    async def drain(self) -> None:
        """Take no more from the server; what has come so far can still be taken."""
        try:
            await self._owner.leave(self, at_once=False)
        finally:
            self.end()

    async def emptied(self) -> None:
        """Wait until everything that came has been taken."""
        while self._waiting:
            taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append(taken)
            await taken

    def end(self) -> None:
        """Let the iteration end when what waits has been taken."""
        self._ended = True
        for taker in self._takers:
            if not taker.done():
                taker.set_result(None)
        self._give_room()

    # --- the side of the connection ---------------------------------------------------------------

    def deliver(
        self, subject: bytes, reply: bytes, headers: bytes, data: bytes
    ) -> Awaitable[None] | None:
        """Take a message from the parser; what is returned has to be awaited before the next."""
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
        """Wait until half of the buffer is free, or for as long as nothing is taken and may be."""
        self._room = asyncio.get_running_loop().create_future()
        self._owner.on_stall(True)
        taken, waited = self._taken, 0.0
        try:
            while self._taken == taken and not self._room.done():
                if waited >= (_SLICE if self._owner.is_asking() else _STALL):
                    break
                await asyncio.wait({self._room}, timeout=_SLICE)
                waited += _SLICE
        finally:
            self._room = None
            self._owner.on_stall(False)

    # --- the side of the taker --------------------------------------------------------------------

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
        """Wake one task that waits for a message."""
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                break

    async def _arrival(self) -> bool:
        """Wait until there is a message to take; False if none will come."""
        while not self._waiting:
            if self._ended:
                return False
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except BaseException:
                if taker.done() and not taker.cancelled() and self._waiting:
                    self._wake()  # somebody else has to take what this one was woken for
                raise
            finally:
                if not taker.done() or taker.cancelled():
                    self._forget(taker)
        return True

    def _forget(self, taker: asyncio.Future[None]) -> None:
        if taker in self._takers:
            self._takers.remove(taker)
