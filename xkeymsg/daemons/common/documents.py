"""Conversion of documents from JSON, and of a reader's view to JSON.

Input: JSON in UTF-8. A number with a fraction or an exponent becomes the nearest float: numbers
whose digits change are reported, and one that would become 0 or infinite is refused. With exact
numbers, each becomes a Decimal instead. Any other number is an integer of any size. Duplicate names
in an object, NaN and Infinity are refused, because JSON programs disagree about them.

Output: JSON in UTF-8 that is safe for a terminal: unprintable characters are escaped. A Decimal is
a number with all its digits, and its exponent if it has one (`12.50`, `1E-7`). Types that JSON
lacks are strings:

    bytes       "AP8="                              base64
    time        "2026-03-01T09:30:00.250000-03:30"  ISO 8601, with its offset
    UUID        "018f428e-34f6-4707-8009-5ad742f901e7"
    withheld    null, or {"$withheld": true}        a list's item that this reader may not see

This is for people and scripts: a program that must distinguish a time from a string opens the
document itself.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NamedTuple

from xkeymsg.ambient import random_bytes
from xkeymsg.errors import LimitExceededError, MalformedError
from xkeymsg.fields.values import MAX_DIGITS, WITHHELD
from xkeymsg.places import place
from xkeymsg.refusals import refusing
from xkeymsg.text import decode_text

__all__ = ("OnLoss", "parse_document", "to_json")

_MARKER: Final = {"$withheld": True}
_UNUSUAL: Final = re.compile(r"[^\n -~]")
_NOT_ZERO: Final = re.compile("[eE].*|[^1-9]")
"""Everything in a number that is not a digit above 0, and its exponent."""
_KEEPS: Final = 'use exact numbers (numbers = "exact", --exact)'

OnLoss = Callable[[int, Callable[[], str]], object]
"""Called with how many numbers changed as floats, and a function that locates the first."""


class _Odd(NamedTuple):
    """A placeholder in a document for a refused value, or a number whose digits change."""

    reason: str
    digits: int = 0
    """The number of digits, for an integer with too many."""


@refusing
def parse_document(data: bytes, *, exact: bool = False, on_loss: OnLoss | None = None) -> Any:
    """Parse a document from JSON; skip a leading byte order mark.

    Args:
        data: JSON in UTF-8.
        exact: Whether numbers with a fraction or an exponent become Decimals instead of floats.
        on_loss: Called if the digits of any number change.

    Raises:
        MalformedError: If it is not JSON in UTF-8, has a duplicate name in an object, or a number
            that cannot be represented; the text names the place.
        LimitExceededError: If an integer has too many digits; the text names the place.
    """
    reader = _Reader(exact=exact)
    document = reader.read(data)
    if reader.faults:
        raise _located(document)
    if reader.losses and on_loss is not None:
        on_loss(reader.losses, lambda: _place_of_first_loss(data))
    return document


class _Reader:
    """Parser for one JSON text; it puts an `_Odd` in place of each invalid value."""

    def __init__(self, *, exact: bool = False, marks_losses: bool = False) -> None:
        self._exact = exact
        self._marks_losses = marks_losses
        self.faults = 0
        self.losses = 0

    def read(self, data: bytes) -> Any:
        try:
            return json.loads(
                decode_text(data),
                object_pairs_hook=self._object,
                parse_int=self._integer,
                parse_float=self._decimal if self._exact else self._float,
                parse_constant=self._constant,
            )
        except UnicodeDecodeError as error:
            reason = f"not UTF-8, from byte {error.start} on"
        except json.JSONDecodeError as error:
            reason = f"not JSON: {error}"
        except RecursionError:
            reason = "nested too deeply"
        # Raised outside the handlers: as context, Python's exception would hold the text.
        raise MalformedError(f"the document is {reason}")

    def _fault(self, reason: str, digits: int = 0) -> _Odd:
        self.faults += 1
        return _Odd(reason, digits)

    def _object(self, pairs: list[tuple[str, Any]]) -> Any:
        members = dict(pairs)
        # The error goes to a log, so it does not show the name; the object can be found without.
        return members if len(members) == len(pairs) else self._fault("duplicate name in an object")

    def _integer(self, text: str) -> Any:
        digits = len(text.removeprefix("-"))
        return int(text) if digits <= MAX_DIGITS else self._fault("digits of an integer", digits)

    def _decimal(self, text: str) -> Any:
        try:
            return Decimal(text)
        except ArithmeticError:
            return self._fault("number with an exponent out of range")

    def _float(self, text: str) -> Any:
        value = float(text)
        if repr(value) == text:
            return value
        if not math.isfinite(value):
            return self._fault(f"number too large for a float; {_KEEPS}")
        if not value and _NOT_ZERO.sub("", text):
            return self._fault(f"number too small for a float, which would be 0; {_KEEPS}")
        if _loses(text, value):
            self.losses += 1
            if self._marks_losses:
                return _Odd("")
        return value

    def _constant(self, text: str) -> Any:
        return self._fault(f"{text} is not a JSON number")


def _loses(text: str, value: float) -> bool:
    """Return whether a float differs from the number in a text, or is printed with fewer digits."""
    try:
        given, kept = Decimal(text), Decimal(repr(value))
    except ArithmeticError:  # 0 with an exponent out of range
        return True
    return given != kept or _exponent(given) < _exponent(kept)


def _exponent(number: Decimal) -> int:
    return int(number.as_tuple().exponent)


def _place_of_first_loss(data: bytes) -> str:
    path, _ = _first_odd(_Reader(marks_losses=True).read(data))
    return place(path)


def _located(document: Any) -> MalformedError | LimitExceededError:
    """Return the error for the first refused value."""
    path, odd = _first_odd(document)
    if odd.digits:
        return LimitExceededError(f"{place(path)}: {odd.reason}", odd.digits, MAX_DIGITS)
    return MalformedError(f"{place(path)}: {odd.reason}")


def _first_odd(document: Any) -> tuple[tuple[str | int, ...], _Odd]:
    left: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while True:
        path, value = left.pop()
        if type(value) is _Odd:
            return path, value
        if type(value) is dict:
            left += [((*path, name), item) for name, item in reversed(value.items())]
        elif type(value) is list:
            left += [((*path, at), value[at]) for at in reversed(range(len(value)))]


def to_json(
    document: Any, *, pretty: bool = False, show_withheld: bool = False, ascii_only: bool = False
) -> str:
    """Format a view's document as JSON that is safe for a terminal, with a final line feed.

    Args:
        document: The document of a view.
        pretty: Whether to indent it; otherwise it is one line.
        show_withheld: Whether to mark withheld items, instead of writing null.
        ascii_only: Whether to escape all non-ASCII characters.
    """
    numbers: list[str] = []
    mark = ""

    def other(value: object) -> object:
        nonlocal mark
        if value is WITHHELD:
            return _MARKER if show_withheld else None
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, Decimal):
            # `json` cannot write a Decimal: write an unguessable string, and replace it below.
            mark = mark or random_bytes(16).hex()
            numbers.append(str(value))
            return mark
        return value.isoformat() if isinstance(value, datetime) else str(value)

    text = json.dumps(
        document,
        default=other,
        ensure_ascii=ascii_only,
        allow_nan=False,
        indent=2 if pretty else None,
    )
    if numbers:
        pieces = text.split(f'"{mark}"')
        text = "".join(chain.from_iterable(zip(pieces, [*numbers, ""], strict=True)))
    # Unprintable characters occur only in strings; the line feeds between values are ours.
    return _UNUSUAL.sub(_escape, text) + "\n"


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]
