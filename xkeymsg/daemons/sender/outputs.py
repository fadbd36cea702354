"""Outputs for sealed messages; the only module of the sender that publishes.

An output accepts `Sealed` values only, and refuses anything else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.daemons.common.futures import settle
from xkeymsg.daemons.common.logs import reason
from xkeymsg.daemons.sender.route_sealer import Sealed
from xkeymsg.errors import DeliveryError, PayloadTooLargeError, XKeyMsgError
from xkeymsg.transport.link import Link

__all__ = ("CoreOutput", "Output", "StreamOutput")

_BATCH: Final = 256
_TIMEOUT: Final = 10.0
"""Seconds to wait for a stream's acknowledgement; the same bytes are sent again meanwhile."""


class Output(Protocol):
    """A destination of sealed messages."""

    async def send(self, sealed: Sealed, name: str | None = None) -> None:
        """Send a message; return when it is accepted.

        Args:
            sealed: The message.
            name: Its id for deduplication, if an earlier process may have sent it.

        Raises:
            DeliveryError: If it was not accepted, as far as is known.
            ConflictError: If a stream keeps another message with the same id.
            PayloadTooLargeError: If it exceeds the limit of the server or the stream.
            ConnectionFailedError: If the connection is closed.
        """

    async def close(self) -> None:
        """Stop; waiting messages fail."""


def _check(sealed: Sealed) -> None:
    """Refuse anything but `Sealed`: type hints are not enforced, and plaintext must not leave."""
    if type(sealed) is not Sealed:
        raise TypeError(f"an output takes Sealed, not {type(sealed).__name__}")


class _WaitingMessage(NamedTuple):
    sealed: Sealed
    taken: asyncio.Future[None]


class CoreOutput:
    """Core NATS, for current subscribers: the server's PONG confirms what was published before it.

    There is one for the whole connection, because the server's errors name no message. If one
    arrives for a batch, each message of the batch is sent again, alone. The bytes are the same, so
    receivers recognize the copy.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: deque[_WaitingMessage] = deque()
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._work())

    async def send(self, sealed: Sealed, name: str | None = None) -> None:
        """Send a message; return when the server has it; see `Output.send`."""
        _check(sealed)
        size, limit = len(sealed.block) + len(sealed.envelope), self._link.max_payload
        if size > limit > 0:
            raise PayloadTooLargeError(size, limit)
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_WaitingMessage(sealed, taken))
        self._arrived.set()
        await taken

    async def close(self) -> None:
        """Stop; waiting messages fail."""
        self._task.cancel()
        await asyncio.wait({self._task})
        for each in self._waiting:
            each.taken.cancel()
        self._waiting.clear()

    async def _work(self) -> None:
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            some = min(_BATCH, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(some)]
            try:
                await self._offer(batch)
            except BaseException:
                for each in batch:
                    each.taken.cancel()
                raise

    async def _offer(self, batch: Sequence[_WaitingMessage]) -> None:
        error = await self._attempt(batch)
        if error is not None and len(batch) > 1:
            for each in batch:
                settle([each.taken], await self._attempt([each]))
            return
        settle([each.taken for each in batch], error)

    async def _attempt(self, batch: Sequence[_WaitingMessage]) -> XKeyMsgError | None:
        try:
            for sealed, taken in batch:
                if not taken.done():  # the caller may have been cancelled
                    await self._link.publish(sealed.subject, sealed.envelope, headers=sealed.block)
            await self._link.confirm()
        except XKeyMsgError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a bug of ours must not stop deliveries
            return DeliveryError(reason(error))
        return None


class StreamOutput:
    """The stream that captures the subject; its acknowledgement confirms a message."""

    def __init__(self, link: Link, *, in_flight: int) -> None:
        self._publisher = StreamPublisher(API(link), in_flight=in_flight)

    async def send(self, sealed: Sealed, name: str | None = None) -> None:
        """Send a message; return when a stream has stored it; see `Output.send`."""
        _check(sealed)
        named = b"Nats-Msg-Id: %b\r\n\r\n" % (name or sealed.name).encode("ascii")
        again, sealed.sent = sealed.sent, True
        future = await self._publisher.submit(
            sealed.subject,
            sealed.envelope,
            sealed.block.removesuffix(b"\r\n") + named,
            timeout=_TIMEOUT,
            known=name is not None,
            again=again,
        )
        await future

    async def close(self) -> None:
        """Stop; messages in flight fail."""
        await self._publisher.close()
