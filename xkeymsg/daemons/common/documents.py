"""Documents as JSON: in, and out what a reader may see.

In: JSON in UTF-8. A number with a fraction or an exponent is a float, the nearest one: numbers
whose digits change are reported, and one that would become 0 or infinite is refused. With exact
numbers every one of them is a Decimal instead. Any other number is an integer of any size. A name
twice in one object, NaN and Infinity, which JSON programs disagree about, are refused.

Out: JSON in UTF-8, of which nothing acts on a terminal: what is not printable is written as an
escape. A Decimal is a number with all its digits, and an exponent where it has one (`12.50`,
`1E-7`). Kinds that JSON lacks are texts:

    bytes       "AP8="                              base64
    time        "2026-03-01T09:30:00.250000-03:30"  ISO 8601, with its offset
    UUID        "018f428e-34f6-4707-8009-5ad742f901e7"
    withheld    null, or {"$withheld": true}        a list's item that this reader may not see

So it is for people and scripts: a program that has to tell a time from a text opens the document
itself.
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
"""What is not a digit above 0 in the digits of a number, its exponent included."""
_KEEPS: Final = 'exact numbers (numbers = "exact", --exact) keep it'

OnLoss = Callable[[int, Callable[[], str]], object]
"""Told how many numbers of a document have other digits as floats, and how to find the first."""


class _Odd(NamedTuple):
    """Stands in a document for a value that is refused, or a number whose digits change."""

    reason: str
    digits: int = 0
    """Of an integer that has too many."""


@refusing
def parse_document(data: bytes, *, exact: bool = False, on_loss: OnLoss | None = None) -> Any:
    """Read a document in JSON; a byte order mark in front is skipped.

    Args:
        data: JSON in UTF-8.
        exact: Whether numbers with a fraction or an exponent become Decimals, and not floats.
        on_loss: Told of numbers whose digits change.

    Raises:
        MalformedError: If it is not JSON in UTF-8, repeats a name in an object, or has a number
            that cannot be kept; names the place.
        LimitExceededError: If an integer has too many digits; names the place.
    """
    reader = _Reader(exact=exact)
    document = reader.read(data)
    if reader.faults:
        raise _located(document)
    if reader.losses and on_loss is not None:
        on_loss(reader.losses, lambda: _place_of_first_loss(data))
    return document


class _Reader:
    """Reads JSON once. Where a value is odd, an `_Odd` stands in the document."""

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
        # Raised out here: what Python raises would hold the text.
        raise MalformedError(f"the document is {reason}")

    def _fault(self, reason: str, digits: int = 0) -> _Odd:
        self.faults += 1
        return _Odd(reason, digits)

    def _object(self, pairs: list[tuple[str, Any]]) -> Any:
        members = dict(pairs)
        # Which name is not said: it goes to a log, and is not needed to find the object.
        return members if len(members) == len(pairs) else self._fault("an object with a name twice")

    def _integer(self, text: str) -> Any:
        digits = len(text.removeprefix("-"))
        return int(text) if digits <= MAX_DIGITS else self._fault("digits of an integer", digits)

    def _decimal(self, text: str) -> Any:
        try:
            return Decimal(text)
        except ArithmeticError:
            return self._fault("a number with an exponent out of range")

    def _float(self, text: str) -> Any:
        value = float(text)
        if repr(value) == text:
            return value
        if not math.isfinite(value):
            return self._fault(f"a number too large for a float; {_KEEPS}")
        if not value and _NOT_ZERO.sub("", text):
            return self._fault(f"a number so small that it becomes 0 as a float; {_KEEPS}")
        if _loses(text, value):
            self.losses += 1
            if self._marks_losses:
                return _Odd("")
        return value

    def _constant(self, text: str) -> Any:
        return self._fault(f"{text}, which is not a number of JSON")


def _loses(text: str, value: float) -> bool:
    """Tell whether a float is another number than a text, or is printed with fewer digits."""
    try:
        given, kept = Decimal(text), Decimal(repr(value))
    except ArithmeticError:  # 0 with an exponent beyond all
        return True
    return given != kept or _exponent(given) < _exponent(kept)


def _exponent(number: Decimal) -> int:
    return int(number.as_tuple().exponent)


def _place_of_first_loss(data: bytes) -> str:
    path, _ = _first_odd(_Reader(marks_losses=True).read(data))
    return place(path)


def _located(document: Any) -> MalformedError | LimitExceededError:
    """Return the error for the first value that is refused."""
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
    """Return what a reader may see, as JSON that cannot act on a terminal; with a line feed.

    Args:
        document: The document of a view.
        pretty: Whether to indent it; else it is one line.
        show_withheld: Whether items that are withheld are to differ from null.
        ascii_only: Whether to escape everything beyond ASCII, too.
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
            # `json` writes no number but its own: a text that no document can hold stands for it.
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
    # What is not printable stands in texts alone: the line feeds between them are ours.
    return _UNUSUAL.sub(_escape, text) + "\n"


def _escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]
