"""Consuming a stream: open, handle, acknowledge; no message can stop it.

`Intake` receives and opens messages, several workers handle them, one task asks the server for more
time for held messages, and one detects missing heartbeats and looks up the durable. `Outcomes`
carries out the decisions about a message, and `Gate` holds messages during an outage.

An opened message is pending in the scope's replay memory. It gets its replay mark when its handler
has returned or rejected it, or when the proven quarantine has acknowledged its record, and only
after that is it acknowledged: a lost acknowledgement does no harm, because the message is dropped
when it is redelivered. A negative acknowledgement leaves it pending.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar

from xkeymsg.client.jetstream.acks import IN_PROGRESS
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import Durable, DurableOptions, find_durable
from xkeymsg.client.jetstream.events import ConsumerEvent, ConsumerStatus, Reject, Trouble
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.gate import Gate
from xkeymsg.client.jetstream.holds import Proof
from xkeymsg.client.jetstream.intake import Intake
from xkeymsg.client.jetstream.keyed_queue import KeyedQueue
from xkeymsg.client.jetstream.outcomes import Outcomes
from xkeymsg.client.jetstream.pending import Answers, Opening, PendingMessage, PendingMessages
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.threads import check_handler
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import ConfigurationError, DeliveryError, XKeyMsgError

__all__ = ("Consumer",)

_TICK: Final = 0.25
_LEAST: Final = 0.01
"""The shortest timer interval, however short the server's `ack_wait`."""
_DRAIN: Final = 1.0
"""Seconds that a stop waits at least for messages that are under way."""

_M = TypeVar("_M", bound=Message)


class Consumer(Generic[_M]):
    """Consumer of a durable, with several workers; created by `client.js.consume`.

        async with client.js.consume("ORDERS", "billing", handle) as consumer:
            await consumer.wait()

    Messages held by a process that dies are redelivered to other workers or to its successor: a
    handler is called at least once for each message, and must be idempotent.
    """

    def __init__(
        self,
        api: API,
        stream: str,
        durable: str,
        handler: Callable[[_M], Awaitable[object]],
        *,
        new_opening: Callable[[], Opening[_M]],
        new_quarantine: Callable[[Callable[[XKeyMsgError | None], None]], Quarantine],
        policy: FailurePolicy | None = None,
        found: Durable | None = None,
        create: DurableOptions | None = None,
        on_missing: Literal["error", "recreate"] = "error",
        workers: int = 1,
        ordered: bool = False,
        ack_sync: bool = False,
        prefetch: int = 256,
        prefetch_bytes: int = 8 << 20,
        expires: float = 30.0,
        heartbeat: float = 5.0,
        stop_timeout: float = 10.0,
        skew: float | None = None,
        on_event: Callable[[ConsumerEvent], None] = lambda _: None,
    ) -> None:
        check_handler(handler)
        if workers < 1 or prefetch < 1 or prefetch_bytes < 1:
            raise ConfigurationError("workers, prefetch and prefetch_bytes must be at least 1")
        if not 0.1 <= heartbeat <= expires / 2:
            raise ConfigurationError("heartbeat must be at least 0.1 and at most half of expires")
        if on_missing not in ("error", "recreate"):
            raise ConfigurationError("on_missing must be 'error' or 'recreate'")
        self._status = status = ConsumerStatus(on_event)
        self.counts: Counter[str] = status.counts
        """Counts of `handled`, `redelivered`, `retry`, `drop`, `quarantined`, `lost`, …; and
        `refused.<code>` for each code."""
        self._api = api
        self._stream, self._durable = stream, durable
        self._handler = handler
        self._found = found  # already looked up by the caller
        self._create = create
        self._workers = workers
        self._stop_timeout = stop_timeout
        self._quarantine = new_quarantine(self._on_blocked)
        self._puller = Puller(
            api,
            stream,
            durable,
            prefetch=prefetch,
            prefetch_bytes=prefetch_bytes,
            expires=expires,
            heartbeat=heartbeat,
        )
        self._holding: PendingMessages[_M] = PendingMessages()
        self._lanes: KeyedQueue[PendingMessage[_M]] = KeyedQueue()
        self._answers = Answers(
            api,
            ack_sync=ack_sync,
            is_certain=lambda: self._puller.is_certain,
            on_lost=self._on_lost,
        )
        self._gate, self._proof = Gate(status), Proof()
        self._outcomes = Outcomes(
            api,
            stream,
            durable,
            policy or FailurePolicy(),
            answers=self._answers,
            holding=self._holding,
            lanes=self._lanes,
            quarantine=self._quarantine,
            gate=self._gate,
            proof=self._proof,
            status=status,
            pull=self._pull,
        )
        self._intake = Intake(
            api,
            stream,
            durable,
            puller=self._puller,
            holding=self._holding,
            lanes=self._lanes,
            ordered=ordered,
            outcomes=self._outcomes,
            gate=self._gate,
            proof=self._proof,
            quarantine=self._quarantine,
            status=status,
            new_opening=new_opening,
            on_missing=on_missing,
            skew=skew,
            limits=(2 * prefetch + 256, 2 * prefetch_bytes),
        )
        self._running: asyncio.Task[None] | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether consuming is blocked because a message cannot be stored in quarantine."""
        return self._quarantine.is_blocked

    @property
    def is_unserved(self) -> bool:
        """Whether the durable refuses requests, is paused, or is not heard (permissions, quorum).

        Otherwise this would look like a quiet day.
        """
        return self._puller.unserved or "paused" in self._status.troubles

    @property
    def troubles(self) -> dict[Trouble, str]:
        """Why it is not ready, by kind; empty if it is."""
        return dict(self._status.troubles)

    @property
    def held(self) -> int:
        """Number of delivered, unacknowledged messages."""
        return len(self._holding)

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory, which starts empty in each new scope."""
        return self._intake.opening.replay_state()

    def unprove(self) -> None:
        """Record that the key or the trusted senders have changed, and may be wrong now."""
        self._proof.reset()
        self._status.recovered("unproved")

    # --- lifecycle --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start in the background.

        Raises:
            ConfigurationError: If it was started before.
        """
        if self._running is not None:
            raise ConfigurationError("a consumer can be started only once: create a new one")
        self._running = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and wait for the end."""
        assert self._running is not None  # noqa: S101 - set by `__aenter__`
        self.stop()
        try:
            await self._running
        except BaseException:
            self._running.cancel()
            if error is None:
                raise

    async def wait(self) -> None:
        """Wait until `run` ends.

        Raises:
            ConfigurationError: If it was not started.
            XKeyMsgError: As `run`.
        """
        if self._running is None:
            raise ConfigurationError("the consumer is not started: use `async with`, or `run`")
        await asyncio.shield(self._running)

    def stop(self) -> None:
        """Request no more messages, handle those held, within `stop_timeout`, and end."""
        self._puller.paused = True
        self._intake.stopping.set()

    async def run(self) -> None:
        """Consume until `stop`, or forever.

        Raises:
            ConfigurationError: If workers cannot use the durable.
            DeliveryError: If the stream or durable does not exist, or was deleted, and is not to be
                created.
            ConnectionFailedError: If the link is closed.

        Cancellation ends it at once: unacknowledged messages are redelivered after `ack_wait`.
        """
        try:
            found = self._found
            if found is None:
                found = await find_durable(self._api, self._stream, self._durable, self._create)
            await self._intake.begin(found)
            await self._run()
        finally:
            await self._outcomes.close()
            self._holding.clear()
            await self._intake.close()
            await self._quarantine.close()

    async def _run(self) -> None:
        ends = {
            asyncio.create_task(self._intake.take()),
            asyncio.create_task(self._intake.watch(self._tick)),
            asyncio.create_task(self._ask_for_time()),
            *(asyncio.create_task(self._work()) for _ in range(self._workers)),
        }
        stopping = asyncio.create_task(self._stop())
        try:
            await self._intake.check_permission()
            await self._pull()
            done, _ = await asyncio.wait({*ends, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in {*ends, stopping}:
                task.cancel()
            await asyncio.wait({*ends, stopping})

    async def _stop(self) -> None:
        await self._intake.stopping.wait()
        begun = asyncio.get_running_loop().time()
        end = begun + self._stop_timeout
        with contextlib.suppress(TimeoutError, XKeyMsgError):
            async with asyncio.timeout_at(max(end, begun + _DRAIN)):
                await self._intake.drain()
        if not self._gate.is_closed and "clock" not in self._status.troubles:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(end):
                    await self._holding.emptied()
        await self._outcomes.leave(self._api.timeout)
        try:
            await self._api.link.confirm()  # flush the last acknowledgements
        except DeliveryError as error:
            self._status.tell("delivery", error.code, error=error)

    def _on_lost(self, item: PendingMessage[Any], error: XKeyMsgError) -> None:
        self._status.tell("delivery", error.code, item.where.sequence, error)

    def _on_blocked(self, error: XKeyMsgError | None) -> None:
        if error is None:
            self._status.tell("unblocked")
        else:
            self._status.tell("blocked", error.code, error=error)

    async def _pull(self) -> None:
        await self._intake.pull()

    # --- handling ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            item = await self._next()
            if item.tries and item.is_forsaken:
                self._outcomes.drop(item)
                self._lanes.done(item.lane)
            elif item.message is None:  # it could not be opened for lack of threads or memory
                await self._intake.open(item)
                self._gate.ended(item.where.sequence)
            elif await self._handle(item, item.message):
                self._lanes.done(item.lane)
            if self._puller.is_low:
                await self._pull()

    async def _next(self) -> PendingMessage[_M]:
        """Wait for a message that may be tried."""
        while True:
            if not self._gate.is_closed:
                item = await self._lanes.get()
                if not self._gate.is_closed:
                    return item
                self._lanes.back(item, new=not item.tries)
            async with self._gate.turn():
                if self._gate.is_closed:
                    # One that has not failed tells an outage from the fault of those that have.
                    item = await self._lanes.get(new_first=True)
                    self._gate.begin(item.where.sequence)
                    return item

    async def _handle(self, item: PendingMessage[_M], message: _M) -> bool:
        """Handle a message; return False if its lane must wait for a retry."""
        item.code = "handler"
        if await self._outcomes.exhaust(item):
            return True
        try:
            await self._handler(message)
        except Reject as answer:
            self._status.tell("rejected", answer.reason, item.where.sequence)
            await self._outcomes.handled(item, rejected=answer.reason)
            return True
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit: no message ends the program
            task = asyncio.current_task()
            cancelled = isinstance(error, asyncio.CancelledError)
            if cancelled and (task is None or task.cancelling()):
                raise
            return await self._outcomes.failed(item, error)
        self.counts["handled"] += 1
        await self._outcomes.handled(item)
        return True

    # --- the timer --------------------------------------------------------------------------------

    def _tick(self) -> float:
        return max(_LEAST, min(_TICK, self._intake.ack_wait / 6))

    async def _ask_for_time(self) -> None:
        """Extend the deadlines of held messages, so that they are not redelivered.

        Nothing else may delay this: a lookup may take as long as `ack_wait`.
        """
        loop = asyncio.get_running_loop()
        while True:
            tick = self._tick()
            await asyncio.sleep(tick)
            now = loop.time()
            late = now - self._intake.ack_wait / 3 + tick
            for item in [each for each in self._holding if each.touched <= late]:
                item.touched = now
                if not await self._answers.give(item, IN_PROGRESS):
                    break
