"""Near-miss suggestions for names: errors about an unknown name show the most similar known one.

Known names are public: settings, peers, permissions, sinks. A text that could be a secret gets no
suggestion, and none is suggested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import islice
from typing import Final

from xkeymsg.shown import cut
from xkeymsg.text import SECRETIVE

__all__ = ("did_you_mean", "misspelt")

_DIGITS: Final = re.compile(r"\d+")
_MISSPELT: Final = 0.8
_NEAR: Final = 0.75
"""Lower: after an error, a wrong suggestion costs little."""
_SHORTEST: Final = 4
"""Minimum letters of a misspelt name: shorter names have too many neighbours."""
_MOST: Final = 1_000
"""Names that are compared: peers are looked up for each message, and may be many."""


def misspelt(one: str, other: str) -> bool:
    """Return whether two names differ in a few letters, and not just in a number."""
    return min(len(one), len(other)) >= _SHORTEST and _ratio(one, other, _MISSPELT) > 0


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a suggestion to append to an error about an unknown name, or an empty text."""
    if SECRETIVE.search(name):
        return ""
    best, near = 0.0, ""
    for each in islice(names, _MOST):
        ratio = 1.0 if each.casefold() == name.casefold() else _ratio(name, each, _NEAR)
        if ratio > best and each != name and not SECRETIVE.search(each):
            best, near = ratio, each
    return f"; did you mean {cut(near)!r}?" if near else ""


def _ratio(one: str, other: str, least: float) -> float:
    """Return the similarity, or 0 if it is less than `least` or only a number differs."""
    if _DIGITS.sub("", one) == _DIGITS.sub("", other):
        return 0.0
    matcher = SequenceMatcher(None, cut(one), cut(other), autojunk=False)
    if matcher.real_quick_ratio() < least or matcher.quick_ratio() < least:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= least else 0.0
