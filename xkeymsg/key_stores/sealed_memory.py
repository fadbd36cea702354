"""Sealed memory: secrets for code that reads only files."""

from __future__ import annotations

import fcntl
import os
from typing import Final

__all__ = ("sealed_memory",)

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


def sealed_memory(name: str, content: bytes) -> int:
    """Return a descriptor of memory that nobody can change; the caller closes it.

    Its file name is `/proc/self/fd/N`. Other programs that this process starts do not inherit it.
    """
    number = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(number, "wb", closefd=False) as file:
            file.write(content)
        fcntl.fcntl(number, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(number)
        raise
    return number
