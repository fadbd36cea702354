"""What a client needs of a connection: a `Link`, or what stands for one in tests."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from xkeymsg.transport.raw import RawSubscription

__all__ = ("Connection",)


class Connection(Protocol):
    """A connection that comes back; `xkeymsg.transport.link.Link` says what each promises."""

    dropped: int
    """How many messages found no room in their subscription."""

    @property
    def max_payload(self) -> int:
        """How many bytes of headers and data one message may have."""

    @property
    def state(self) -> Literal["connected", "reconnecting", "closed"]:
        """Whether there is a connection, or will be one."""

    async def publish(
        self, subject: str, data: bytes, *, headers: bytes = b"", reply: str = ""
    ) -> None:
        """Hand a message to the connection."""

    async def subscribe(
        self,
        subject: str,
        *,
        queue: str = "",
        max_messages: int = 8192,
        max_bytes: int = 8 << 20,
    ) -> RawSubscription:
        """Subscribe, for as long as the connection lives."""

    def new_inbox(self) -> str:
        """Return a subject that nobody can guess."""

    def asking(self) -> AbstractContextManager[None]:
        """Say that an answer is awaited in this block."""

    async def confirm(self) -> None:
        """Wait until everything that was sent has been taken or refused."""

    async def drain(self, timeout: float) -> None:
        """Take no more, let what came be taken, send what is to be sent; then close."""
