"""Records: opened messages as single lines of JSON, as they are delivered.

    {"id": "…", "subject": "orders.new", "sender": "X…", "signer": "U…", "admitted": true,
     "created": "2026-03-01T09:30:00.250000+00:00", "expires": …, "content_type": …,
     "headers": [["Trace", "…"]], "data": "…"}

Instead of `data` there is `data_base64` if it is not UTF-8; or `document` and `withheld`, the
number of parts that this receiver may not see. If a message was resealed, `sender` is the resealer,
and `resealed` has what that `says` about the originals. Absent attributes are left out. The same
message always gives the same line, so that a consumer can detect duplicates.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from xkeymsg.daemons.common.documents import to_json
from xkeymsg.envelope.head import from_milliseconds
from xkeymsg.envelope.message import Message
from xkeymsg.errors import MalformedError
from xkeymsg.opener import View
from xkeymsg.origins import Resealed
from xkeymsg.refusals import refusing

__all__ = ("Record", "record_of")


class Record(NamedTuple):
    """An opened message."""

    id: bytes
    """The message id, 16 bytes."""
    subject: str
    """The sealed subject; for xkv1, which has none, the subject on the wire."""
    line: bytes
    """The message as JSON, with a line feed."""

    def __repr__(self) -> str:
        return f"<Record {self.id.hex()} of {len(self.line)} bytes>"  # the default shows plaintext


@refusing
def record_of(message: Message, *, is_xkv1: bool = False) -> Record:
    """Return the record of an opened message or document.

    Args:
        message: The message.
        is_xkv1: Whether it is in the xkv1 format, which has no time: the record omits it.

    Raises:
        MalformedError: If JSON cannot represent it.
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
        "resealed": None if message.resealed is None else _resealed(message.resealed),
    }
    fields = {key: value for key, value in fields.items() if value is not None}
    if isinstance(message, View):
        fields |= {"document": message.document, "withheld": message.withheld}
    else:
        fields |= _data(message.data)
    return Record(name, message.subject, _line(fields))


def _resealed(resealed: Resealed) -> dict[str, object]:
    """Return the resealer, and what it says about the originals, the first one first."""
    says = [
        {
            "sender": str(each.sender),
            "id": each.message_id.hex(),
            "created": from_milliseconds(each.created_ms).isoformat(),
            "withheld": each.withheld,
        }
        for each in resealed.origins
    ]
    return {"by": str(resealed.by), "says": says}


def _data(data: bytes) -> dict[str, str]:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}


def _line(fields: dict[str, Any]) -> bytes:
    try:
        return to_json(fields, show_withheld=True).encode()
    except (ValueError, RecursionError):  # NaN, or a surrogate
        pass
    # Raised outside the handler: as context, Python's exception may hold the document.
    raise MalformedError("the document cannot be represented in JSON")
