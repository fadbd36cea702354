"""What a consumer has in its hands: messages that were delivered, and not answered for yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from xkeymsg.client.jetstream.acks import ACK, Delivery
from xkeymsg.client.jetstream.api import API
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConnectionFailedError, XKeyMsgError
from xkeymsg.transport.raw import Raw

__all__ = ("Answers", "Held", "Holding")

_M = TypeVar("_M", bound=Message)


class Held(Generic[_M]):
    """A message that was delivered and is not answered for."""

    __slots__ = ("code", "delivered", "message", "raw", "reply", "touched", "where")

    def __init__(self, raw: Raw, where: Delivery, now: float) -> None:
        self.raw = raw
        self.where = where
        self.reply = raw.reply_text
        """Where it is answered for; empty where an answer would be for another message."""
        self.delivered = where.delivered
        self.touched = now
        """When it was delivered, or the server was asked for more time."""
        self.message: _M | None = None
        """None until it is opened."""
        self.code = ""
        """Of what was wrong with it last."""


class Holding(Generic[_M]):
    """All of them, by their places in the stream."""

    def __init__(self) -> None:
        self.bytes = 0
        """Bytes that they have together."""
        self.leaving = 0
        """How many of them go to the unproven quarantine: they take no room from others."""
        self._items: dict[int, Held[_M]] = {}
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Held[_M]]:
        """Iterate over those of this moment: some are released while others are looked at."""
        return iter(list(self._items.values()))

    def get(self, sequence: int) -> Held[_M] | None:
        """Return what is held of a place in the stream."""
        return self._items.get(sequence)

    def add(self, item: Held[_M]) -> None:
        """Hold a message."""
        self._items[item.where.sequence] = item
        self.bytes += len(item.raw.data)

    def release(self, item: Held[_M]) -> None:
        """Hold it no more; what has come in its place stays."""
        if self.get(item.where.sequence) is item:
            del self._items[item.where.sequence]
            self.bytes -= len(item.raw.data)
        if not self._items:
            self._empty.set()

    async def emptied(self) -> None:
        """Wait until none is held."""
        if self._items:
            self._empty.clear()
            await self._empty.wait()


class Answers:
    """Answers JetStream; what does not get there makes a message come again."""

    def __init__(
        self, api: API, *, ack_sync: bool, on_lost: Callable[[Held[Any], XKeyMsgError], None]
    ) -> None:
        """Take the connection.

        Args:
            api: It.
            ack_sync: Whether to wait for the server's word on each acknowledgement.
            on_lost: Told of an answer that could not be sent, or was not confirmed, and why.
        """
        self._api, self._link = api, api.link
        self._ack_sync = ack_sync
        self._on_lost = on_lost

    async def give(self, item: Held[Any], what: bytes) -> bool:
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

    async def acknowledge(self, item: Held[Any]) -> bool:
        """Acknowledge a message, and tell whether that was sent, or with `ack_sync` taken.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
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
