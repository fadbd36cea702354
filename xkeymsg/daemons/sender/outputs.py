"""Where sealed messages go; the only module of the sender that publishes.

An output takes `Sealed` values alone. What it is given otherwise, it refuses.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.daemons.common.logs import reason
from xkeymsg.daemons.sender.route_sealer import Sealed
from xkeymsg.errors import DeliveryError, PayloadTooLargeError, XKeyMsgError
from xkeymsg.transport.link import Link

__all__ = ("CoreOutput", "Output", "StreamOutput")

_BATCH: Final = 256
_TIMEOUT: Final = 10.0
"""Seconds for a stream's acknowledgement, in which the same bytes are sent again."""


class Output(Protocol):
    """Where sealed messages go."""

    async def send(self, sealed: Sealed, name: str | None = None) -> None:
        """Return when it is taken.

        Args:
            sealed: What to send.
            name: By what a stream knows it, if that is to be the same as an earlier process'.

        Raises:
            DeliveryError: If it was not taken, as far as is known.
            ConflictError: If a stream keeps another message under its name.
            PayloadTooLargeError: If the server would not take it.
            ConnectionFailedError: If the connection is closed.
        """

    async def close(self) -> None:
        """End; what waits fails."""


def _check(sealed: Sealed) -> None:
    """Refuse whatever is not sealed: types are hints, and this is a promise."""
    if type(sealed) is not Sealed:
        raise TypeError(f"an output takes what is Sealed, not {type(sealed).__name__}")


class _Waiting(NamedTuple):
    sealed: Sealed
    taken: asyncio.Future[None]


class CoreOutput:
    """A server, for whoever listens: its answer to a PING says that it has read what came before.

    One for a whole connection: what the server refuses it says by the way, of no message in
    particular. So of a batch for which it said so, each message is sent again, alone. They are the
    same bytes: receivers know a second one for what it is.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._work())

    async def send(self, sealed: Sealed, name: str | None = None) -> None:
        """Return when the server has it; see `Output.send`."""
        _check(sealed)
        size, limit = len(sealed.block) + len(sealed.envelope), self._link.max_payload
        if size > limit > 0:
            raise PayloadTooLargeError(size, limit)
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(sealed, taken))
        self._arrived.set()
        await taken

    async def close(self) -> None:
        """End; what waits fails."""
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

    async def _offer(self, batch: Sequence[_Waiting]) -> None:
        error = await self._attempt(batch)
        if error is not None and len(batch) > 1:
            for each in batch:
                _settle([each], await self._attempt([each]))
            return
        _settle(batch, error)

    async def _attempt(self, batch: Sequence[_Waiting]) -> XKeyMsgError | None:
        try:
            for sealed, taken in batch:
                if not taken.done():  # who waited for it may have given up
                    await self._link.publish(sealed.subject, sealed.envelope, headers=sealed.block)
            await self._link.confirm()
        except XKeyMsgError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end deliveries
            return DeliveryError(reason(error))
        return None


def _settle(batch: Sequence[_Waiting], error: XKeyMsgError | None) -> None:
    for each in batch:
        if each.taken.done():
            continue
        if error is None:
            each.taken.set_result(None)
        else:
            each.taken.set_exception(error)


class StreamOutput:
    """Whatever stream takes the subject, and its word that it keeps the message."""

    def __init__(self, link: Link, *, in_flight: int, timeout: float) -> None:
        self._publisher = StreamPublisher(API(link, timeout=timeout), in_flight=in_flight)

    async def send(self, sealed: Sealed, name: str | None = None) -> None:
        """Return when a stream keeps it; see `Output.send`."""
        _check(sealed)
        named = b"Nats-Msg-Id: %b\r\n\r\n" % (name or sealed.name).encode("ascii")
        future = await self._publisher.submit(
            sealed.subject,
            sealed.envelope,
            sealed.block.removesuffix(b"\r\n") + named,
            timeout=_TIMEOUT,
            known=name is not None,
        )
        await future

    async def close(self) -> None:
        """End; what is in flight fails."""
        await self._publisher.close()
