"""The messages of a consumer that were delivered and are not acknowledged yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Protocol, TypeVar

from xkeymsg.client.jetstream.acks import ACK, Delivery
from xkeymsg.client.jetstream.api import API
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.errors import ConnectionFailedError, XKeyMsgError
from xkeymsg.transport.raw import Raw

__all__ = ("Answers", "Opening", "PendingMessage", "PendingMessages")

_M = TypeVar("_M", bound=Message)

_PAUSE: Final = 0.05
"""Seconds between two looks whether the durable is known."""


class Opening(Protocol[_M]):
    """One replay scope: it opens messages, and remembers them."""

    def open(self, raw: Raw, position: StreamPosition) -> _M:
        """Open a message at its place in the stream; it is pending then, in its handler's hands.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """

    def settle(self, message: _M, *, handled: bool) -> None:
        """End its pending state: with a mark if it was handled, else without."""

    def release(self, message: _M) -> None:
        """Leave it pending, out of its handler's hands: it comes again."""

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory."""


class PendingMessage(Generic[_M]):
    """A message that was delivered and is not acknowledged."""

    __slots__ = ("_opening", "code", "delivered", "message", "raw", "reply", "touched", "where")

    def __init__(self, raw: Raw, where: Delivery, now: float) -> None:
        self.raw = raw
        self.where = where
        self.reply = raw.reply_text
        """Where to answer; empty where an answer would be for another delivery."""
        self.delivered = where.delivered
        self.touched = now
        """When it was delivered, or the server was asked for more time."""
        self.message: _M | None = None
        """None until it is opened."""
        self._opening: Opening[_M] | None = None
        self.code = ""
        """The code of its last failure."""

    def opened(self, message: _M, opening: Opening[_M]) -> None:
        """Take the message, and the scope that remembers it, whatever scope comes later."""
        self.message, self._opening = message, opening

    def settle(self, *, handled: bool) -> None:
        """End its pending state, if it was opened."""
        if self.message is not None and self._opening is not None:
            self._opening.settle(self.message, handled=handled)

    def release(self) -> None:
        """Leave it pending, out of our hands, if it was opened and is not settled."""
        if self.message is not None and self._opening is not None:
            self._opening.release(self.message)

    @property
    def is_forsaken(self) -> bool:
        """Whether its delivery has no meaning any more, so that it is not answered for."""
        return not self.reply


class PendingMessages(Generic[_M]):
    """All of them: by their places in the stream, and the forsaken ones."""

    def __init__(self) -> None:
        self.bytes = 0
        """Bytes that they have together."""
        self.leaving = 0
        """How many of them go to the unproven quarantine: they take no room from others."""
        self._items: dict[int, PendingMessage[_M]] = {}
        self._forsaken: set[PendingMessage[_M]] = set()
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items) + len(self._forsaken)

    def __iter__(self) -> Iterator[PendingMessage[_M]]:
        """Iterate over a snapshot of those that are to be answered for."""
        return iter(list(self._items.values()))

    def get(self, sequence: int) -> PendingMessage[_M] | None:
        """Return the message of a place in the stream, if it is held."""
        return self._items.get(sequence)

    def add(self, item: PendingMessage[_M]) -> None:
        """Hold a message."""
        self._items[item.where.sequence] = item
        self.bytes += len(item.raw.data)

    def forsake(self, item: PendingMessage[_M]) -> None:
        """Keep a message in its handler's hands, but answer for it no more.

        An acknowledgement names only the place in the stream: the server would take it for that of
        another delivery of the place, which nobody has handled. The message counts until its
        handler is done, so that a broker cannot fill the memory with such messages.
        """
        if self.get(item.where.sequence) is item:
            item.reply = ""
            del self._items[item.where.sequence]
            self._forsaken.add(item)

    def release(self, item: PendingMessage[_M]) -> None:
        """Hold it no more; another delivery of its place stays."""
        if self.get(item.where.sequence) is item:
            del self._items[item.where.sequence]
            self.bytes -= len(item.raw.data)
        elif item in self._forsaken:
            self._forsaken.discard(item)
            self.bytes -= len(item.raw.data)
        if not len(self):
            self._empty.set()

    def clear(self) -> None:
        """Let go of all of them, at the end: what is pending stays so in its scope."""
        for item in (*self._items.values(), *self._forsaken):
            item.release()
        self._items.clear()
        self._forsaken.clear()
        self.bytes = 0
        self._empty.set()

    async def emptied(self) -> None:
        """Wait until none is held."""
        if len(self):
            self._empty.clear()
            await self._empty.wait()


class Answers:
    """Answers JetStream; what does not get there makes a message come again."""

    def __init__(
        self,
        api: API,
        *,
        ack_sync: bool,
        is_certain: Callable[[], bool],
        on_lost: Callable[[PendingMessage[Any], XKeyMsgError], None],
    ) -> None:
        """Take the connection.

        Args:
            api: It.
            ack_sync: Whether to wait for the server's word on each acknowledgement.
            is_certain: Whether the durable is the one that was last looked up.
            on_lost: Told of an answer that could not be sent, or was not confirmed, and why.
        """
        self._api, self._link = api, api.link
        self._ack_sync = ack_sync
        self._is_certain = is_certain
        self._on_lost = on_lost

    async def _certainty(self, item: PendingMessage[Any]) -> None:
        """Wait until the durable is known to be the one that delivered a message, or another."""
        while item.reply and not self._is_certain():  # noqa: ASYNC110 - the connection's state
            await asyncio.sleep(_PAUSE)

    async def finish(self, item: PendingMessage[Any], what: bytes) -> bool:
        """Give the last answer for a message, after which the server forgets the message.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        await self._certainty(item)
        return await self.give(item, what)

    async def give(self, item: PendingMessage[Any], what: bytes) -> bool:
        """Answer for a message, and tell whether that was sent.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        if not item.reply:
            return False
        try:
            await self._link.publish(item.reply, what)
        except ConnectionFailedError:
            raise
        except XKeyMsgError as error:  # or a subject that no server writes
            self._on_lost(item, error)
            return False
        return True

    async def acknowledge(self, item: PendingMessage[Any]) -> bool:
        """Acknowledge a message, and tell whether that was sent, or with `ack_sync` taken.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        await self._certainty(item)
        if not self._ack_sync or not item.reply:
            return await self.give(item, ACK)
        try:
            await self._link.request(item.reply, ACK, timeout=self._api.timeout)
        except ConnectionFailedError:
            raise
        except XKeyMsgError as error:  # as in `give`
            self._on_lost(item, error)
            return False
        return True
