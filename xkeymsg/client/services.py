"""Services: a handler is called for each request, and what it returns is the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from xkeymsg.client.replies import Replies, Reply
from xkeymsg.client.stats import Events, Where
from xkeymsg.client.subscription import Subscription
from xkeymsg.client.tasks import Background
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConfigurationError, PayloadTooLargeError, ServiceError
from xkeymsg.refusals import bare

__all__ = ("Handler", "Service")

Handler = Callable[[Message], Awaitable[bytes | Reply | None]]
"""Called with a request; what it returns is the answer, None an empty one."""

_INTERNAL: Final = "internal"
"""What whoever asked learns of a handler that failed, unless it raised a ServiceError."""


class Service:
    """Answers the requests of one subject while a block lasts; made by `Client.serve`.

    On leaving the block nothing more is taken, and what came is answered, for `grace` seconds at
    most; then, and at once if the block is left by an exception or a cancellation, the handlers
    that still run are cancelled.
    """

    def __init__(
        self,
        subscription: Subscription[Message],
        answering: Replies,
        events: Events,
        handler: Handler,
        *,
        concurrency: int,
        grace: float,
        anyone: bool,
    ) -> None:
        if not callable(handler):
            raise TypeError(f"a handler is callable, not {type(handler).__name__}")
        if concurrency < 1 or not grace >= 0:
            raise ConfigurationError("concurrency is at least 1, and grace at least 0 seconds")
        self._subscription = subscription
        self._answering = answering
        self._events = events
        self._handler = handler
        self._slots = asyncio.Semaphore(concurrency)
        self._grace = grace
        self._anyone = anyone
        self._taking = Background()
        self._running = Background()

    @property
    def running(self) -> int:
        """How many handlers run at the moment."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Begin to listen.

        Raises:
            MalformedError: If subject or queue is none.
            ConnectionFailedError: If the client is closed.
        """
        await self._subscription.__aenter__()
        self._taking.spawn(self._take())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                end = asyncio.get_running_loop().time() + self._grace
                async with asyncio.timeout(self._grace):
                    await self._subscription.drain()
                    await self._taking.finish(end - asyncio.get_running_loop().time())
                    await self._running.finish(end - asyncio.get_running_loop().time())
        except TimeoutError:
            pass
        finally:
            await self._taking.close()
            await self._running.close()
            await self._subscription.__aexit__(kind, error, trace)

    async def _take(self) -> None:
        async for message in self._subscription:
            await self._slots.acquire()
            task = self._running.spawn(self._serve(message))
            task.add_done_callback(lambda _: self._slots.release())

    async def _serve(self, message: Message) -> None:
        where = Where("handler", message.wire_subject or "")
        try:
            # Before the handler runs: what cannot be answered is not done either.
            self._answering.address(message, anyone=self._anyone)
        except Exception as error:  # noqa: BLE001 - a prefix may be a function of the program's
            self._events.refused(error, Where("message", where.subject))
            return
        reply = await self._call(message, where)
        if message._origin.answered:  # type: ignore[attr-defined]  # noqa: SLF001 - as above
            return  # the handler has answered by itself
        try:
            await self._send(message, reply)
        except Exception as error:  # noqa: BLE001 - one request's fault is not the service's
            self._events.tell(bare(error), where)

    async def _call(self, message: Message, where: Where) -> Reply | ServiceError:
        """Run the handler; whatever it raises, a service goes on."""
        try:
            result = await self._handler(message)
            if result is None or type(result) is bytes:
                return Reply(result or b"")
            if isinstance(result, Reply) and type(result.data) is bytes:
                return result
            raise TypeError(f"a handler returns bytes or a Reply, not {type(result).__name__}")  # noqa: TRY301
        except KeyboardInterrupt:
            raise
        except ServiceError as error:
            self._events.failed(error, where)
            return error
        except BaseException as error:  # SystemExit, too: no message ends the program
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._events.failed(error, where)
            return ServiceError(_INTERNAL)

    async def _send(self, message: Message, reply: Reply | ServiceError) -> None:
        answering, anyone = self._answering, self._anyone
        if isinstance(reply, ServiceError):
            await answering.fail(message, reply, anyone=anyone)
            return
        data, headers, content_type = reply
        try:
            await answering.answer(
                message, data, headers=headers, content_type=content_type, anyone=anyone
            )
        except PayloadTooLargeError as error:
            self._events.tell(bare(error), Where("handler", message.wire_subject or ""))
            await answering.fail(message, ServiceError(error.code), anyone=anyone)
        except Exception as error:
            if message._origin.answered or getattr(error, "retryable", False):  # type: ignore[attr-defined]  # noqa: SLF001
                raise
            self._events.failed(bare(error), Where("handler", message.wire_subject or ""))
            await answering.fail(message, ServiceError(_INTERNAL), anyone=anyone)
