"""Reads data from buffers, files and async iterables, in blocks of one length."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from typing import BinaryIO, Final

from xkeymsg.arguments import Buffer, as_bytes
from xkeymsg.client.threads import in_thread

__all__ = ("Source", "blocks", "check_source", "rewinder")

Source = Buffer | BinaryIO | AsyncIterable[Buffer]
"""Bytes, a file that is open for reading bytes, or an async iterable of bytes."""

_READ: Final = 1 << 20
"""Bytes that are read from a file at once: a thread costs as much as sealing 50 KiB."""


def check_source(source: object) -> None:
    """Refuse a source of another type.

    Raises:
        TypeError: If it is neither of these.
    """
    file = hasattr(source, "read") and hasattr(source, "seekable")
    if not (file or isinstance(source, bytes | bytearray | memoryview | AsyncIterable)):
        kind = type(source).__name__
        raise TypeError(f"data must be bytes, a binary file or an async iterable, not {kind}")


async def blocks(source: Source, size: int) -> AsyncGenerator[tuple[Buffer, bool], None]:
    """Yield blocks of `size` bytes, and whether a block is the last, which may be shorter.

    Raises:
        TypeError: If the source yields something else than bytes.
        Exception: As the source does.
    """
    held = bytearray()
    async with aclosing(_pieces(source)) as pieces:
        async for piece in pieces:
            held += piece
            at = 0
            while len(held) - at > size:  # more than a block: this one is not the last
                yield bytes(held[at : at + size]), False
                at += size
            del held[:at]
    yield bytes(held), True


async def _pieces(source: Source) -> AsyncGenerator[Buffer, None]:
    if isinstance(source, bytes | bytearray | memoryview):
        view = memoryview(source).cast("B")
        for at in range(0, len(view), _READ):
            yield view[at : at + _READ]
    elif isinstance(source, AsyncIterable):
        async for each in source:
            yield as_bytes("a piece of the data", each)
    else:
        while piece := as_bytes("a file's data", await in_thread(source.read, _READ)):
            yield piece


def rewinder(source: Source) -> Callable[[], object] | None:
    """Return what makes a source begin again where it is now; None if it cannot."""
    if isinstance(source, bytes | bytearray | memoryview):
        return lambda: None
    if isinstance(source, AsyncIterable) or not source.seekable():
        return None
    at = source.tell()
    return lambda: source.seek(at)
