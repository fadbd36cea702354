"""A clock that a check drives, for everything in the package that reads one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from tests.envelope.cast import NOW, Clock
from xkeymsg import Opener, Sealer

__all__ = ("NOW", "Clock", "driven")

_LOADED = (Opener, Sealer)
"""Importing them loads every module that seals or opens."""


@contextmanager
def driven(start_ms: int = NOW) -> Iterator[Clock]:
    """Replace the time of day in all modules of the package within the block."""
    clock = Clock()
    clock.ms = start_ms
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("xkeymsg") and "now_ns" in vars(module):
                stack.enter_context(mock.patch.object(module, "now_ns", clock))
        yield clock
