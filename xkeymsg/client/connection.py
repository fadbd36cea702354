"""The connection interface of a client: a `Link`, or its substitute in tests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from xkeymsg.transport.raw import RawSubscription

__all__ = ("Connection",)


class Connection(Protocol):
    """A connection that reconnects; `xkeymsg.transport.link.Link` documents each member."""

    dropped: int
    """Number of messages dropped because their subscription was full."""

    @property
    def max_payload(self) -> int:
        """The maximum size of a message's headers and data, in bytes."""

    @property
    def state(self) -> Literal["connected", "reconnecting", "closed"]:
        """The state of the connection."""

    async def publish(
        self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = ""
    ) -> None:
        """Pass a message to the connection."""

    async def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        max_messages: int = 8192,
        max_bytes: int = 8 << 20,
    ) -> RawSubscription:
        """Subscribe for the lifetime of the connection."""

    def new_inbox(self) -> str:
        """Return a subject that nobody can guess."""

    def asking(self) -> AbstractContextManager[None]:
        """Context: a reply is expected (shortens back-pressure)."""

    async def confirm(self) -> None:
        """Wait until the server has accepted or refused everything that was sent."""

    async def drain(self, timeout: float) -> None:
        """Stop receiving, let buffered messages be taken, send buffered data, then close."""
