"""Consuming a stream: open, handle, acknowledge; no message can stop it.

One task receives and opens messages, several workers handle them, one asks the server for more time
for slow handlers, and one detects missing heartbeats and looks up the durable. `failures` decides
about failures, and `quarantine` stores a message before it is given up.

An opened message is pending in the scope's replay memory. It gets its replay mark when its handler
has returned or rejected it, or when the proven quarantine has acknowledged its record, and only
after that is it acknowledged: a lost acknowledgement does no harm, because the message is dropped
when it is redelivered. A negative acknowledgement leaves it pending.

When a durable restarts, a new scope begins, in which everything opens again (`restarts`). Messages
held by handlers settle in the scope in which they were opened, and are not acknowledged: the server
would apply the acknowledgement to the new delivery. Deliveries not opened yet are dropped: each
scope that begins at a lookup has its own inbox. While the durable may have been replaced,
acknowledgements wait for the lookup.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Generic, Literal, NamedTuple, Self, TypeVar

from xkeymsg.client.jetstream.acks import ACK, IN_PROGRESS, nak, term
from xkeymsg.client.jetstream.api import API, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND
from xkeymsg.client.jetstream.durables import (
    Durable,
    DurableOptions,
    create_durable,
    find_durable,
)
from xkeymsg.client.jetstream.failures import FailurePolicy, Failures, Reason, Verdict
from xkeymsg.client.jetstream.keyed_queue import KeyedQueue
from xkeymsg.client.jetstream.pending import Answers, Opening, PendingMessage, PendingMessages
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.client.jetstream.restarts import Restarts
from xkeymsg.client.scope import LARGE
from xkeymsg.client.tasks import Background
from xkeymsg.client.threads import check_handler, in_thread
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import (
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    XKeyMsgError,
)
from xkeymsg.transport.raw import RawSubscription

__all__ = ("Consumer", "ConsumerEvent", "Reject")

_log = logging.getLogger(__name__)

_TICK: Final = 0.25
_LEAST: Final = 0.01
"""The shortest timer interval, however short the server's `ack_wait`."""
_CHECK: Final = 1.0
"""Seconds between checks that the consumer exists."""
_DRAIN: Final = 1.0
"""Seconds that a stop waits at least for messages that are under way."""
_MISSING: Final = 2
"""Failed checks in a row until it counts as missing: one may be wrong after a server start."""

_M = TypeVar("_M", bound=Message)


class Reject(Exception):  # noqa: N818 - a result, not an error
    """Raised by a handler to reject a message for good: it is terminated without quarantine.

    On work-queue and interest streams that deletes it. The server publishes `reason`, of at most
    200 characters, in an advisory: use a code.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ConsumerEvent(NamedTuple):
    """A consumer lifecycle event, for logs and metrics, without message content."""

    kind: Literal[
        "retry",
        "drop",
        "quarantined",
        "lost",
        "blocked",
        "unblocked",
        "recreated",
        "rewound",
        "delivery",
    ]
    """`retry`: a message will be retried later. `drop`: a handled message was redelivered,
    acknowledged and dropped. `quarantined`: a message was stored in quarantine and terminated.
    `lost`: an unproven message was terminated without a record. `blocked`: a proven message cannot
    be stored, and consuming is blocked; an alarm. `unblocked`: it was stored. `recreated`: the
    consumer was missing and was created again. `rewound`: the consumer was reset or recreated by
    someone else; everything it delivers opens again. `delivery`: a reply to JetStream could not be
    sent."""
    code: str = ""
    """The code of the failure; `handler` if the handler failed."""
    sequence: int = 0
    """The stream sequence of the message."""
    error: Exception | None = None


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
        on_event: Callable[[ConsumerEvent], None] = lambda _: None,
    ) -> None:
        check_handler(handler)
        if workers < 1 or prefetch < 1 or prefetch_bytes < 1:
            raise ConfigurationError("workers, prefetch and prefetch_bytes must be at least 1")
        if not 0.1 <= heartbeat <= expires / 2:
            raise ConfigurationError("heartbeat must be at least 0.1 and at most half of expires")
        if on_missing not in ("error", "recreate"):
            raise ConfigurationError("on_missing must be 'error' or 'recreate'")
        self.counts: Counter[str] = Counter()
        """Counts of `handled`, `redelivered`, `retry`, `drop`, `quarantined`, `lost`, …; and
        `refused.<code>` for each code."""
        self._api, self._link = api, api.link
        self._stream, self._durable = stream, durable
        self._handler = handler
        self._new_opening = new_opening
        self._opening = new_opening()
        self._policy = policy or FailurePolicy()
        self._found = found  # already looked up by the caller
        self._create = create
        self._on_missing = on_missing
        self._workers = workers
        self._ordered = ordered
        self._stop_timeout = stop_timeout
        self._on_event = on_event
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
        self._prefetch = prefetch
        self._prefetch_bytes = prefetch_bytes
        self._failures = Failures(self._policy, max_ack_pending=0, max_deliver=0)
        self._restarts = Restarts()
        self._config: dict[str, Any] = {}
        self._ack_wait = 30.0
        self._holding: PendingMessages[_M] = PendingMessages()
        self._answers = Answers(
            api,
            ack_sync=ack_sync,
            is_certain=lambda: self._puller.is_certain,
            on_lost=self._on_lost,
        )
        self._lanes: KeyedQueue[PendingMessage[_M]] = KeyedQueue()
        self._background = Background()
        self._stopping = asyncio.Event()
        self._subscription: RawSubscription | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def is_blocked(self) -> bool:
        """Whether consuming is blocked because a proven message cannot be stored."""
        return self._quarantine.is_blocked

    @property
    def is_unserved(self) -> bool:
        """Whether the durable refuses requests, or is not heard (permissions, quorum).

        Otherwise this would look like a quiet day.
        """
        return self._puller.unserved

    @property
    def held(self) -> int:
        """Number of delivered, unacknowledged messages."""
        return len(self._holding)

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory, which starts empty in each new scope."""
        return self._opening.replay_state()

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
        self._stopping.set()

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
            self._learn(found)
            await self._subscribe()
            await self._run()
        finally:
            await self._background.close()
            self._holding.clear()
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            await self._quarantine.close()

    async def _subscribe(self) -> None:
        self._subscription = await self._link.subscribe(
            f"{self._puller.inbox}.*",
            max_messages=2 * self._prefetch + 256,
            max_bytes=2 * self._prefetch_bytes + self._link.max_payload,
        )

    async def _run(self) -> None:
        ends = {
            asyncio.create_task(self._take()),
            asyncio.create_task(self._watch()),
            asyncio.create_task(self._ask_for_time()),
            *(asyncio.create_task(self._work()) for _ in range(self._workers)),
        }
        stopping = asyncio.create_task(self._stop())
        try:
            await self._pull()
            done, _ = await asyncio.wait({*ends, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in {*ends, stopping}:
                task.cancel()
            await asyncio.wait({*ends, stopping})

    async def _stop(self) -> None:
        await self._stopping.wait()
        begun = asyncio.get_running_loop().time()
        end = begun + self._stop_timeout
        with contextlib.suppress(TimeoutError, XKeyMsgError):
            async with asyncio.timeout_at(max(end, begun + _DRAIN)):
                await self._drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._holding.emptied()
        # Return unhandled messages to other workers now, without waiting for `ack_wait`. Those that
        # are handled wait for the answer about the durable: returned, they would be handled again.
        held = list(self._holding)
        for item in held:
            if item.is_settled or item.is_forsaken or self._failures.is_last(item.delivered):
                continue
            if not await self._answers.give(item, nak(0)):
                break  # the server is out of reach; it delivers the rest again after `ack_wait`
        await self._keep(
            [
                each
                for each in held
                if self._failures.is_last(each.delivered) and not each.is_settled
            ]
        )
        try:
            await self._link.confirm()  # flush the last acknowledgements
        except DeliveryError as error:
            self._tell("delivery", error.code, error=error)

    async def _drain(self) -> None:
        """Let the server give up the open requests, and take what it has sent.

        Otherwise it would answer them with the messages that a stop returns, and those would wait
        here for `ack_wait`, unanswered.
        """
        if self._subscription is not None:
            await self._subscription.drain()
            await self._subscription.emptied()

    async def _keep(self, items: list[PendingMessage[_M]]) -> None:
        """Quarantine messages that the server will not redeliver, within one reply timeout."""
        keeping = [asyncio.create_task(self._give_up(i, "handler")) for i in items if i.message]
        if keeping:
            _, late = await asyncio.wait(keeping, timeout=self._api.timeout)
            for task in late:
                task.cancel()

    def _learn(self, durable: Durable) -> None:
        if durable.max_deliver > 0:
            _log.warning(
                "durable %s of %s has a max_deliver: if a process dies during a message's last"
                " delivery (%d), the message is not delivered again; set max_deliver to -1",
                self._durable, self._stream, durable.max_deliver,
            )  # fmt: skip
        self._restarts.learn(durable)
        self._config = durable.config
        self._puller.heed(durable.config)
        self._ack_wait = durable.ack_wait
        self._failures = Failures(
            self._policy,
            max_ack_pending=durable.max_ack_pending,
            max_deliver=durable.max_deliver,
        )

    def _tell(
        self, kind: str, code: str = "", sequence: int = 0, error: Exception | None = None
    ) -> None:
        self.counts[kind] += 1
        try:
            self._on_event(ConsumerEvent(kind, code, sequence, error))  # type: ignore[arg-type]
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as fault:  # noqa: BLE001 - no await, so not a cancellation
            context = {"message": "on_event raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    def _on_lost(self, item: PendingMessage[Any], error: XKeyMsgError) -> None:
        self._tell("delivery", error.code, item.where.sequence, error)

    # --- receiving and opening --------------------------------------------------------------------

    async def _take(self) -> None:
        """Receive and open messages, in one scope after another.

        Raises:
            ConnectionFailedError: If the connection is closed.
        """
        taken = None
        while self._subscription is not None and self._subscription is not taken:
            taken = self._subscription
            await self._take_from(taken)
        if not self._stopping.is_set():
            raise ConnectionFailedError("the connection is closed")
        await asyncio.Event().wait()  # until `_stop`, which has drained the subscription, is done

    async def _take_from(self, subscription: RawSubscription) -> None:
        """Receive messages, open them, and request more, until the subscription ends."""
        loop, puller, holding = asyncio.get_running_loop(), self._puller, self._holding
        async for raw in subscription:
            where = puller.take(raw)
            if where is not None:
                if self._restarts.is_restart(where.consumer_sequence):
                    self._begin_scope()
                    puller.suspect = True
                    self._tell("rewound", sequence=where.sequence)
                known = holding.get(where.sequence)
                if known is not None and known.where.stored_ns != where.stored_ns:
                    holding.forsake(known)  # the stream was recreated
                    known = None
                if known is None and len(holding) - holding.leaving >= 2 * self._prefetch:
                    puller.strays += 1  # more than requested; an honest one is redelivered
                elif known is None:
                    item: PendingMessage[_M] = PendingMessage(raw, where, loop.time())
                    holding.add(item)
                    await self._open(item)
                else:  # redelivered after `ack_wait`, and still held
                    known.delivered, known.reply = where.delivered, raw.reply_text
                    self.counts["redelivered"] += 1
            if puller.is_low:
                await self._pull()

    async def _pull(self) -> None:
        held, size = len(self._holding) - self._holding.leaving, self._holding.bytes
        if self._puller.room(held, size):
            # If the server is unreachable, the timer retries.
            with contextlib.suppress(DeliveryError):
                await self._puller.pull(held, size)

    async def _open(self, item: PendingMessage[_M]) -> None:
        raw, where, opening = item.raw, item.where, self._opening
        try:
            if len(raw.data) < LARGE:
                message = opening.open(raw, where.position)
            else:
                message = await in_thread(opening.open, raw, where.position)
        except Exception as error:  # noqa: BLE001 - from the application's trust
            await self._refuse(item, error)
            return
        item.opened(message, opening)
        self._lanes.put(item, message.subject if self._ordered else None)

    async def _refuse(self, item: PendingMessage[_M], error: Exception) -> None:
        """Apply the policy to a message that could not be opened."""
        item.code = error.code if isinstance(error, XKeyMsgError) else "error"
        self.counts[f"refused.{item.code}"] += 1
        now = asyncio.get_running_loop().time()
        verdict = self._failures.refused(error, item.where.sequence, item.delivered, now)
        # A redelivered message that was handled has lost its acknowledgement: that is normal.
        if verdict.action == "drop" and item.delivered == 1:
            _log.warning("replay in %s at %d", self._stream, item.where.sequence)
        await self._carry_out(item, verdict, error)

    async def _carry_out(
        self, item: PendingMessage[_M], verdict: Verdict, error: Exception | None
    ) -> None:
        sequence = item.where.sequence
        if verdict.action == "quarantine":
            if not verdict.proven:
                self._holding.leaving += 1
            self._background.spawn(self._give_up(item, verdict.reason))
            return
        if verdict.action == "retry":
            await self._answers.give(item, nak(verdict.delay))
        else:
            self._failures.settle(sequence)
            item.is_settled = True
            await self._answers.finish(item, ACK)
        item.release()
        self._holding.release(item)
        self._tell(verdict.action, item.code, sequence, error)

    # --- handling ---------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            item = await self._lanes.get()
            if item.message is None:
                continue
            key = item.message.subject if self._ordered else None
            if await self._handle(item, item.message):
                self._lanes.done(key)
            if self._puller.is_low:
                await self._pull()

    async def _handle(self, item: PendingMessage[_M], message: _M) -> bool:
        """Handle a message; return False if its lane must wait for a retry."""
        item.code = "handler"
        if self._failures.is_exhausted(item.delivered):
            verdict = Verdict("quarantine", reason="handler")
            await self._carry_out(item, verdict, None)
            return True
        try:
            await self._handler(message)
        except Reject as answer:
            self.counts["rejected"] += 1
            self._settle(item, handled=True)
            await self._answers.finish(item, term(answer.reason))
            self._holding.release(item)
            return True
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit: no message ends the program
            task = asyncio.current_task()
            cancelled = isinstance(error, asyncio.CancelledError)
            if cancelled and (task is None or task.cancelling()):
                raise
            return await self._fail(item, error)
        self.counts["handled"] += 1
        self._settle(item, handled=True)
        await self._answers.acknowledge(item)
        self._holding.release(item)
        return True

    def _settle(self, item: PendingMessage[_M], *, handled: bool) -> None:
        """Settle a message before the reply is sent, so that a lost reply does not undo it."""
        item.settle(handled=handled)
        item.is_settled = True
        if not item.is_forsaken:  # otherwise the count belongs to another delivery
            self._failures.settle(item.where.sequence)

    async def _fail(self, item: PendingMessage[_M], error: BaseException) -> bool:
        sequence = item.where.sequence
        if item.is_forsaken:  # no reply is sent for it, not even a retry
            item.release()
            self._holding.release(item)
            return True
        verdict = self._failures.failed(sequence, item.delivered)
        cause = error if isinstance(error, Exception) else None
        if verdict.action == "retry" and self._ordered:
            # The lane waits for it, so it stays held, until all are returned at the end.
            self._tell("retry", "handler", sequence, cause)
            loop = asyncio.get_running_loop()
            loop.call_later(verdict.delay, self._lanes.again, item)
            return False
        await self._carry_out(item, verdict, cause)
        return True

    # --- giving up --------------------------------------------------------------------------------

    async def _give_up(self, item: PendingMessage[_M], reason: Reason) -> None:
        """Quarantine a message, settle it, then terminate it; interrupted, it is redelivered."""
        unproven = reason == "undecryptable"
        sequence = item.where.sequence
        record = QuarantineRecord(
            self._stream,
            self._durable,
            sequence,
            item.where.stored_ns // 1_000_000,
            item.raw.subject,
            reason,
            item.raw.headers,
            item.raw.data,
        )
        try:
            if unproven:
                kept = await self._quarantine.keep_unproven(record)
            else:
                kept = await self._quarantine.keep_proven(record)
            # Only the proven quarantine discards nothing (docs/spec/envelope.md, E-85).
            self._settle(item, handled=kept and not unproven)
            # Others see only these two reasons (E-90).
            await self._answers.finish(item, term("undecryptable" if unproven else "refused"))
        except ConnectionFailedError:
            return  # `run` ends, and the message is redelivered
        finally:
            self._holding.leaving -= unproven
            item.release()
            self._holding.release(item)
        self._tell("quarantined" if kept else "lost", item.code, sequence)
        await self._pull()

    def _on_blocked(self, error: XKeyMsgError | None) -> None:
        self._puller.paused = error is not None or self._stopping.is_set()
        if error is None:
            _log.warning("the proven quarantine stores messages again")
            self._tell("unblocked")
            return
        _log.error(
            "consuming %s is blocked: cannot write to the proven quarantine: %s",
            self._stream,
            error,
        )
        self._tell("blocked", error.code, error=error)

    # --- the timer --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Request more messages, and check that the consumer exists."""
        loop = asyncio.get_running_loop()
        puller, missing, check_at = self._puller, 0, 0.0
        while True:
            await asyncio.sleep(self._tick)
            now = loop.time()
            puller.look()
            if puller.suspect and now >= check_at and self._link.state == "connected":
                puller.suspect = False
                check_at = now + _CHECK
                if await self._is_missing():
                    missing += 1
                    puller.suspect = True
                    if missing >= _MISSING:
                        await self._recreate()
                        missing = 0
                else:
                    missing = 0
                    puller.suspect |= puller.unknown
            await self._pull()

    @property
    def _tick(self) -> float:
        return max(_LEAST, min(_TICK, self._ack_wait / 6))

    async def _ask_for_time(self) -> None:
        """Extend the deadlines of held messages, so that they are not redelivered.

        Nothing else may delay this: a lookup may take as long as `ack_wait`.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._tick)
            now = loop.time()
            late = now - self._ack_wait / 3
            for item in [each for each in self._holding if each.touched <= late]:
                item.touched = now
                if not await self._answers.give(item, IN_PROGRESS):
                    break

    async def _is_missing(self) -> bool:
        """Look up the durable, return whether it is missing; if it restarted, begin a new scope."""
        puller, reconnects = self._puller, self._link.reconnects
        try:
            durable = await find_durable(self._api, self._stream, self._durable, None)
        except DeliveryError as error:
            missing = error.err_code in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND)
            puller.unserved |= not missing and puller.unknown
            return missing
        if self._restarts.learn(durable, interrupted=puller.unknown):
            await self._begin_inbox(durable)
            self._tell("rewound")
        puller.unknown &= self._link.reconnects != reconnects
        return False

    def _begin_scope(self) -> None:
        """Begin a new replay scope; send no more replies for messages held now."""
        self._opening = self._new_opening()
        self._failures = self._failures.again()
        for item in self._holding:
            self._holding.forsake(item)

    async def _begin_inbox(self, durable: Durable) -> None:
        """Begin a scope with its own inbox, and drop messages waiting on the old one.

        Do not await anything else between the new scope and the end of the old subscription.
        """
        old = self._subscription
        self._learn(durable)
        self._begin_scope()
        self._puller.begin()
        if not self._stopping.is_set():
            await self._subscribe()
        if old is not None:
            await old.unsubscribe()

    async def _recreate(self) -> None:
        """Create the consumer again; it delivers from the beginning, in a new scope.

        Raises:
            DeliveryError: If `on_missing` is `error`, or creating it fails.
        """
        if self._on_missing == "error":
            raise DeliveryError(
                f"consumer {self._durable} of {self._stream} was deleted", CONSUMER_NOT_FOUND
            )
        durable = await create_durable(self._api, self._stream, self._durable, self._config)
        await self._begin_inbox(durable)
        self._puller.unknown = False
        self._tell("recreated")
