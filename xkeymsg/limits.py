"""Every bound in one place; each is checked before anything is allocated for what it bounds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, cast

from xkeymsg.errors import ConfigurationError
from xkeymsg.shown import safe_repr

__all__ = ("MAX_HEAD", "MAX_SUBJECT", "Limits")

MAX_HEAD: Final = 1024
"""Bytes of an envelope's head; of the format (spec, "Limits")."""

MAX_SUBJECT: Final = 255
"""Bytes of a subject; of the format."""

_OF_THE_FORMAT: Final = {
    "recipients": 1024,
    "parts": 64,
    "views": 256,
    "message_array": 65_536,
    "headers": 1000,
}
_AT_MOST: Final = {**_OF_THE_FORMAT, "depth": 256}  # Python's own stack has to hold a document


def _expected(default: int | timedelta) -> str:
    """Say the type, and the unit, of a value like this default."""
    if isinstance(default, int):
        return "an int"
    return f"a timedelta, such as timedelta(seconds={default // timedelta(seconds=1)})"


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sealer makes and an opener takes at most.

    The first group are limits of the format (docs/spec/envelope.md, "Limits"), which can be lowered
    and not raised; the others are local.

    Raises:
        ConfigurationError: If a value is not positive, or above the format's.
        TypeError: If a number is not an int, or a time not a timedelta.
    """

    recipients: int = 1024
    """Recipients of one envelope."""
    parts: int = 64
    """Separately encrypted parts of one envelope."""
    views: int = 256
    """Distinct sets of parts that are granted in one envelope."""
    message_array: int = 65_536
    """Bytes of the encoded content type and headers."""
    headers: int = 1000
    """Sealed headers of one message."""

    envelope: int = 8 * 1024 * 1024
    """Bytes of a whole envelope."""
    max_age: timedelta = timedelta(minutes=5)
    """How old a message may be when it comes."""
    skew: timedelta = timedelta(seconds=30)
    """How far the clocks of two machines may differ."""
    replay_bytes: int = 64 * 1024 * 1024
    """Bytes of replay marks of all admitted senders, in each scope."""
    replay_bytes_unadmitted: int = 1024 * 1024
    """Bytes of replay marks of all other senders together."""
    replay_pending: int = 65_536
    """Messages of a stream that are opened and not yet settled, of about 400 bytes each."""
    depth: int = 32
    """Containers of a document one in another."""
    nodes: int = 1_000_000
    """Values of a document, with all that describes where they are."""
    fields: int = 10_000
    """Pairs of path and value of a document."""
    holes: int = 10_000
    """Positions of lists that a reader may not see."""

    def __post_init__(self) -> None:
        for field in fields(self):
            name, default = field.name, cast("Any", field.default)
            value = getattr(self, name)
            if type(value) is not type(default):  # True is an int for `isinstance`
                raise TypeError(f"limit {name} is {_expected(default)}, not {value!r:.40}")
            if value < type(value)(0) or (not value and name != "holes"):
                raise ConfigurationError(f"limit {name} has to be above 0")
            if value != min(value, _AT_MOST.get(name, value)):
                raise ConfigurationError(f"limit {name} cannot be above {_AT_MOST[name]}")
