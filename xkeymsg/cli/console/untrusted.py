"""Reads replies of unknown services: any client may send any reply, of any shape and size."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from xkeymsg.client.jetstream.api import nanoseconds
from xkeymsg.daemons.common.metrics import CODES, OTHER
from xkeymsg.envelope.head import from_milliseconds

__all__ = (
    "codes_in",
    "items_in",
    "minutes_ahead",
    "number_in",
    "parse_object",
    "seconds_in",
    "table_in",
    "text_in",
    "time_in",
)

_LONGEST: Final = 256
_LARGEST: Final = 2**53


def parse_object(data: bytes, most: int) -> dict[str, Any] | None:
    """Return the JSON object in a reply of at most `most` bytes; None if it is not one."""
    try:
        value = json.loads(data) if len(data) <= most else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_in(table: Mapping[str, Any], name: str, most: int = _LONGEST) -> str:
    """Return a text, cut to a length; empty if it is missing."""
    value = table.get(name)
    if not isinstance(value, str):
        return ""
    return value if len(value) <= most else f"{value[: most - 1]}…"


def number_in(table: Mapping[str, Any], name: str) -> int:
    """Return a count; 0 if it is missing."""
    value = table.get(name)
    return value if type(value) is int and 0 <= value <= _LARGEST else 0


def seconds_in(table: Mapping[str, Any], name: str) -> float | None:
    """Return a duration in seconds; None if it is missing."""
    value = table.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) and 0 <= found <= _LARGEST else None


def time_in(table: Mapping[str, Any], name: str) -> datetime | None:
    """Return a time (RFC 3339); None if it is missing."""
    try:
        return from_milliseconds(nanoseconds(text_in(table, name, 64)) // 10**6)
    except (ValueError, OverflowError):
        return None


def minutes_ahead(answer: Mapping[str, Any]) -> int:
    """Return by how many whole minutes the server's clock is ahead of ours; 0 if it is unknown."""
    at = time_in(answer, "ts")
    return 0 if at is None else int((at - datetime.now(UTC)).total_seconds() / 60)


def table_in(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a table; empty if it is missing."""
    value = table.get(name)
    return value if isinstance(value, dict) else {}


def items_in(table: Mapping[str, Any], name: str, most: int) -> Iterator[Mapping[str, Any]]:
    """Yield the tables of a list, at most `most`."""
    value = table.get(name)
    for each in value[:most] if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each


def codes_in(table: Mapping[str, Any], name: str) -> dict[str, int]:
    """Return counts by error code; unknown codes count as `error`."""
    counts: dict[str, int] = {}
    given = table_in(table, name)
    for key in list(given)[: len(CODES) + 1]:
        if count := number_in(given, key):
            code = key if key in CODES else OTHER
            counts[code] = counts.get(code, 0) + count
    return counts
