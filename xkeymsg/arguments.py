"""Arguments of public functions: payloads, durations, and objects that do not change.

A payload is `bytes`, a `bytearray` or a `memoryview`. Every duration is a number of seconds, an
`int` or a `float`; there is no other unit.
"""

from __future__ import annotations

from typing import NoReturn

from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError

__all__ = ("Buffer", "Immutable", "as_bytes", "milliseconds")

Buffer = bytes | bytearray | memoryview
"""A payload."""


def as_bytes(name: str, value: Buffer) -> bytes:
    """Return a payload as bytes; a mutable buffer is copied, and so is a subclass of bytes.

    Raises:
        TypeError: If it is not a payload.
    """
    if type(value) is bytes:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(memoryview(value))  # `bytes(value)` is what a subclass says, of any class
    kind = type(value).__name__
    raise TypeError(f"{name} must be bytes, a bytearray or a memoryview, not {kind}")


def milliseconds(name: str, seconds: float) -> int:
    """Convert a duration in seconds.

    Raises:
        ConfigurationError: If it is not finite.
        TypeError: If it is not a number.
    """
    given: object = seconds  # whatever the annotation says
    if isinstance(given, bool) or not isinstance(given, int | float):
        kind = type(given).__name__
        raise TypeError(f"{name} must be a number of seconds, such as 300 or 0.5, not {kind}")
    if not abs(seconds) < 2**53:  # NaN, too
        raise ConfigurationError(f"{name} must be a finite number of seconds")
    return round(seconds * 1000)


class Immutable(SafeRepr):
    """Base class of objects whose attributes are set once, in the constructor."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(f"{type(self).__name__} is immutable: create another one")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")
