"""Documents as JSON: in, and out what a reader may see.

In: JSON in UTF-8. A number with a fraction or an exponent is a float, the nearest one; any other
is an integer of any size. Refused is what JSON programs disagree about: a name twice in one object,
NaN and Infinity, and a number beyond all floats.

Out: JSON in UTF-8, of which nothing acts on a terminal: what is not printable is written as an
escape. Kinds that JSON lacks are texts:

    Decimal     "12.50"                             all digits, and the exponent where there is one
    bytes       "AP8="                              base64
    time        "2026-03-01T09:30:00.250000-03:30"  ISO 8601, with its offset
    UUID        "018f428e-34f6-4707-8009-5ad742f901e7"
    withheld    null, or {"$withheld": true}        a list's item that this reader may not see

So it is for people and scripts: who has to tell a Decimal from a text opens it in a program.
"""

from __future__ import annotations

import base64
import json
import math
import re
from datetime import datetime
from typing import Any, Final

from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.values import MAX_DIGITS, WITHHELD
from xkeymsg.refusals import refusing

__all__ = ("parse_document", "to_json")

_MARKER: Final = {"$withheld": True}
_UNUSUAL: Final = re.compile(r"[^\n -~]")


@refusing
def parse_document(data: bytes) -> Any:
    """Read a document in JSON.

    Raises:
        MalformedError: If it is not JSON in UTF-8, repeats a name, or has a number that is none.
        LimitExceededError: If an integer has too many digits.
    """
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except UnicodeDecodeError as error:
        reason = f"not UTF-8, from byte {error.start} on"
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error}"
    except RecursionError:
        reason = "nested too deeply"
    # Raised out here: what Python raises would hold the text.
    raise MalformedError(f"the document is {reason}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # Which one is not said: it is of the document, and this goes to a log.
        raise MalformedError("the document has a name twice in one object")
    return members


def _integer(text: str) -> int:
    digits = len(text.removeprefix("-"))
    if digits > MAX_DIGITS:
        raise LimitExceededError("digits of an integer", digits, MAX_DIGITS)
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise MalformedError("the document has a number that is too large for a float")
    return value


def _constant(text: str) -> Any:
    raise MalformedError(f"the document has {text}, which is no number of JSON")


def to_json(
    document: Any, *, pretty: bool = False, show_withheld: bool = False, ascii_only: bool = False
) -> str:
    """Return what a reader may see, as JSON that cannot act on a terminal; with a line feed.

    Args:
        document: The document of a view.
        pretty: Whether to indent it; else it is one line.
        show_withheld: Whether items that are withheld are to differ from null.
        ascii_only: Whether to escape everything beyond ASCII, too.
    """

    def other(value: object) -> object:
        if value is WITHHELD:
            return _MARKER if show_withheld else None
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return value.isoformat() if isinstance(value, datetime) else str(value)

    text = json.dumps(
        document,
        default=other,
        ensure_ascii=ascii_only,
        allow_nan=False,
        indent=2 if pretty else None,
    )
    # What is not printable stands in texts alone: the line feeds between them are ours.
    return _UNUSUAL.sub(_escape, text) + "\n"


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]
