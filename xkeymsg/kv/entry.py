"""`KVEntry`: an opened entry of a bucket, or the report of one that was refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from xkeymsg.display import SafeRepr
from xkeymsg.envelope.message import Message
from xkeymsg.keys import XKey
from xkeymsg.opener import View

__all__ = ("KVEntry", "Operation", "StoredEntry")

Operation = Literal["put", "delete", "purge", "marker", "refused", "gap"]
"""`put`, `delete` and `purge` are authenticated. `marker` is a deletion that no sender has sealed;
`refused` an entry that could not be opened; `gap` reports revisions that a watch did not get."""


class StoredEntry(NamedTuple):
    """An entry as the broker delivers it; nothing of it is verified."""

    key: str
    """The key on the wire."""
    revision: int
    headers: bytes
    data: bytes

    def __repr__(self) -> str:
        return f"<StoredEntry {self.revision} of {len(self.data)} bytes>"


class KVEntry(SafeRepr):
    """An entry of a bucket."""

    __slots__ = ("bucket", "error", "key", "message", "operation", "replaces", "revision")

    def __init__(
        self,
        bucket: str,
        key: str,
        revision: int,
        operation: Operation,
        *,
        message: Message | None = None,
        replaces: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.bucket = bucket
        self.key = key
        """The key. Of an entry that is not authenticated in a bucket with blinded names, the
        blinded one."""
        self.revision = revision
        """The revision that the broker reports."""
        self.operation: Operation = operation
        self.message = message
        """The opened message; None unless the entry is authenticated."""
        self.replaces = replaces
        """The revision that the writer replaced with compare-and-set, or None."""
        self.error = error
        """Why the entry was refused, or what a watch did not get."""

    @property
    def value(self) -> bytes | None:
        """The payload of a `put`; None otherwise, and of a document."""
        if self.operation != "put" or self.message is None or isinstance(self.message, View):
            return None
        return self.message.data

    @property
    def document(self) -> Any:
        """The fields of a document that this reader may see; None without a document."""
        return self.message.document if isinstance(self.message, View) else None

    @property
    def sender(self) -> XKey | None:
        """The key that sealed the entry; None unless it is authenticated."""
        return None if self.message is None else self.message.sender

    @property
    def created(self) -> datetime | None:
        """The time of sealing, by the sender's clock; None unless it is authenticated."""
        return None if self.message is None else self.message.created

    def __repr__(self) -> str:
        return f"<KVEntry {self.bucket} {self.revision} {self.operation}>"
