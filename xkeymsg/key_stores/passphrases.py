"""Passphrases: from a terminal, or from another key store; never from arguments."""

from __future__ import annotations

import getpass
import os
import termios
import warnings
from collections.abc import Callable
from typing import Final

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.command import CommandProvider
from xkeymsg.key_stores.descriptor import DescriptorProvider
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.key_stores.released_key import ReleasingProvider
from xkeymsg.key_stores.systemd import SystemdProvider
from xkeymsg.refusals import refusing
from xkeymsg.text import without_mark

__all__ = ("TERMINAL", "TTY", "new_passphrase", "read_passphrase", "released_text")

TERMINAL: Final = "terminal"
TTY: Final = "/dev/tty"
_SOURCES: Final[dict[str, Callable[[], ReleasingProvider]]] = {
    "file": FileProvider,
    "systemd": SystemdProvider,
    "descriptor": DescriptorProvider,
    "command": CommandProvider,
}


@refusing
def read_passphrase(source: str, what: str) -> str:
    """Return a passphrase.

    Args:
        source: `terminal`, or a key store `file:`, `systemd:`, `descriptor:` or `command:`.
        what: What it opens, for the prompt.

    Raises:
        KeyStoreError: If it cannot be read.
    """
    if source == TERMINAL:
        return _typed(f"Passphrase of {what}: ")
    return released_text(source, "passphrase")


def released_text(source: str, what: str) -> str:
    """Return text that another key store releases, without the end of its line.

    Args:
        source: A key store `file:`, `systemd:`, `descriptor:` or `command:`.
        what: What the text is, for errors.

    Raises:
        KeyStoreError: If it cannot be read.
    """
    name, _, address = source.partition(":")
    if name.lower() not in _SOURCES:
        raise KeyStoreError(f"{what}: expected file:, systemd:, descriptor: or command:")
    content = without_mark(_SOURCES[name.lower()]().read(address))
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return content.decode()
    except UnicodeDecodeError:
        pass
    raise KeyStoreError(f"{what}: not UTF-8")  # outside: the exception has the content


@refusing
def new_passphrase(source: str, what: str) -> str:
    """Return a passphrase to protect something with; a terminal asks twice.

    Raises:
        KeyStoreError: If it cannot be read, or the two differ.
    """
    first = read_passphrase(source, f"{what} (new)")
    if source == TERMINAL and _typed("The same again: ") != first:
        raise KeyStoreError("the two passphrases differ")
    return first


def _typed(prompt: str) -> str:
    try:
        os.close(os.open(TTY, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        raise KeyStoreError(
            "no terminal to ask for the passphrase: use"
            " protected:passphrase=systemd:NAME PATH, or another source"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except (EOFError, OSError, termios.error):
        reason = "no passphrase was typed"
    except getpass.GetPassWarning:
        reason = "the terminal cannot hide the passphrase"
    except UnicodeDecodeError:
        reason = "passphrase: not UTF-8"
    raise KeyStoreError(reason)  # outside: an exception may have what was typed
