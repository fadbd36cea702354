"""RouteScope the messages of one route: one replay scope, which survives a change of keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import Final

from xkeymsg.client.scope import OpeningScope
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
    """Opens the messages of a route, and says how long that took."""

    def __init__(
        self,
        route: ReceiverRoute,
        keys: Keyring,
        senders: Senders,
        *,
        require_signature: bool = False,
        on_opened: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Take what the configuration says.

        Args:
            route: Which messages are taken.
            keys: Whose they are.
            senders: ClientTrust they may come from.
            require_signature: Whether to refuse what is not signed.
            on_opened: Told how long it took, in seconds, of each one that opened.

        Raises:
            ConfigurationError: If these do not go together.
        """
        limits = Limits(
            replay_bytes=route.replay_bytes,
            replay_bytes_unadmitted=route.replay_bytes_unadmitted,
            replay_pending=route.replay_pending,
        )
        if route.max_age is not None:
            limits = replace(limits, max_age=timedelta(seconds=route.max_age))
        self.max_age = limits.max_age.total_seconds()
        """How old a message may be when it comes, in seconds."""
        self._scope = OpeningScope(
            keys,
            ClientTrust(senders),
            subjects=route.accepted,
            documents=route.documents,
            match_wire=route.match_wire,
            formats=route.formats,
            require_signature=require_signature,
            limits=limits,
        )
        self.large = self._scope.large
        """Bytes from which a message is opened in a thread."""
        self._on_opened = on_opened

    def rekey(self, keys: Keyring) -> None:
        """Take other keys of the same reader."""
        self._scope.rekey(keys)

    def open(self, raw: Raw, position: StreamPosition | None = None) -> Message:
        """Open a message.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """
        begun = perf_counter()
        message: Message = self._scope.open(raw, position)
        self._on_opened(perf_counter() - begun)
        return message

    def settle(self, message: Message, *, handled: bool) -> None:
        """Mark a pending message of a stream as handled, or forget it."""
        self._scope.settle(message, handled=handled)

    def release(self, message: Message) -> None:
        """Leave a message of a stream pending, out of the sink's hands."""
        self._scope.release(message)

    def replay_state(self) -> ReplayState:
        """Return the state of the replay memory."""
        return self._scope.replay_state()

    def read(self, raw: Raw) -> Record:
        """Open a message that no stream keeps, and make a record of it.

        Raises:
            XKeyMsgError: If it cannot be opened.
        """
        return record_of(self.open(raw), is_xkv1=raw.data[:4] == _XKV1)
