"""A route that consumes a stream; only messages that the sink accepted are acknowledged."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter
from typing import Final

from xkeymsg.client.jetstream.api import API, STREAM_NOT_FOUND
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions, find_durable
from xkeymsg.client.jetstream.events import ConsumerEvent, Trouble
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.quarantine import Quarantine, create_quarantine, record_key
from xkeymsg.daemons.common.records import record_of
from xkeymsg.daemons.receiver.batches import Outlet
from xkeymsg.daemons.receiver.config import ReceiverConfig, ReceiverRoute
from xkeymsg.daemons.receiver.reports import ReceiverReporter
from xkeymsg.daemons.receiver.scope import RouteScope
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.errors import ConfigurationError, DeliveryError, XKeyMsgError
from xkeymsg.keys import Keyring
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw

__all__ = ("StreamRoute", "prepare_quarantine")

_PATIENCE: Final = 0.8
"""The fraction of the drain time after which undelivered messages are returned to the stream."""
_CREATE: Final = "; run `xkeymsg quarantine init`, or set quarantine.create = true"


async def prepare_quarantine(config: ReceiverConfig, link: Link) -> None:
    """Create the quarantine streams, or check that they exist.

    Raises:
        DeliveryError: If they do not.
    """
    api, section = API(link), config.quarantine
    if section.create:
        await create_quarantine(api, section.unproven, section.proven, replicas=section.replicas)
        return
    for name in (section.unproven, section.proven):
        try:
            await api.request(f"STREAM.INFO.{name}")
        except DeliveryError as error:
            hint = _CREATE if error.err_code == STREAM_NOT_FOUND else ""
            raise DeliveryError(f"quarantine stream {name}: {error}{hint}") from None


class _StreamScope:
    """Opens the messages of a durable, and reports refusals."""

    def __init__(self, opening: RouteScope, report: ReceiverReporter) -> None:
        self._opening = opening
        self._report = report

    def open(self, raw: Raw, position: StreamPosition) -> Message:
        self._report.metrics.received.inc()
        try:
            return self._opening.open(raw, position)
        except XKeyMsgError as error:
            self._report.refused(error, raw.data, sequence=position.sequence)
            raise

    def settle(self, message: Message, *, handled: bool) -> None:
        self._opening.settle(message, handled=handled)

    def release(self, message: Message) -> None:
        self._opening.release(message)

    def replay_state(self) -> ReplayState:
        return self._opening.replay_state()


class StreamRoute:
    """Consumes one durable."""

    def __init__(
        self,
        config: ReceiverConfig,
        route: ReceiverRoute,
        new_opening: Callable[[], RouteScope],
        outlet: Outlet,
        report: ReceiverReporter,
    ) -> None:
        self._config = config
        self._route = route
        self._new_opening = new_opening
        self._opening = new_opening()
        self._outlet = outlet
        self._report = report
        self._consumer: Consumer[Message] | None = None
        self._blocked = False
        self._window = math.inf
        self._outage_began = 0.0

    async def begin(self, link: Link, keys: Keyring) -> None:
        """Look up the durable.

        Raises:
            ConfigurationError: If it is not suitable.
            DeliveryError: If it does not exist, or the server refuses or does not answer.
        """
        route = self._route
        if route.stream is None or route.durable is None:
            raise ConfigurationError("stream requires a durable")
        api = API(link)
        create = DurableOptions() if route.create_durable else None
        durable = await find_durable(api, route.stream, route.durable, create)
        self._window = await self._outlet.duplicate_window()
        if self._window < durable.ack_wait:
            self._warn_window("ack_wait", durable.ack_wait)
        most = durable.max_ack_pending if durable.max_ack_pending > 0 else route.max_in_flight
        names = self._config.quarantine
        secret = record_key(keys.active)
        tracing = self._opening.tracing
        handler: Callable[[Message], Awaitable[None]] = self._handle
        if tracing is not None:
            handler = tracing.handler(handler, self._opening.place)
        self._consumer = Consumer(
            api,
            route.stream,
            route.durable,
            handler,
            new_opening=self._begin_scope,
            new_quarantine=lambda tell: Quarantine(
                api, secret, unproven=names.unproven, proven=names.proven, on_blocked=tell
            ),
            policy=FailurePolicy(
                deliveries=route.attempts,
                backoff=route.backoff,
                backoff_most=route.backoff_most,
                patience=route.patience,
                strangers=route.strangers,
            ),
            found=durable,
            workers=min(route.max_in_flight, most),
            ordered=route.ordered,
            stop_timeout=_PATIENCE * self._config.drain.seconds,
            skew=self._opening.skew,
            on_event=self.note,
        )

    def _begin_scope(self) -> _StreamScope:
        self._opening = self._new_opening()
        return _StreamScope(self._opening, self._report)

    def rekey(self, keys: Keyring) -> None:
        """Use other keys of the same recipient."""
        self._opening.rekey(keys)

    def unprove(self) -> None:
        """Record that the key or the peers have changed, and may be wrong now."""
        if self._consumer is not None:
            self._consumer.unprove()

    def _warn_window(self, what: str, seconds: float) -> None:
        self._report.log.warning(
            "short duplicate_window", route=self._route.name, seconds=self._window,
            why=f"{what} is {seconds:g} s: a message may be stored twice in the sink's stream",
        )  # fmt: skip

    async def run(self) -> None:
        """Run until `stop`, then until every accepted message is settled.

        Raises:
            XKeyMsgError: If the stream or the durable was deleted, or the link was closed.
        """
        assert self._consumer is not None  # noqa: S101 - `begin` was called
        await self._consumer.run()

    async def stop(self) -> None:
        """Fetch no more messages."""
        if self._consumer is not None:
            self._consumer.stop()

    def tick(self) -> None:
        """Report messages in flight and the replay memory."""
        self._report.remembered(self._opening.replay_state(), self._opening.max_age)
        if self._consumer is not None:
            self._report.metrics.in_flight.set(self._consumer.held)

    @property
    def is_blocked(self) -> bool:
        """Whether consumption is paused because the quarantine accepts nothing."""
        return self._blocked

    @property
    def is_unserved(self) -> bool:
        """Whether the durable delivers nothing."""
        return self._consumer is not None and self._consumer.is_unserved

    @property
    def troubles(self) -> dict[Trouble, str]:
        """Why the route is not ready, by kind."""
        return {} if self._consumer is None else self._consumer.troubles

    async def _handle(self, message: Message) -> None:
        begun = perf_counter()
        try:
            await self._outlet.deliver(record_of(message))
        except DeliveryError as error:
            self._report.not_delivered(error)
            raise
        self._report.delivered(perf_counter() - begun)

    def note(self, event: ConsumerEvent) -> None:
        """Count and log what happened to the consumer."""
        metrics = self._report.metrics
        self._report.noted(event)
        match event.kind:
            case "drop":
                metrics.replays.inc()
            case "quarantined" | "lost":
                metrics.quarantined("kept" if event.kind == "quarantined" else "lost")
            case "blocked" | "unblocked":
                self._blocked = event.kind == "blocked"
                self._report.blocked(is_blocked=self._blocked)
            case "trouble" if event.code == "outage":
                self._outage_began = monotonic()
            case "recovered" if event.code == "outage":
                lasted = round(monotonic() - self._outage_began)
                if lasted > self._window:
                    self._warn_window("the outage's duration", lasted)
