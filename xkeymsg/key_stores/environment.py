"""Seeds in environment variables: for tests, and where nothing else is possible."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping, Sequence
from typing import Final

from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.released_key import MOST_SECRET, ReleasingProvider

__all__ = ("EnvironmentProvider",)

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_read: Final[dict[str, str]] = {}  # of the process, whose variables they were


class EnvironmentProvider(ReleasingProvider):
    """Environment variables.

    A variable is removed when it is read, so that programs started later do not inherit it, and
    kept for a reload. Linux shows the initial environment in /proc/PID/environ as long as the
    process runs.

    Args:
        environ: The environment.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._environ = environ

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return the value of a variable, and remove the variable."""
        if not _NAME.fullmatch(address):
            raise KeyStoreError("invalid variable name (allowed: letters, digits and '_')")
        value = self._environ.pop(address, None)
        if value is not None:
            _read[address] = value
        if address not in _read:
            raise KeyStoreError(f"the environment variable {address} is not set")
        content = _read[address].encode("utf-8", "surrogateescape")
        if len(content) > limit:
            raise KeyStoreError(f"the secret is longer than {limit} bytes")
        return content

    def facts(self, address: str) -> Sequence[str]:
        """Return the warning that belongs to a seed in the environment."""
        return (
            f"environment variable {address}; the seed is in memory while the program runs",
            "warning: the same user and root can read the seed in /proc/PID/environ until the"
            " program ends: use a file, or a credential of systemd",
        )
