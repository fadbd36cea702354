"""An opened message as it is handed on: a JSON object in a line, and what names it.

    {"id": "…", "subject": "orders.new", "sender": "X…", "signer": "U…", "admitted": true,
     "created": "2026-03-01T09:30:00.250000+00:00", "expires": …, "content_type": …,
     "headers": [["Trace", "…"]], "data": "…"}

In the place of `data`, `data_base64` where it is not UTF-8; or `document` and `withheld`, how many
parts of it this receiver may not see. What the sender did not say is left out. The same message is
always the same line, so that whoever gets it twice can tell.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from xkeymsg.daemons.common.documents import to_json
from xkeymsg.envelope.message import Message
from xkeymsg.errors import MalformedError
from xkeymsg.opener import View
from xkeymsg.refusals import refusing

__all__ = ("Record", "record_of")


class Record(NamedTuple):
    """An opened message."""

    id: bytes
    """16 bytes that name it."""
    subject: str
    """The sealed subject; that on the wire for xkv1, which seals none."""
    line: bytes
    """All of it in JSON, with a line feed."""

    def __repr__(self) -> str:
        return f"<Record {self.id.hex()} of {len(self.line)} bytes>"  # a NamedTuple would show it


@refusing
def record_of(message: Message, *, is_xkv1: bool = False) -> Record:
    """Return an opened message, or document, as a record.

    Args:
        message: It.
        is_xkv1: Whether it came in that format, which has no time: it is not in the record either.

    Raises:
        MalformedError: If JSON cannot hold it.
    """
    name = message.message_id
    fields: dict[str, Any] = {
        "id": name.hex(),
        "subject": message.subject,
        "sender": str(message.sender),
        "signer": message.signer,
        "admitted": message.admitted,
        "created": None if is_xkv1 else message.created.isoformat(),
        "expires": message.expires.isoformat() if message.expires else None,
        "format": "xkv1" if is_xkv1 else None,
        "content_type": message.content_type,
        "headers": [list(pair) for pair in message.headers.pairs] or None,
    }
    fields = {key: value for key, value in fields.items() if value is not None}
    if isinstance(message, View):
        fields |= {"document": message.document, "withheld": message.withheld}
    else:
        fields |= _data(message.data)
    return Record(name, message.subject, _line(fields))


def _data(data: bytes) -> dict[str, str]:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def _line(fields: dict[str, Any]) -> bytes:
    try:
        return to_json(fields, show_withheld=True).encode()
    except (ValueError, RecursionError):  # NaN; a ValueError is also that of a surrogate
        pass
    # Raised out here: what Python raises may hold the document.
    raise MalformedError("a document that JSON cannot hold")
