"""Admits messages to handlers: all of them, or during an outage one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from xkeymsg.client.jetstream.events import ConsumerStatus
from xkeymsg.client.jetstream.holds import Outage, is_shortage
from xkeymsg.errors import XKeyMsgError

__all__ = ("Gate",)


class Gate:
    """Lets messages pass to their handlers; reports an outage, and its end."""

    def __init__(self, status: ConsumerStatus) -> None:
        self._status = status
        self._outage = Outage()
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether there is an outage."""
        return self._outage.is_on

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until a message may be tried, or the outage is over; others wait for this block."""
        now = asyncio.get_running_loop().time
        async with self._turn:
            while (wait := self._outage.wait(now())) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
            yield

    def begin(self, sequence: int) -> None:
        """Record that a message is tried."""
        self._outage.begin(sequence, asyncio.get_running_loop().time())

    def attempts(self, sequence: int) -> int:
        """Return the temporary failures of a message that count as attempts."""
        return self._outage.attempts(sequence)

    def failed(self, sequence: int, error: BaseException) -> None:
        """Record a temporary failure."""
        now = asyncio.get_running_loop().time()
        self._outage.failed(sequence, now, counts=not is_shortage(error))
        if self._outage.is_on:
            # Only our own errors are known to show nothing of a message.
            shown = error if isinstance(error, XKeyMsgError) else type(error).__name__
            why = f"nothing can be handled ({shown}); trying again every 1 to 30 s"
            self._status.trouble("outage", why, sequence)
        self._changed.set()

    def taken(self, sequence: int) -> None:
        """Record that a message was handled."""
        self._outage.taken(sequence)
        self._status.recovered("outage")
        self._changed.set()

    def ended(self, sequence: int) -> None:
        """Record an attempt without a result."""
        self._outage.ended(sequence, asyncio.get_running_loop().time())
        self._changed.set()

    def settle(self, sequence: int) -> None:
        """Forget a message."""
        self._outage.settle(sequence)

    def forget(self) -> None:
        """Forget all messages, at the beginning of a new scope."""
        self._outage.forget()
