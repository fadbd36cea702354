"""Consuming a stream: open, handle, acknowledge; and no message that stops it.

One task takes messages and opens them, several workers handle them, one asks the server for more
time for slow handlers, and one notices missing heartbeats and looks the durable up. Failures are
judged by `failing`, and a message that is given up is kept by `quarantine` before.

A message that was opened is pending in the scope's replay memory. It gets its mark when its handler
has returned or rejected it, or when the proven quarantine has acknowledged its record, and it is
acknowledged after that, never before: an acknowledgement that is lost changes nothing, as the
message is dropped when it comes again. A negative acknowledgement leaves it pending.

A durable that begins again begins a new scope, in which everything opens again (`restarts`).
Messages in the hands of handlers settle in the scope in which they were opened, and are not
acknowledged: the server would take an acknowledgement for that of the new delivery. Deliveries that
were not opened yet are dropped: each scope that a lookup begins has an inbox of its own. While the
durable may be another one, acknowledgements wait for the lookup.
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
from xkeymsg.client.threads import in_thread
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import (
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    XKeyMsgError,
)
from xkeymsg.transport.raw import RawSubscription

__all__ = ("Consumer", "ConsumerEvent", "Rejected")

_log = logging.getLogger(__name__)

_TICK: Final = 0.25
_LEAST: Final = 0.01
"""However short a server says that a message may take."""
_CHECK: Final = 1.0
"""Seconds between two looks whether the consumer is there."""
_MISSING: Final = 2
"""So many looks in a row, and it is not: a server that has just started may say so once."""

_M = TypeVar("_M", bound=Message)


class Rejected(Exception):  # noqa: N818 - a handler's answer, and no fault
    """Raised by a handler that never wants a message again: it is terminated, and kept nowhere.

    On work-queue and interest streams that deletes it.
    """

    def __init__(self, reason: str) -> None:
        """Take what the advisory says, to whoever reads it: a code, of at most 200 characters."""
        super().__init__(reason)
        self.reason = reason


class ConsumerEvent(NamedTuple):
    """A consumer lifecycle event, for logs and metrics. It holds nothing of a message."""

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
    """`retry`: a message comes again later. `drop`: a message that was handled came again, and was
    acknowledged and dropped. `quarantined`: kept, and terminated. `lost`: an unproven message was
    terminated without a record. `blocked`: a proven message cannot be kept, and consuming stands
    still; an alarm. `unblocked`: it was kept. `recreated`: the consumer was gone and is created
    again. `rewound`: somebody has reset the consumer, or created it again; all that it delivers
    opens again. `delivery`: an answer to JetStream could not be sent."""
    code: str = ""
    """The code of the failure; `handler` for one of the handler's."""
    sequence: int = 0
    """The message's place in the stream."""
    error: Exception | None = None


class Consumer(Generic[_M]):
    """Workers of one durable; made by `client.js.consume`.

        async with client.js.consume("ORDERS", "billing", handle) as consumer:
            await consumer.wait()

    The messages that a process held when it died are delivered again, to other workers or to its
    successor: a handler is called at least once for each message, and must be idempotent.
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
        if not callable(handler):
            raise TypeError(f"a handler is callable, not {type(handler).__name__}")
        if workers < 1 or prefetch < 1 or prefetch_bytes < 1:
            raise ConfigurationError("workers, prefetch and prefetch_bytes are at least 1")
        if not 0.1 <= heartbeat <= expires / 2:
            raise ConfigurationError("heartbeat is at least 0.1 and at most half of expires")
        if on_missing not in ("error", "recreate"):
            raise ConfigurationError("on_missing is 'error' or 'recreate'")
        self.counts: Counter[str] = Counter()
        """How often: `handled`, `redelivered`, `retry`, `drop`, `quarantined`, `lost`, …; and
        `refused.<code>` for each code."""
        self._api, self._link = api, api.link
        self._stream, self._durable = stream, durable
        self._handler = handler
        self._new_opening = new_opening
        self._opening = new_opening()
        self._policy = policy or FailurePolicy()
        self._found = found  # by whoever has looked it up; it is not asked for again then
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
        """Whether consuming stands still because a proven message cannot be kept."""
        return self._quarantine.is_blocked

    @property
    def is_unserved(self) -> bool:
        """Whether the durable gives nothing: it refuses to, or is not heard (permissions, quorum).

        Nobody could tell that from a quiet day.
        """
        return self._puller.unserved

    @property
    def held(self) -> int:
        """How many messages were delivered and are not answered for."""
        return len(self._holding)

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory, which begins empty in each new scope."""
        return self._opening.replay_state()

    # --- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Begin, in the background.

        Raises:
            ConfigurationError: If it was begun before.
        """
        if self._running is not None:
            raise ConfigurationError("a consumer is begun once: its memory is its own")
        self._running = asyncio.create_task(self.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and wait until it has."""
        assert self._running is not None  # noqa: S101 - what `__aenter__` made
        self.stop()
        try:
            await self._running
        except BaseException:
            self._running.cancel()
            if error is None:
                raise

    async def wait(self) -> None:
        """Wait for the end, which is that of `run`.

        Raises:
            ConfigurationError: If it was not begun.
            XKeyMsgError: As `run`.
        """
        if self._running is None:
            raise ConfigurationError("a consumer begins with `async with`, or `run`")
        await asyncio.shield(self._running)

    def stop(self) -> None:
        """Ask for no more, handle what is here, within `stop_timeout`, and end."""
        self._puller.paused = True
        self._stopping.set()

    async def run(self) -> None:
        """Consume until `stop`, or for ever.

        Raises:
            ConfigurationError: If the durable cannot serve.
            DeliveryError: If there is no such stream or durable, or it went, and is not to be made.
            ConnectionFailedError: If the link is closed.

        Cancellation ends it at once: what was not acknowledged is delivered again in time.
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
        end = asyncio.get_running_loop().time() + self._stop_timeout
        if self._subscription is not None:
            # The server gives up the open requests. Otherwise it answers them with the messages
            # that are returned below, and those wait here for `ack_wait`, unanswered.
            with contextlib.suppress(XKeyMsgError):
                await self._subscription.drain()
            await self._subscription.emptied()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await self._holding.emptied()
        # What is not handled is for others, now and not after its time.
        last = []
        for item in self._holding:
            if self._failures.is_last(item.delivered):
                last.append(item)
            else:
                await self._answers.give(item, nak(0))
        await self._keep(last)
        try:
            await self._link.confirm()  # with what was acknowledged last
        except DeliveryError as error:
            self._tell("delivery", error.code, error=error)

    async def _keep(self, items: list[PendingMessage[_M]]) -> None:
        """Keep what the server delivers no more, as long as that takes no longer than an answer."""
        keeping = [asyncio.create_task(self._give_up(i, "handler")) for i in items if i.message]
        if keeping:
            _, late = await asyncio.wait(keeping, timeout=self._api.timeout)
            for task in late:
                task.cancel()

    def _learn(self, durable: Durable) -> None:
        if durable.max_deliver > 0:
            _log.warning(
                "durable %s of %s has a max_deliver: a message whose last delivery (%d) a process"
                " does not survive is delivered no more; -1 is better",
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
        except BaseException as fault:  # noqa: BLE001 - not a cancellation: nothing is awaited
            context = {"message": "on_event raised", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)

    def _on_lost(self, item: PendingMessage[Any], error: XKeyMsgError) -> None:
        self._tell("delivery", error.code, item.where.sequence, error)

    # --- taking and opening -----------------------------------------------------------------------

    async def _take(self) -> None:
        """Take what comes, in one scope after another.

        Raises:
            ConnectionFailedError: If nothing comes any more.
        """
        taken = None
        while self._subscription is not None and self._subscription is not taken:
            taken = self._subscription
            await self._take_from(taken)
        if not self._stopping.is_set():
            raise ConnectionFailedError("the connection is closed")
        await asyncio.Event().wait()  # until `_stop`, which has drained the subscription, is done

    async def _take_from(self, subscription: RawSubscription) -> None:
        """Take what comes, open it, and ask for more, until the subscription ends."""
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
                    holding.forsake(known)  # of a stream that was created again
                    known = None
                if known is None and len(holding) - holding.leaving >= 2 * self._prefetch:
                    puller.strays += 1  # nobody has asked for so many; an honest one comes again
                elif known is None:
                    item: PendingMessage[_M] = PendingMessage(raw, where, loop.time())
                    holding.add(item)
                    await self._open(item)
                else:  # its time was over on the server, and it is still here
                    known.delivered, known.reply = where.delivered, raw.reply_text
                    self.counts["redelivered"] += 1
            if puller.is_low:
                await self._pull()

    async def _pull(self) -> None:
        held, size = len(self._holding) - self._holding.leaving, self._holding.bytes
        if self._puller.room(held, size):
            # Where the server is away, the clock comes back to it.
            with contextlib.suppress(DeliveryError):
                await self._puller.pull(held, size)

    async def _open(self, item: PendingMessage[_M]) -> None:
        raw, where, opening = item.raw, item.where, self._opening
        try:
            if len(raw.data) < LARGE:
                message = opening.open(raw, where.position)
            else:
                message = await in_thread(opening.open, raw, where.position)
        except Exception as error:  # noqa: BLE001 - trust is the application's; nothing ends this
            await self._refuse(item, error)
            return
        item.opened(message, opening)
        self._lanes.put(item, message.subject if self._ordered else None)

    async def _refuse(self, item: PendingMessage[_M], error: Exception) -> None:
        """Do with a message that was not opened what the policy says."""
        item.code = error.code if isinstance(error, XKeyMsgError) else "error"
        self.counts[f"refused.{item.code}"] += 1
        now = asyncio.get_running_loop().time()
        verdict = self._failures.refused(error, item.where.sequence, item.delivered, now)
        # A redelivery of a message that was handled has lost its acknowledgement: that is usual.
        if verdict.action == "drop" and item.delivered == 1:
            _log.warning("a replay in %s at %d", self._stream, item.where.sequence)
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
        """Handle a message; False if it is to be handled again, in its lane."""
        item.code = "handler"
        if self._failures.is_exhausted(item.delivered):
            verdict = Verdict("quarantine", reason="handler")
            await self._carry_out(item, verdict, None)
            return True
        try:
            await self._handler(message)
        except Rejected as answer:
            self.counts["rejected"] += 1
            self._settle(item, handled=True)
            await self._answers.finish(item, term(answer.reason))
            self._holding.release(item)
            return True
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit, too: no message ends the program
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
        """Settle a message before it is answered for: a lost answer does not undo that."""
        item.settle(handled=handled)
        if not item.is_forsaken:  # or the count would be that of another delivery
            self._failures.settle(item.where.sequence)

    async def _fail(self, item: PendingMessage[_M], error: BaseException) -> bool:
        sequence = item.where.sequence
        # The exception's text may repeat what was in the message: only its class is logged.
        _log.warning(
            "the handler of %s failed at %d: %s", self._stream, sequence, type(error).__name__
        )
        if item.is_forsaken:  # nobody would know of a retry
            item.release()
            self._holding.release(item)
            return True
        verdict = self._failures.failed(sequence, item.delivered)
        cause = error if isinstance(error, Exception) else None
        if verdict.action == "retry" and self._ordered:
            # The lane waits for it, so it stays here, in hand, until all are given back at the end.
            self._tell("retry", "handler", sequence, cause)
            loop = asyncio.get_running_loop()
            loop.call_later(verdict.delay, self._lanes.again, item)
            return False
        await self._carry_out(item, verdict, cause)
        return True

    # --- giving up --------------------------------------------------------------------------------

    async def _give_up(self, item: PendingMessage[_M], reason: Reason) -> None:
        """Keep a message, settle it, then terminate it; if we end in between, it comes again."""
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
            # Outside there are two words (E-90).
            await self._answers.finish(item, term("undecryptable" if unproven else "refused"))
        except ConnectionFailedError:
            return  # `run` ends with it, and the message comes again
        finally:
            self._holding.leaving -= unproven
            item.release()
            self._holding.release(item)
        self._tell("quarantined" if kept else "lost", item.code, sequence)
        await self._pull()

    def _on_blocked(self, error: XKeyMsgError | None) -> None:
        self._puller.paused = error is not None or self._stopping.is_set()
        if error is None:
            _log.warning("the proven quarantine takes messages again")
            self._tell("unblocked")
            return
        _log.error("consuming %s stands still: the quarantine: %s", self._stream, error)
        self._tell("blocked", error.code, error=error)

    # --- the clock --------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Ask for more messages, and whether the consumer is there."""
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
        """Keep what is here from being delivered again, here or to another worker.

        Nothing else may delay this: a lookup may take as long as the time for an answer.
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
        """Look the durable up; one that somebody has created again begins a new scope."""
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
        """Open everything again from here on; nothing that is held now is answered for."""
        self._opening = self._new_opening()
        self._failures = self._failures.again()
        for item in self._holding:
            self._holding.forsake(item)

    async def _begin_inbox(self, durable: Durable) -> None:
        """Begin a scope with an inbox of its own, and drop what waits on the old one.

        Nothing may wait here between the new scope and the end of the old subscription.
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
            DeliveryError: If that is not wanted, or not possible.
        """
        if self._on_missing == "error":
            raise DeliveryError(
                f"consumer {self._durable} of {self._stream} is gone", CONSUMER_NOT_FOUND
            )
        durable = await create_durable(self._api, self._stream, self._durable, self._config)
        await self._begin_inbox(durable)
        self._puller.unknown = False
        self._tell("recreated")
