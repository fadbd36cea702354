"""What a way to seal for several recipients has to offer, to be compared with the others."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ("Operations", "Scheme", "library")


class Operations(NamedTuple):
    """One sender, some recipients, and some data: what is measured of them.

    Keys are read before; sealing ends with the bytes that are sent, and opening begins with them.
    """

    seal: Callable[[], object]
    open: Callable[[], bytes]
    """As the last of the recipients."""
    sent: int
    """Bytes that one sealing puts on the wire, for all recipients together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """A contender of the suite `envelope`."""

    name: str
    prepare: Callable[[int, bytes], Operations]
    """From a number of recipients, and the data."""
    needs: str = ""
    """The library it is of, where that is optional."""
    boxes: bool = False
    """Whether the data is sealed once for each recipient."""
    only_opens: bool = False
    """Whether another scheme's sealing stands for this one's, too."""

    @property
    def is_installed(self) -> bool:
        """Whether its library is there."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def library(name: str) -> Any:
    """Import an optional library, untyped: type checking does not need it installed."""
    return importlib.import_module(name)
