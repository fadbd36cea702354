"""Limits of sealing and opening, and replay policies.

Each limit is checked before anything is allocated for the value.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from xkeymsg.arguments import milliseconds
from xkeymsg.display import safe_repr
from xkeymsg.errors import ConfigurationError

__all__ = ("MAX_HEAD", "MAX_SUBJECT", "AtRest", "Limits", "Live", "Replay", "Stream")

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


@safe_repr
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits that a sealer and an opener enforce.

    The first group are limits of the format (docs/spec/envelope.md, "Limits"), which can only be
    lowered; the others are local.

    Raises:
        ConfigurationError: If a value is not positive, or exceeds the format's limit.
        TypeError: If a count is not an int, or a duration is not a number of seconds.
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
    max_age: float = 300.0
    """Greatest age of a message on arrival, in seconds."""
    skew: float = 30.0
    """Greatest difference between the clocks of two machines, in seconds."""
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
            name, value = field.name, getattr(self, field.name)
            if isinstance(field.default, float):
                value = milliseconds(f"limit {name}", value)
            elif type(value) is not int:  # True is an int for `isinstance`
                raise TypeError(f"limit {name} must be an int, not {type(value).__name__}")
            if value < 0 or (not value and name != "holes"):
                raise ConfigurationError(f"limit {name} must be above 0")
            if value > _AT_MOST.get(name, value):
                raise ConfigurationError(f"limit {name} must be at most {_AT_MOST[name]}")


@safe_repr
@dataclass(frozen=True, slots=True)
class _Fresh:
    max_age: float | None = None
    """Greatest age of a message, in seconds; `Limits.max_age` by default."""

    def __post_init__(self) -> None:
        self.limits(Limits())

    def limits(self, limits: Limits) -> Limits:
        """Return these limits with the policy's age."""
        return limits if self.max_age is None else replace(limits, max_age=self.max_age)


class Live(_Fresh):
    """A replay policy: a message must be fresh on arrival, and opens once.

    A call with a position follows the rules of `Stream`.

    Raises:
        ConfigurationError: If `max_age` is not above 0.
        TypeError: If `max_age` is not a number of seconds.
    """

    __slots__ = ()


class Stream(_Fresh):
    """A replay policy: a message must have been fresh when it was stored, and is handled once.

    Each call must give the message's position in the stream. A message opens again, as a
    redelivery, until it is settled.

    Raises:
        ConfigurationError: If `max_age` is not above 0.
        TypeError: If `max_age` is not a number of seconds.
    """

    __slots__ = ()


@safe_repr
@dataclass(frozen=True, slots=True)
class AtRest:
    """No replay policy, for data at rest, such as files: no replay protection at all.

    A message of any age opens any number of times.
    """

    def limits(self, limits: Limits) -> Limits:
        """Return the limits unchanged."""
        return limits


Replay = Live | Stream | AtRest
"""What an `Opener` remembers of the messages that it has opened."""
