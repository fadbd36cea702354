"""How many examples a test generates: many more with `make fuzz`."""

from __future__ import annotations

import os
from typing import Final

__all__ = ("examples",)

_FACTOR: Final = float(os.environ.get("XKEYMSG_EXAMPLES", "1"))


def examples(count: int) -> int:
    """Return a number of examples for `max_examples`: the count, times XKEYMSG_EXAMPLES."""
    return max(1, round(count * _FACTOR))
