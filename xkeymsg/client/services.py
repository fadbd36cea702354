"""Services: a handler is called for each request, and its result is the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.client.replies import Replies, Reply
from xkeymsg.client.stats import Events, Where
from xkeymsg.client.subscription import Subscription
from xkeymsg.client.tasks import Background
from xkeymsg.client.telemetry import NOWHERE, Destination, Tracing, processing
from xkeymsg.client.threads import check_handler
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConfigurationError, PayloadTooLargeError, ServiceError
from xkeymsg.refusals import bare

__all__ = ("Handler", "Service")

Handler = Callable[[Message], Awaitable[Buffer | Reply | None]]
"""Called with a request; its result is the reply, None an empty one."""

_INTERNAL: Final = "internal"
"""The error sent to the requester when a handler raises anything but a ServiceError."""


class Service:
    """Answers the requests of one subject during a block; made by `Client.serve`.

    On exit, no further requests are accepted, and received ones are answered for up to `grace`
    seconds. Handlers that still run are then cancelled; at once if the block is left by an
    exception or a cancellation.
    """

    def __init__(
        self,
        subscription: Subscription[Message],
        replies: Replies,
        events: Events,
        handler: Handler,
        *,
        concurrency: int,
        grace: float,
        anyone: bool,
        tracing: Tracing | None = None,
        place: Destination = NOWHERE,
    ) -> None:
        check_handler(handler)
        if concurrency < 1 or not grace >= 0:
            raise ConfigurationError("concurrency must be at least 1, and grace at least 0 seconds")
        self._subscription = subscription
        self._replies = replies
        self._events = events
        self._handler = handler
        self._slots = asyncio.Semaphore(concurrency)
        self._grace = grace
        self._anyone = anyone
        self._tracing, self._place = tracing, place
        self._taking = Background()
        self._running = Background()

    @property
    def running(self) -> int:
        """Number of handlers that are running."""
        return len(self._running)

    async def __aenter__(self) -> Self:
        """Subscribe.

        Raises:
            MalformedError: If the subject or queue is invalid.
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
            # Checked before the handler runs: a request that cannot be answered is not executed.
            self._replies.address(message, anyone=self._anyone)
        except Exception as error:  # noqa: BLE001 - the prefix may be a function of the application
            self._events.refused(error, Where("message", where.subject))
            return
        with processing(self._tracing, message, self._place, is_request=True):
            reply = await self._call(message, where)
            if message._origin.answered:  # type: ignore[attr-defined]  # noqa: SLF001 - set by the client
                return  # the handler has called `respond`
            try:
                await self._send(message, reply)
            except Exception as error:  # noqa: BLE001 - a bad request must not end the service
                self._events.tell(bare(error), where)

    async def _call(self, message: Message, where: Where) -> Reply | ServiceError:
        """Run the handler; no exception except KeyboardInterrupt ends the service."""
        try:
            result = await self._handler(message)
            if not isinstance(result, Reply):
                result = Reply() if result is None else Reply(result)
            return result._replace(data=as_bytes("a reply", result.data))
        except KeyboardInterrupt:
            raise
        except ServiceError as error:
            self._failed(error, where)
            return error
        except BaseException as error:  # SystemExit, too: no message may end the program
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._failed(error, where)
            return ServiceError(_INTERNAL)

    async def _send(self, message: Message, reply: Reply | ServiceError) -> None:
        replies, anyone = self._replies, self._anyone
        if isinstance(reply, ServiceError):
            await replies.fail(message, reply, anyone=anyone)
            return
        data, headers, content_type = reply
        try:
            await replies.answer(
                message, data, headers=headers, content_type=content_type, anyone=anyone
            )
        except PayloadTooLargeError as error:
            self._events.tell(bare(error), Where("handler", message.wire_subject or ""))
            await replies.fail(message, ServiceError(error.code), anyone=anyone)
        except Exception as error:
            if message._origin.answered or getattr(error, "retryable", False):  # type: ignore[attr-defined]  # noqa: SLF001
                raise
            self._failed(bare(error), Where("handler", message.wire_subject or ""))
            await replies.fail(message, ServiceError(_INTERNAL), anyone=anyone)

    def _failed(self, error: BaseException, where: Where) -> None:
        self._events.failed(error, where)
        if self._tracing is not None:
            self._tracing.failed(error)
