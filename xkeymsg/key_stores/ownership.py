"""Shared by providers that write: the form of xkey certificates, and the lock of an owner.

The file of the lock also has the time at which somebody asked the owner to replace its key. The
owner need not remember or delete that: once its key is newer, the request is fulfilled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.paths import replaceable
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import lock_file

__all__ = (
    "MOST_CERTIFICATE",
    "StoreOwnedError",
    "ask_owner",
    "asked",
    "check_certificate",
    "held_lock",
    "is_certificate",
)

MOST_CERTIFICATE: Final = 16 << 10
"""Characters of an xkey certificate."""
_DIGITS: Final = 12


class StoreOwnedError(KeyStoreError):
    """Another process holds the lock of the key store."""


def is_certificate(text: str) -> bool:
    """Return whether a store can hold a certificate: one line of printable ASCII."""
    return 0 < len(text) <= MOST_CERTIFICATE and text.isascii() and text.isprintable()


def check_certificate(text: str) -> str:
    """Return a certificate that a store can hold; see `is_certificate`.

    Raises:
        KeyStoreError: If it cannot be held.
    """
    if not is_certificate(text):
        raise KeyStoreError(
            f"expected a certificate: one line of at most {MOST_CERTIFICATE} ASCII characters"
        )
    return text


@contextmanager
def held_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, created if missing; the end of the process releases it.

    Raises:
        StoreOwnedError: If another process holds it.
        KeyStoreError: If it cannot be opened, or other users could put another file there, which
            would not be locked.
    """
    try:
        descriptor = lock_file(path)
        part = replaceable(path)
    except BlockingIOError:
        raise StoreOwnedError(
            f"{path_text(path)}: another process changes this key store; only one may own it"
        ) from None
    except OSError as error:
        raise KeyStoreError(f"cannot lock {path_text(path)}: {error.strerror}") from None
    try:
        if part is not None:
            raise KeyStoreError(
                f"{path_text(path)} is not a safe lock: other users can change {path_text(part)}"
            )
        yield
    finally:
        os.close(descriptor)


def ask_owner(path: Path, at: int) -> None:
    """Write to the file of a lock that a key older than `at` is to be replaced.

    Raises:
        KeyStoreError: If there is no lock, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.pwrite(descriptor, f"{at:0{_DIGITS}}\n".encode(), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyStoreError(f"cannot write {path_text(path)}: {error.strerror}") from None


def asked(path: Path) -> int:
    """Return the time in the file of a lock; 0 without one."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            text = os.read(descriptor, _DIGITS)
        finally:
            os.close(descriptor)
    except OSError:
        return 0
    return int(text) if len(text) == _DIGITS and text.isdigit() else 0
