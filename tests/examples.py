"""How many examples a test generates: few on every run, many with `make fuzz`."""

from __future__ import annotations

import os
from typing import Final

__all__ = ("examples",)

_FACTOR: Final = int(os.environ.get("XKEYMSG_EXAMPLES", "1"))


def examples(count: int) -> int:
    """Return a number of examples for `max_examples`; `make fuzz` multiplies it."""
    return count * _FACTOR
