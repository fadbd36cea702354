"""What the programs need beyond the library, and what is said where that is not installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

__all__ = ("INSTALL", "needed")

INSTALL: Final = "pip install 'xkeymsg[programs]'"
"""What brings it."""
_PACKAGES: Final = frozenset({"click", "httpx", "prometheus_client", "pydantic"})
"""What the extra `programs` has: without it pip makes the programs all the same."""


@contextlib.contextmanager
def needed(program: str) -> Iterator[None]:
    """End the process with a line on stderr, and exit 1, where a part of the extra is missing.

    Nothing of the extra is used here, so that this much of a program always runs.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        if sys.stderr is not None:
            sys.stderr.write(f"{program}: {package} is not installed: {INSTALL}\n")
        sys.exit(1)
