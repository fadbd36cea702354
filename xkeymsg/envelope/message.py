"""`Message`: an opened message."""

from __future__ import annotations

from datetime import datetime

from xkeymsg.display import SafeRepr
from xkeymsg.envelope import derive
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.head import Head, from_milliseconds
from xkeymsg.keys import XKey
from xkeymsg.origins import Resealed, resealed_by

__all__ = ("Message",)


class Message(SafeRepr):
    """An opened message. The sender states its content; the opener authenticated the sender."""

    __slots__ = (
        "_head",
        "_origin",
        "admitted",
        "content_type",
        "data",
        "headers",
        "resealed",
        "signer",
        "wire_subject",
    )

    def __init__(
        self,
        head: Head,
        data: bytes,
        admitted: bool,
        signer: str | None,
        content_type: str | None,
        headers: Headers,
    ) -> None:
        self._head = head
        self.data = data
        """The sealed payload."""
        self.admitted = admitted
        """Whether the sender was admitted individually; False under `ANYONE`."""
        self.signer = signer
        """The user nkey `U…` whose signature over the message has verified, or None."""
        self.content_type = content_type
        self.headers = headers
        """The sealed headers: a mapping; `pairs` has every header, including repeated names."""
        pairs = headers.pairs
        self.resealed: Resealed | None = resealed_by(head.sender, pairs) if pairs else None
        """The resealer, `sender`, and what it says about the original; None unless resealed."""
        self.wire_subject: str | None = None
        """The subject on which the broker delivered it; unauthenticated, unlike everything else
        here. None for an envelope that was opened without a client."""
        self._origin: object = None  # for a client to answer it

    @property
    def sender(self) -> XKey:
        """The key that sealed the message."""
        return XKey(self._head.sender)

    @property
    def subject(self) -> str:
        """The subject it was sealed for, which may differ from the subject on the wire."""
        return self._head.subject

    @property
    def created(self) -> datetime:
        """The time of sealing, by the sender's clock."""
        return from_milliseconds(self._head.created_ms)

    @property
    def expires(self) -> datetime | None:
        """The time from which it is refused, if the sender set one."""
        expires = self._head.expires_ms
        return None if expires is None else from_milliseconds(expires)

    @property
    def revision(self) -> int | None:
        """The directory's revision at which the sender resolved the recipients, if stated."""
        return self._head.revision

    @property
    def message_id(self) -> bytes:
        """The 16-byte id of the message; a malicious sender can give two messages the same id."""
        return derive.message_id(self._head.sender, self._head.ephemeral, self._head.nonce)

    def __repr__(self) -> str:
        return f"<Message {self.message_id.hex()} of {len(self.data)} bytes>"
