"""Subscriptions: the sealed messages of one subject, opened in order."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from xkeymsg.client.connection import Connection
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.stats import Events, Where
from xkeymsg.client.threads import in_thread
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConfigurationError
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("MAX_BYTES", "MAX_MESSAGES", "Subscription")

MAX_MESSAGES: Final = 8192
MAX_BYTES: Final = 8 << 20
"""Default limits for messages that are not yet opened."""

_M = TypeVar("_M", bound=Message)


class Subscription(Generic[_M]):
    """Opened messages in order of arrival; made by `Client.subscribe`.

        async with client.subscribe("orders.>") as messages:
            async for message in messages: ...

    Undecryptable messages are skipped, counted and reported; they never end the loop. The iteration
    ends with the block, with `drain`, or with the client, but not when the connection is lost and
    reconnects.

    A task cancelled while it waits has taken no message: the next caller gets it. Several tasks may
    iterate; each message goes to one of them.
    """

    def __init__(
        self,
        connection: Connection,
        scope: OpeningScope,
        events: Events,
        subject: str,
        *,
        queue: str = "",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        if max_messages < 1 or max_bytes < 1:
            raise ConfigurationError("max_messages and max_bytes must be at least 1")
        self.subject = subject
        """The subject or pattern."""
        self._connection = connection
        self._scope = scope
        self._events = events
        self._queue = queue
        self._bounds = {"max_messages": max_messages, "max_bytes": max_bytes}
        self._raw: RawSubscription | None = None
        self._held: deque[Raw] = deque()  # large messages, and those after them, in order
        self._opening: asyncio.Task[_M | None] | None = None

    @property
    def dropped(self) -> int:
        """Number of messages dropped because the buffer was full."""
        return 0 if self._raw is None else self._raw.dropped

    async def __aenter__(self) -> Self:
        """Subscribe to messages published from now on.

        `Client.flush` waits until the server has processed the subscription.

        Raises:
            MalformedError: If the subject or queue is invalid.
            ConnectionFailedError: If the client is closed.
            ConfigurationError: If the subscription was entered before.
        """
        if self._raw is not None:
            raise ConfigurationError("a subscription can be entered only once: create another one")
        self._raw = await self._connection.subscribe(
            self.subject, queue=self._queue, **self._bounds
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        opening, self._opening = self._opening, None
        self._held.clear()
        try:
            if self._raw is not None:
                await self._raw.unsubscribe()
        finally:
            if opening is not None:
                opening.cancel()
                await asyncio.wait([opening])

    async def drain(self) -> None:
        """Unsubscribe; the iteration ends after the messages received so far.

        Raises:
            ConfigurationError: If the subscription was not entered.
        """
        await self._started().drain()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _M:
        while True:
            if self._opening is not None or self._held:
                message = await self._next_large()
            else:
                raw = await anext(self._started())
                if len(raw.data) >= self._scope.large or self._opening is not None:
                    self._held.append(raw)
                    continue
                message = self._open(raw)
            if message is not None:
                return message

    def _started(self) -> RawSubscription:
        if self._raw is None:
            raise ConfigurationError("enter the subscription with `async with` first")
        return self._raw

    async def _next_large(self) -> _M | None:
        """Open the first held message in a thread; cancelling this task does not lose it."""
        task = self._opening
        if task is None:
            raw = self._held.popleft()
            task = self._opening = asyncio.create_task(self._open_in_thread(raw))
        await asyncio.wait([task])
        if self._opening is not task:
            return None  # another task has taken it
        self._opening = None
        return None if task.cancelled() else task.result()

    async def _open_in_thread(self, raw: Raw) -> _M | None:
        try:
            opened: Any = await in_thread(self._scope.open, raw)
        except Exception as error:  # noqa: BLE001 - no message may end the loop
            self._refuse(error, raw)
            return None
        return self._count(opened)

    def _open(self, raw: Raw) -> _M | None:
        try:
            opened: Any = self._scope.open(raw)
        except Exception as error:  # noqa: BLE001 - no message may end the loop
            self._refuse(error, raw)
            return None
        return self._count(opened)

    def _count(self, opened: _M) -> _M:
        self._events.stats.opened += 1
        return opened

    def _refuse(self, error: Exception, raw: Raw) -> None:
        self._events.refused(error, Where("message", raw.subject_text))
