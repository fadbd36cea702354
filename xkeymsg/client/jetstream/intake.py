"""Receiving the messages of a durable, and opening them.

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
import math
from collections.abc import Callable
from typing import Any, Final, Generic, Literal, TypeVar

from xkeymsg.ambient import now_ns
from xkeymsg.client.jetstream.acks import IN_PROGRESS
from xkeymsg.client.jetstream.api import API, CONSUMER_NOT_FOUND, STREAM_NOT_FOUND
from xkeymsg.client.jetstream.durables import Durable, create_durable, find_durable
from xkeymsg.client.jetstream.events import ConsumerStatus
from xkeymsg.client.jetstream.gate import Gate
from xkeymsg.client.jetstream.holds import TRY, Proof
from xkeymsg.client.jetstream.keyed_queue import KeyedQueue
from xkeymsg.client.jetstream.outcomes import Outcomes
from xkeymsg.client.jetstream.pending import Opening, PendingMessage, PendingMessages
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.jetstream.restarts import Restarts
from xkeymsg.client.scope import LARGE
from xkeymsg.client.threads import in_thread
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConnectionFailedError, DeliveryError
from xkeymsg.transport.raw import RawSubscription
from xkeymsg.transport.rights import Refusal

__all__ = ("AGAIN", "Intake")

_M = TypeVar("_M", bound=Message)

_log = logging.getLogger(__name__)

_CHECK: Final = 1.0
"""Seconds between checks that the consumer exists."""
_MISSING: Final = 2
"""Failed checks in a row until it counts as missing: one may be wrong after a server start."""
_LEAVING: Final = 2048
"""Limit of messages on their way to the unproven quarantine; above it, none are requested."""
_PERMITTED: Final = 1.0
"""Timeout in seconds of the check whether acknowledgements are permitted."""
AGAIN: Final = 10.0
"""Seconds between such checks while they are not, and between lookups of a paused consumer."""
_NO_SEQUENCE: Final = 2**63 - 1
"""A stream sequence that no message has."""


class Intake(Generic[_M]):
    """Receives and opens the messages of a durable, in one replay scope after another.

    Args:
        api: The JetStream API client.
        stream: The stream.
        durable: The durable.
        puller: Requests messages.
        holding: The messages that are held.
        lanes: The queue of the handlers.
        ordered: Whether messages with the same sealed subject form a lane.
        outcomes: Carries out the decisions about a message.
        gate: Closed during an outage.
        proof: Recognizes a wrong key or wrong peers.
        quarantine: Blocked while it must store a message and cannot.
        status: Reports events.
        new_opening: Begins a replay scope.
        on_missing: What to do if the durable is deleted.
        skew: How many seconds later than our clock a message may have been stored; None to ignore
            the clock.
        limits: Messages and bytes that may be buffered.
    """

    def __init__(
        self,
        api: API,
        stream: str,
        durable: str,
        *,
        puller: Puller,
        holding: PendingMessages[_M],
        lanes: KeyedQueue[PendingMessage[_M]],
        ordered: bool,
        outcomes: Outcomes[_M],
        gate: Gate,
        proof: Proof,
        quarantine: Quarantine,
        status: ConsumerStatus,
        new_opening: Callable[[], Opening[_M]],
        on_missing: Literal["error", "recreate"],
        skew: float | None,
        limits: tuple[int, int],
    ) -> None:
        self.opening = new_opening()
        """The present replay scope."""
        self.ack_wait = 30.0
        """The shortest time until an unacknowledged message is redelivered, in seconds."""
        self.stopping = asyncio.Event()
        """Set when no more messages should be requested."""
        self._api, self._link = api, api.link
        self._stream, self._durable = stream, durable
        self._puller = puller
        self._holding = holding
        self._lanes = lanes
        self._ordered = ordered
        self._outcomes = outcomes
        self._gate = gate
        self._proof = proof
        self._quarantine = quarantine
        self._status = status
        self._new_opening = new_opening
        self._on_missing = on_missing
        self._skew_ns = math.inf if skew is None else int(skew * 1e9)
        self._limits = limits
        self._restarts = Restarts()
        self._config: dict[str, Any] = {}
        self._subscription: RawSubscription | None = None
        self._refusals = self._link.refusals
        self._reconnects = self._link.reconnects

    # --- lifecycle --------------------------------------------------------------------------------

    async def begin(self, durable: Durable) -> None:
        """Subscribe for the messages of a durable."""
        self._learn(durable)
        await self._subscribe()

    async def drain(self) -> None:
        """Let the server give up the open requests, and take what it has sent.

        Otherwise it would answer them with the messages that a stop returns, and those would wait
        here for `ack_wait`, unanswered.
        """
        if self._subscription is not None:
            await self._subscription.drain()
            await self._subscription.emptied()

    async def close(self) -> None:
        """Unsubscribe."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def _subscribe(self) -> None:
        messages, size = self._limits
        self._subscription = await self._link.subscribe(
            f"{self._puller.inbox}.*",
            max_messages=messages,
            max_bytes=size + self._link.max_payload,
        )

    def _note_pause(self, durable: Durable) -> None:
        if not durable.paused:
            self._status.recovered("paused")
            return
        name = f"{self._stream} {self._durable}"
        why = f"the durable is paused, and delivers nothing: nats consumer resume {name}"
        self._status.trouble("paused", why)

    def _learn(self, durable: Durable) -> None:
        if durable.max_deliver > 0:
            _log.warning(
                "durable %s of %s has a max_deliver: if a process dies during a message's last"
                " delivery (%d), the message is not delivered again; set max_deliver to -1",
                self._durable, self._stream, durable.max_deliver,
            )  # fmt: skip
        self._note_pause(durable)
        self._restarts.learn(durable, self._link.reconnects)
        self._config = durable.config
        if self._config.get("deliver_policy") == "new":
            # Created again, it must not skip what was stored while it was missing.
            self._config = self._config | {
                "deliver_policy": "by_start_time",
                "opt_start_time": durable.created,
            }
        self._puller.apply_limits(durable.config)
        self.ack_wait = durable.ack_wait
        self._outcomes.learn(durable, self._puller.prefetch)

    # --- requesting -------------------------------------------------------------------------------

    def _is_held(self, held: int) -> bool:
        return (
            (self._gate.is_closed and held > 0)  # without any, nothing shows that it has ended
            or self._quarantine.is_blocked
            or self._holding.leaving >= _LEAVING
            or "permission" in self._status.troubles
        )

    async def pull(self) -> None:
        """Request more messages if there is room and no reason to hold."""
        held, size = len(self._holding) - self._holding.leaving, self._holding.bytes
        if self._is_held(held) or not self._puller.room(held, size):
            return
        with contextlib.suppress(DeliveryError):  # if the server is unreachable, the timer retries
            if not self._proof.is_full:
                most = TRY if self._gate.is_closed else self._puller.prefetch
                await self._puller.pull(held, size, most)
                return
            now = asyncio.get_running_loop().time()
            if not self._proof.wait(now) and await self._puller.pull(held, size, TRY):
                self._proof.begin(now)

    # --- receiving and opening --------------------------------------------------------------------

    async def take(self) -> None:
        """Receive and open messages, in one scope after another.

        Raises:
            ConnectionFailedError: If the connection is closed.
        """
        taken = None
        while self._subscription is not None and self._subscription is not taken:
            taken = self._subscription
            await self._take_from(taken)
        if not self.stopping.is_set():
            raise ConnectionFailedError("the connection is closed")
        await asyncio.Event().wait()  # until the stop, which has drained the subscription, is done

    async def _take_from(self, subscription: RawSubscription) -> None:
        """Receive messages, open them, and request more, until the subscription ends."""
        loop, puller, holding = asyncio.get_running_loop(), self._puller, self._holding
        async for raw in subscription:
            where = puller.take(raw)
            if where is not None:
                if self._restarts.is_restart(where):
                    self._begin_scope()
                    puller.suspect = True
                    self._status.tell("rewound", sequence=where.sequence)
                known = holding.get(where.sequence)
                if known is not None and known.where.stored_ns != where.stored_ns:
                    holding.forsake(known)  # the stream was recreated
                    known = None
                if known is None and len(holding) - holding.leaving >= 2 * puller.prefetch:
                    puller.strays += 1  # more than requested; an honest one is redelivered
                elif known is None:
                    item: PendingMessage[_M] = PendingMessage(raw, where, loop.time())
                    holding.add(item)
                    await self.open(item)
                else:  # redelivered after `ack_wait`, and still held
                    known.delivered, known.reply = where.delivered, raw.reply
                    self._status.counts["redelivered"] += 1
            if puller.is_low:
                await self.pull()

    async def open(self, item: PendingMessage[_M]) -> None:
        """Open a message, and queue it for its handler; apply the policy if it does not open."""
        raw, where = item.raw, item.where
        if where.stored_ns - now_ns() > self._skew_ns and not await self._becomes_due(item):
            return
        opening = self.opening
        try:
            if len(raw.data) < LARGE:
                message = opening.open(raw, where.position)
            else:
                message = await in_thread(opening.open, raw, where.position)
        except Exception as error:  # noqa: BLE001 - from the application's trust
            await self._outcomes.refuse(item, error)
            return
        self._outcomes.opened()
        item.opened(message, opening)
        item.lane = message.subject if self._ordered else None
        self._lanes.put(item, item.lane)

    async def _becomes_due(self, item: PendingMessage[_M]) -> bool:
        """Wait while a message was stored later than our clock says; False if stopped meanwhile."""
        while (early := item.where.stored_ns - now_ns() - self._skew_ns) > 0:
            if self.stopping.is_set():
                return False
            seconds = (early + self._skew_ns) / 1e9
            why = f"a message was stored {seconds:.0f} s later than this machine's clock says"
            self._status.trouble("clock", f"{why}: check the clocks", item.where.sequence)
            await asyncio.sleep(min(early / 1e9, _CHECK))
        self._status.recovered("clock")
        return True

    def _begin_scope(self) -> None:
        """Begin a new replay scope; send no more replies for messages held now."""
        self.opening = self._new_opening()
        self._outcomes.forget()
        for item in self._holding:
            self._holding.forsake(item)

    # --- the durable ------------------------------------------------------------------------------

    async def watch(self, tick: Callable[[], float]) -> None:
        """Request more messages, and check that the consumer exists and may be answered."""
        loop = asyncio.get_running_loop()
        puller, missing, check_at, permit_at = self._puller, 0, 0.0, 0.0
        look_at = loop.time() + puller.expires
        while True:
            await asyncio.sleep(tick())
            now = loop.time()
            puller.look()
            if now >= look_at:  # it may be paused, which nothing else shows
                look_at = now + min(puller.expires, AGAIN if self._is_paused else math.inf)
                puller.suspect = True
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
            if now >= permit_at and self._may_be_refused:
                await self.check_permission()
                permit_at = now + (AGAIN if "permission" in self._status.troubles else _CHECK)
            await self.pull()

    @property
    def _is_paused(self) -> bool:
        return "paused" in self._status.troubles

    @property
    def _may_be_refused(self) -> bool:
        """Whether the permission to acknowledge may have changed since it was checked."""
        seen = self._link.refusals, self._link.reconnects
        return seen != (self._refusals, self._reconnects) or "permission" in self._status.troubles

    async def check_permission(self) -> None:
        """Check that the server permits acknowledgements; without an answer, suppose that it does.

        It asks for more time for a message that does not exist.

        Raises:
            ConnectionFailedError: If the link is closed.
        """
        self._reconnects = self._link.reconnects
        subject = f"$JS.ACK.{self._stream}.{self._durable}.1.{_NO_SEQUENCE}.1.1.0"
        refused = ""
        try:
            await self._link.request(subject, IN_PROGRESS, timeout=_PERMITTED)
        except ConnectionFailedError:
            raise
        except DeliveryError as error:
            if str(error).lower() == str(Refusal("publish", subject)).lower():
                refused = f"$JS.ACK.{self._stream}.{self._durable}.>"
        self._refusals = self._link.refusals
        if refused:
            why = f"the server does not permit acknowledgements: permit publishing on {refused}"
            self._status.trouble("permission", why)
        else:
            self._status.recovered("permission")

    async def _is_missing(self) -> bool:
        """Look up the durable, return whether it is missing; if it restarted, begin a new scope."""
        puller, reconnects = self._puller, self._link.reconnects
        interrupted = puller.unknown
        try:
            durable = await find_durable(self._api, self._stream, self._durable, None)
        except DeliveryError as error:
            missing = error.err_code in (CONSUMER_NOT_FOUND, STREAM_NOT_FOUND)
            puller.unserved |= not missing and puller.unknown
            return missing
        if not self._restarts.is_current(durable):
            puller.suspect = True  # look again
            puller.unserved |= puller.unknown
            return False
        self._note_pause(durable)
        if self._restarts.learn(durable, reconnects, interrupted=interrupted):
            await self._begin_inbox(durable)
            self._status.tell("rewound")
        if interrupted:  # else the reply may be older than an interruption meanwhile: look again
            puller.unknown &= self._link.reconnects != reconnects
        return False

    async def _begin_inbox(self, durable: Durable) -> None:
        """Begin a scope with its own inbox, and drop messages waiting on the old one.

        Do not await anything else between the new scope and the end of the old subscription.
        """
        old = self._subscription
        self._learn(durable)
        self._begin_scope()
        self._puller.begin()
        if not self.stopping.is_set():
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
        self._status.tell("recreated")
