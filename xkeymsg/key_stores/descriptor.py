"""Seeds that a parent process passes on an open file descriptor."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.released_key import MOST_SECRET, ReleasingProvider, readable

__all__ = ("DescriptorProvider",)

_PATIENCE: Final = 30.0
"""Seconds in which the text must arrive."""
_read: Final[dict[int, bytes]] = {}  # of the process, whose descriptors they were
_lock: Final = Lock()


class DescriptorProvider(ReleasingProvider):
    """Inherited descriptors: a pipe, a file, or a memfd, read to its end once, then closed."""

    addressed_by = "Number"

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return what a descriptor holds; after the first time, from memory.

        The number may belong to another file by then.
        """
        if not (address.isascii() and address.isdecimal() and len(address) < 7):
            raise KeyStoreError("expected the number of an open file descriptor")
        number = int(address)
        with _lock:
            if number not in _read:
                _read[number] = _content(number, limit)
            return _read[number]

    def facts(self, address: str) -> Sequence[str]:
        """Return that a reload keeps the key."""
        return (
            f"file descriptor {address}; the seed is in memory while the program runs",
            "read once: a reload keeps this key",
        )


def _content(number: int, limit: int) -> bytes:
    if number in (1, 2):
        raise KeyStoreError(f"file descriptor {number} is for output")
    content, end = b"", time.monotonic() + _PATIENCE
    try:
        while len(content) <= limit:
            if not readable(number, end - time.monotonic()):
                raise KeyStoreError(
                    f"file descriptor {number} did not end within {_PATIENCE:.0f} seconds: close"
                    " its other end"
                )
            more = os.read(number, limit + 1 - len(content))
            if not more:
                break
            content += more
        if number == 0:  # the next file that is opened must not become stdin
            with Path(os.devnull).open("rb") as empty:
                os.dup2(empty.fileno(), number)
        else:
            os.close(number)
    except OSError as error:
        raise KeyStoreError(f"cannot read file descriptor {number}: {error.strerror}") from None
    return content
