"""Unacknowledged messages of a consumer, and the replies for them."""

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
"""Seconds between checks whether the durable is certain."""


class Opening(Protocol[_M]):
    """A replay scope: it opens messages, and remembers them."""

    def open(self, raw: Raw, position: StreamPosition) -> _M:
        """Open a message at its position in the stream; it is then pending, held by its handler.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """

    def settle(self, message: _M, *, handled: bool) -> None:
        """End its pending state, with a replay mark if it was handled."""

    def release(self, message: _M) -> None:
        """Leave it pending, no longer held by its handler: it will be redelivered."""

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory."""


class PendingMessage(Generic[_M]):
    """A delivered, unacknowledged message."""

    __slots__ = (
        "_opening",
        "code",
        "delivered",
        "is_settled",
        "lane",
        "message",
        "raw",
        "reply",
        "touched",
        "tries",
        "where",
    )

    def __init__(self, raw: Raw, where: Delivery, now: float) -> None:
        self.raw = raw
        self.where = where
        self.reply = raw.reply
        """The reply subject; empty if a reply would count for another delivery."""
        self.delivered = where.delivered
        self.touched = now
        """When it was delivered, or its deadline was last extended."""
        self.message: _M | None = None
        """The opened message; None until then."""
        self._opening: Opening[_M] | None = None
        self.code = ""
        """The code of its last failure."""
        self.lane: str | None = None
        """The lane of handlers that waits for it, if any."""
        self.tries = 0
        """How many times it has failed for now, while it was held."""
        self.is_settled = False
        """Whether it is handled or given up, and only its last answer is missing."""

    def opened(self, message: _M, opening: Opening[_M]) -> None:
        """Set the opened message, and the scope that remembers it even if a new scope begins."""
        self.message, self._opening = message, opening

    def settle(self, *, handled: bool) -> None:
        """End its pending state, if it was opened."""
        if self.message is not None and self._opening is not None:
            self._opening.settle(self.message, handled=handled)

    def release(self) -> None:
        """Leave it pending, no longer held, if it was opened and is not settled."""
        if self.message is not None and self._opening is not None:
            self._opening.release(self.message)

    @property
    def is_forsaken(self) -> bool:
        """Whether its delivery is obsolete, so that no reply is sent."""
        return not self.reply


class PendingMessages(Generic[_M]):
    """All unacknowledged messages: those indexed by stream sequence, and the forsaken ones."""

    def __init__(self) -> None:
        self.bytes = 0
        """Their total size in bytes."""
        self.leaving = 0
        """How many are being moved to the unproven quarantine; they do not count as held."""
        self._items: dict[int, PendingMessage[_M]] = {}
        self._forsaken: set[PendingMessage[_M]] = set()
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items) + len(self._forsaken)

    def __iter__(self) -> Iterator[PendingMessage[_M]]:
        """Iterate over a snapshot of those that need a reply."""
        return iter(list(self._items.values()))

    def get(self, sequence: int) -> PendingMessage[_M] | None:
        """Return the held message with a stream sequence, if any."""
        return self._items.get(sequence)

    def add(self, item: PendingMessage[_M]) -> None:
        """Hold a message."""
        self._items[item.where.sequence] = item
        self.bytes += len(item.raw.data)

    def forsake(self, item: PendingMessage[_M]) -> None:
        """Hold a message until its handler is done, but send no more replies for it.

        An acknowledgement names only the stream sequence: the server would apply it to another
        delivery of that sequence, which is not handled yet. The message still counts until its
        handler is done, so that a broker cannot fill the memory with such messages.
        """
        if self.get(item.where.sequence) is item:
            item.reply = b""
            del self._items[item.where.sequence]
            self._forsaken.add(item)

    def release(self, item: PendingMessage[_M]) -> None:
        """Stop holding a message; another delivery of its sequence stays."""
        if self.get(item.where.sequence) is item:
            del self._items[item.where.sequence]
            self.bytes -= len(item.raw.data)
        elif item in self._forsaken:
            self._forsaken.discard(item)
            self.bytes -= len(item.raw.data)
        if not len(self):
            self._empty.set()

    def clear(self) -> None:
        """Release all messages, at the end; those pending stay pending in their scopes."""
        for item in (*self._items.values(), *self._forsaken):
            item.release()
        self._items.clear()
        self._forsaken.clear()
        self.bytes = 0
        self._empty.set()

    async def emptied(self) -> None:
        """Wait until no message is held."""
        if len(self):
            self._empty.clear()
            await self._empty.wait()


class Answers:
    """Sender of replies to JetStream; if a reply is lost, the message is redelivered.

    Args:
        api: The JetStream API client.
        ack_sync: Whether to wait for the server's confirmation of each acknowledgement.
        is_certain: Returns whether the durable is still the one that was last looked up.
        on_lost: Called if a reply could not be sent or was not confirmed, with the error.
    """

    def __init__(
        self,
        api: API,
        *,
        ack_sync: bool,
        is_certain: Callable[[], bool],
        on_lost: Callable[[PendingMessage[Any], XKeyMsgError], None],
    ) -> None:
        self._api, self._link = api, api.link
        self._ack_sync = ack_sync
        self._is_certain = is_certain
        self._on_lost = on_lost

    async def _certainty(self, item: PendingMessage[Any]) -> None:
        """Wait until it is known whether the durable is still the one that delivered a message.

        Also wait for room in the send buffer: a reply that waited there could be sent on the next
        connection, when that is no longer known.
        """
        while item.reply and not (self._is_certain() and self._link.has_room):  # noqa: ASYNC110 - the connection's state
            await asyncio.sleep(_PAUSE)

    async def finish(self, item: PendingMessage[Any], what: bytes) -> bool:
        """Send the final reply for a message, after which the server forgets it.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        await self._certainty(item)
        return await self.give(item, what)

    async def give(self, item: PendingMessage[Any], what: bytes) -> bool:
        """Send a reply for a message, and return whether it was sent.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        if not item.reply:
            return False
        try:
            await self._link.send(item.reply, what)  # valid: `parse_ack` has accepted it
        except ConnectionFailedError:
            raise
        except XKeyMsgError as error:
            self._on_lost(item, error)
            return False
        return True

    async def acknowledge(self, item: PendingMessage[Any]) -> bool:
        """Acknowledge a message; return whether that was sent or, with `ack_sync`, confirmed.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        await self._certainty(item)
        if not self._ack_sync or not item.reply:
            return await self.give(item, ACK)
        try:
            reply = item.reply.decode("utf-8", "surrogateescape")
            await self._link.request(reply, ACK, timeout=self._api.timeout)
        except ConnectionFailedError:
            raise
        except XKeyMsgError as error:  # as in `give`
            self._on_lost(item, error)
            return False
        return True
