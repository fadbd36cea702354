"""Documents on the command line, read and written as JSON."""

from __future__ import annotations

import sys
from typing import Any, BinaryIO

from xkeymsg.daemons.common.documents import OnLoss, parse_document, to_json

__all__ = ("is_utf8_terminal", "read_document", "to_json")


def read_document(source: BinaryIO, *, exact: bool = False, on_loss: OnLoss | None = None) -> Any:
    """Read a JSON document; see `parse_document`.

    Raises:
        MalformedError: If it is not JSON in UTF-8, repeats a name, or has an unsupported number.
        LimitExceededError: If an integer has too many digits.
    """
    return parse_document(source.read(), exact=exact, on_loss=on_loss)


def is_utf8_terminal() -> bool:
    """Return whether stdout is UTF-8: in other encodings some of its bytes are control codes."""
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"
