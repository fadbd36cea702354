"""A source that consumes a stream; a message is acknowledged once its sealed form is stored.

If no message can be sealed (an unknown name, a policy without readers), or the target accepts
nothing, the route pauses with the messages that it holds, and retries; the stream keeps the rest. A
message that cannot be sealed because of its content, or that the target does not take while it may
take others (too large, or its subject is full), does not block those. It is retried forever; one
that can never be sent may be terminated after a few attempts, which requires a stream that keeps
terminated messages. We never delete a message from a stream.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Final, NamedTuple, NoReturn

from xkeymsg.client.jetstream.api import API, is_subject_full
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions, find_durable
from xkeymsg.client.jetstream.events import Reject
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.holds import is_shortage
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.daemons.common.reports import code_of
from xkeymsg.daemons.sender.message_ids import Names
from xkeymsg.daemons.sender.pipeline import Pipeline
from xkeymsg.daemons.sender.route_sealer import Sealed, is_of_setup
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.errors import (
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    PayloadTooLargeError,
    XKeyMsgError,
)
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import Raw

__all__ = ("StreamSource",)

_PATIENCE: Final = 0.8
"""The fraction of the drain time after which unsent messages are returned to the stream."""
_UNLIMITED: Final = 1_000_000
_COUNTED: Final = 10_000


class _Inbound(NamedTuple):
    """A message of the stream, and its position."""

    raw: Raw
    where: StreamPosition

    def place(self) -> dict[str, Any]:
        """Return its place, for the log."""
        return {"sequence": self.where.sequence, "subject": self.raw.subject_text}


class _PlaintextScope:
    """A scope without replay marks, for a consumer of plaintext messages.

    Plaintext has neither sender nor session, so a replay cannot be detected.
    """

    def open(self, raw: Raw, position: StreamPosition) -> Any:
        return _Inbound(raw, position)

    def settle(self, message: Any, *, handled: bool) -> None:
        pass

    def release(self, message: Any) -> None:
        pass

    def replay_state(self) -> ReplayState:
        return ReplayState(None, 0, 0, 0, 0)


class _NoQuarantine(Quarantine):
    """A quarantine that refuses everything: the plaintext stays in its stream."""

    async def keep_proven(self, record: QuarantineRecord) -> bool:
        raise DeliveryError("the sender keeps no quarantine")

    async def keep_unproven(self, record: QuarantineRecord, *, must: bool = False) -> bool:
        raise DeliveryError("the sender keeps no quarantine")


class _NotSealedError(Exception):
    """Makes the consumer redeliver a message."""


class StreamSource:
    """Consumes one durable."""

    ends = False

    def __init__(self, pipeline: Pipeline, names: Names, *, drain: float) -> None:
        """Initialize the source.

        Args:
            pipeline: Seals and sends messages.
            names: Derives message ids.
            drain: Seconds that stopping may take.
        """
        self._pipeline = pipeline
        self._report = pipeline.report
        self.name = pipeline.route.name
        self._names = names
        self._drain = drain
        self._consumer: Consumer[Any] | None = None
        self._stopping = asyncio.Event()
        self._mended = asyncio.Event()
        self._tried: dict[StreamPosition, int] = {}
        self.ack_wait = 0.0
        """Seconds after which the source redelivers an unacknowledged message."""
        self._most = 0
        self._waiting = 0

    async def begin(self, source: Link) -> None:
        """Look up the durable.

        Raises:
            ConfigurationError: If it is not suitable.
            DeliveryError: If it does not exist, or the server refuses or does not answer.
        """
        route = self._pipeline.route
        if route.stream is None or route.durable is None:
            raise ConfigurationError("stream requires a durable")
        api = API(source)
        filters = () if route.subject is None else (route.subject,)
        create = DurableOptions(filter_subjects=filters) if route.create_durable else None
        durable = await find_durable(api, route.stream, route.durable, create)
        if durable.max_deliver > 0:
            raise ConfigurationError(
                f"durable {route.durable}: max_deliver is {durable.max_deliver}, which would drop"
                " unsent messages: set it to -1"
            )
        if route.on_refused == "terminate":
            await self._check_stream(api, route.stream)
        self.ack_wait = durable.ack_wait
        self._most = durable.max_ack_pending if durable.max_ack_pending > 0 else _COUNTED
        scope = _PlaintextScope()
        self._consumer = Consumer(
            api,
            route.stream,
            route.durable,
            self._handle,
            new_opening=lambda: scope,
            new_quarantine=lambda tell: _NoQuarantine(api, bytes(32), on_blocked=tell),
            policy=FailurePolicy(
                deliveries=_UNLIMITED, backoff=route.backoff, backoff_most=route.backoff_most
            ),
            found=durable,
            workers=min(route.max_in_flight, self._most),
            stop_timeout=_PATIENCE * self._drain,
            on_event=self._report.noted,
        )

    async def run(self) -> None:
        """Run until `stop`, then until every accepted message is settled or returned.

        Raises:
            XKeyMsgError: If the stream or the durable was deleted, or the link was closed.
        """
        assert self._consumer is not None  # noqa: S101 - `begin` was called
        await self._consumer.run()

    async def stop(self) -> None:
        """Fetch no more messages."""
        self._stopping.set()
        if self._consumer is not None:
            self._consumer.stop()

    def tick(self) -> None:
        """Report whether the route is blocked."""
        self._report.blocked(is_blocked=self.is_blocked)

    def mended(self) -> None:
        """Retry waiting messages at once: names, keys or the policy may have changed."""
        self._mended.set()
        self._mended = asyncio.Event()

    @property
    def is_blocked(self) -> bool:
        """Whether no message can make progress until something is fixed."""
        held = self._consumer is not None and bool(self._consumer.troubles)
        return held or self._waiting > 0 or len(self._tried) >= self._most

    @property
    def is_unserved(self) -> bool:
        """Whether the durable delivers nothing."""
        return self._consumer is not None and self._consumer.is_unserved

    async def _check_stream(self, api: API, stream: str) -> None:
        """Check that the stream keeps terminated messages.

        Raises:
            ConfigurationError: If it does not.
        """
        retention = (await api.stream_config(stream)).get("retention")
        if retention != "limits":
            raise ConfigurationError(
                f"stream {stream}: retention {retention} would delete terminated messages unsent;"
                ' set on_refused to "keep"'
            )

    # --- one message ------------------------------------------------------------------------------

    async def _handle(self, inbound: _Inbound) -> None:
        if inbound.where not in self._tried:
            self._report.metrics.received.inc()
        if not await self._attempt(inbound):
            self._waiting += 1
            try:
                await self._persist(inbound)
            finally:
                self._waiting -= 1
        self._tried.pop(inbound.where, None)

    async def _persist(self, inbound: _Inbound) -> None:
        """Retry until it succeeds.

        Raises:
            _NotSealedError: If the source is stopping.
        """
        for attempt in itertools.count(1):
            await self._wait(self._pipeline.pause(attempt))
            if await self._attempt(inbound):
                return

    async def _attempt(self, inbound: _Inbound) -> bool:
        """Seal and send a message; return whether that succeeded.

        It is sealed again each time: receivers compare the time of sealing with that of storage.
        """
        name = self._names.of_stream(inbound.where)
        try:
            sealed = await self._seal(inbound)
            await self._pipeline.send_once(sealed, name, **inbound.place())
        except ConnectionFailedError:
            raise
        except PayloadTooLargeError as error:
            self._refuse(error, inbound)
        except DeliveryError as error:
            if is_subject_full(error):
                self._refuse(error, inbound, forever=True)
            return False
        except XKeyMsgError as error:
            self._report.standing_still(error, **inbound.place())
            return False
        return True

    async def _seal(self, inbound: _Inbound) -> Sealed:
        raw = inbound.raw
        try:
            return await self._pipeline.seal(raw.data, raw.subject_text, raw.headers)
        except Exception as error:
            if is_of_setup(error) or is_shortage(error):
                raise
            self._refuse(error, inbound)  # no message may end the loop

    def _refuse(self, error: Exception, inbound: _Inbound, *, forever: bool = False) -> NoReturn:
        """Make the consumer terminate or redeliver a message.

        Args:
            error: The reason.
            inbound: The message.
            forever: Whether the target may take it later, so that it is not terminated.

        Raises:
            Reject: To terminate it.
            _NotSealedError: To have it redelivered.
        """
        tries = self._tried.pop(inbound.where, 0) + 1
        route = self._pipeline.route
        if tries == 1:
            self._report.refused(error, **inbound.place())
        if route.on_refused == "terminate" and tries >= route.attempts and not forever:
            self._report.metrics.quarantined("kept")
            self._report.log.often(
                "warning", "terminated", "route", "code",
                route=route.name, code=code_of(error), sequence=inbound.where.sequence,
            )  # fmt: skip
            raise Reject(code_of(error)) from None
        if len(self._tried) >= _COUNTED:
            del self._tried[next(iter(self._tried))]
        self._tried[inbound.where] = tries
        raise _NotSealedError from None

    async def _wait(self, seconds: float) -> None:
        """Wait for some seconds, or until `mended` is called.

        Raises:
            _NotSealedError: If the source is stopping.
        """
        mended = asyncio.create_task(self._mended.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait(
                {mended, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            mended.cancel()
            stopping.cancel()
        if self._stopping.is_set():
            raise _NotSealedError
