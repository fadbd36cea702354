"""The replay scope of one route, which survives a key change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from time import perf_counter
from typing import Final

from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.telemetry import Destination, Tracing, processing
from xkeymsg.client.trust import ClientTrust
from xkeymsg.daemons.common.records import Record, record_of
from xkeymsg.daemons.receiver.config import ReceiverRoute
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import ReplayState, StreamPosition
from xkeymsg.keys import Keyring
from xkeymsg.limits import Limits
from xkeymsg.transport.raw import Raw

__all__ = ("RouteScope",)

_XKV1: Final = b"xkv1"


class RouteScope:
    """Opens the messages of a route, and reports how long that took."""

    def __init__(
        self,
        route: ReceiverRoute,
        keys: Keyring,
        senders: Senders,
        *,
        require_signature: bool = False,
        on_opened: Callable[[float], None] = lambda _: None,
        on_message: Callable[[Message], None] = lambda _: None,
        tracing: Tracing | None = None,
    ) -> None:
        """Initialize the scope.

        Args:
            route: Which messages to accept.
            keys: The recipient's keys.
            senders: Who may send.
            require_signature: Whether to refuse unsigned messages.
            on_opened: Called for each opened message with the duration in seconds.
            on_message: Called with each opened message.
            tracing: Makes a span for each message; None without telemetry.

        Raises:
            ConfigurationError: If the arguments conflict.
        """
        limits = Limits(
            replay_bytes=route.replay_bytes,
            replay_bytes_unadmitted=route.replay_bytes_unadmitted,
            replay_pending=route.replay_pending,
        )
        if route.max_age is not None:
            limits = replace(limits, max_age=route.max_age)
        self.max_age = limits.max_age
        """Maximum age of a message on arrival, in seconds."""
        self.skew = limits.skew
        """How many seconds later than our clock a message may have been stored."""
        self.tracing = tracing
        """Makes the spans; None without telemetry."""
        source, group = route.stream or route.subject, route.durable or route.queue
        self.place = Destination(source or "", group or "")
        """Where the messages come from, for the spans."""
        self._scope = OpeningScope(
            keys,
            ClientTrust(senders),
            subjects=route.accepted,
            documents=route.documents,
            match_wire=route.match_wire,
            formats=route.formats,
            require_signature=require_signature,
            limits=limits,
            tracing=tracing,
            place=self.place,
        )
        self.large = self._scope.large
        """Size in bytes from which a message is opened in a thread."""
        self._on_opened = on_opened
        self._on_message = on_message

    def rekey(self, keys: Keyring) -> None:
        """Use other keys of the same recipient."""
        self._scope.rekey(keys)

    def open(self, raw: Raw, position: StreamPosition | None = None) -> Message:
        """Open a message.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """
        begun = perf_counter()
        message: Message = self._scope.open(raw, position)
        self._on_opened(perf_counter() - begun)
        self._on_message(message)
        return message

    def settle(self, message: Message, *, handled: bool) -> None:
        """Mark a pending message of a stream as handled, or forget it."""
        self._scope.settle(message, handled=handled)

    def release(self, message: Message) -> None:
        """Leave a message of a stream pending; the sink no longer has it."""
        self._scope.release(message)

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory."""
        return self._scope.replay_state()

    def read(self, raw: Raw) -> tuple[Record, AbstractContextManager[object]]:
        """Open a message outside a stream; return its record, and the context of its delivery.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """
        message = self.open(raw)
        record = record_of(message, is_xkv1=raw.data[:4] == _XKV1)
        return record, processing(self.tracing, message, self.place)
