"""Limits of sealing and opening; each is checked before anything is allocated for the value."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, cast

from xkeymsg.errors import ConfigurationError
from xkeymsg.shown import safe_repr

__all__ = ("MAX_HEAD", "MAX_SUBJECT", "Limits")

MAX_HEAD: Final = 1024
"""Bytes of an envelope's head; fixed by the format (spec, "Limits")."""

MAX_SUBJECT: Final = 255
"""Bytes of a subject; fixed by the format."""

_OF_THE_FORMAT: Final = {
    "recipients": 1024,
    "parts": 64,
    "views": 256,
    "message_array": 65_536,
    "headers": 1000,
}
_AT_MOST: Final = {**_OF_THE_FORMAT, "depth": 256}  # documents are processed recursively


def _expected(default: int | timedelta) -> str:
    """Describe the type and unit of a value like this default."""
    if isinstance(default, int):
        return "an int"
    return f"a timedelta, such as timedelta(seconds={default // timedelta(seconds=1)})"


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits that a sealer and an opener enforce.

    The first group are limits of the format (docs/spec/envelope.md, "Limits"), which can only be
    lowered; the others are local.

    Raises:
        ConfigurationError: If a value is not positive, or exceeds the format's limit.
        TypeError: If a number is not an int, or a time is not a timedelta.
    """

    recipients: int = 1024
    """Recipients of one envelope."""
    parts: int = 64
    """Separately encrypted parts of one envelope."""
    views: int = 256
    """Distinct sets of granted parts in one envelope."""
    message_array: int = 65_536
    """Bytes of the encoded content type and headers."""
    headers: int = 1000
    """Sealed headers of one message."""

    envelope: int = 8 * 1024 * 1024
    """Bytes of a whole envelope."""
    max_age: timedelta = timedelta(minutes=5)
    """Greatest age of a message on arrival."""
    skew: timedelta = timedelta(seconds=30)
    """Greatest difference between the clocks of two machines."""
    replay_bytes: int = 64 * 1024 * 1024
    """Bytes of replay marks of all admitted senders, in each scope."""
    replay_bytes_unadmitted: int = 1024 * 1024
    """Bytes of replay marks of all other senders together."""
    replay_pending: int = 65_536
    """Messages of a stream that are opened but not settled, about 400 bytes each."""
    depth: int = 32
    """Nested containers in a document."""
    nodes: int = 1_000_000
    """Values of a document, plus the structure that encodes their places."""
    fields: int = 10_000
    """(Path, value) pairs in a document."""
    holes: int = 10_000
    """List items withheld from a reader."""

    def __post_init__(self) -> None:
        for field in fields(self):
            name, default = field.name, cast("Any", field.default)
            value = getattr(self, name)
            if type(value) is not type(default):  # True is an int for `isinstance`
                raise TypeError(f"limit {name} must be {_expected(default)}, not {value!r:.40}")
            if value < type(value)(0) or (not value and name != "holes"):
                raise ConfigurationError(f"limit {name} must be above 0")
            if value != min(value, _AT_MOST.get(name, value)):
                raise ConfigurationError(f"limit {name} must be at most {_AT_MOST[name]}")
