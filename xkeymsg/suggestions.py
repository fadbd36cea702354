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

from xkeymsg.display import cut
from xkeymsg.text import may_be_secret

__all__ = ("did_you_mean", "misspelt")

_DIGITS: Final = re.compile(r"\d+")
_MISSPELT: Final = 0.8
_NEAR: Final = 0.75
"""Lower: after an error, a wrong suggestion costs little."""
_SHORTEST: Final = 4
"""Minimum letters of a misspelt name: shorter names have too many neighbours."""
_MOST: Final = 256
"""Names that are compared: a daemon looks up peers for each message, and there may be many."""


def misspelt(one: str, other: str) -> bool:
    """Return whether two names differ in a few letters, and not just in a number."""
    if min(len(one), len(other)) < _SHORTEST:
        return False
    return _ratio(_matcher(other), one, _MISSPELT) > 0 and _is_other_word(one, other)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a suggestion to append to an error about an unknown name, or an empty text."""
    if may_be_secret(name):
        return ""
    best, near, matcher = 0.0, "", _matcher(name)
    for each in islice(names, _MOST):
        ratio = 1.0 if each.casefold() == name.casefold() else _ratio(matcher, each, _NEAR)
        is_near = ratio > best and _is_other_word(name, each)
        if is_near and not may_be_secret(each):
            best, near = ratio, each
    return f"; did you mean {cut(near)!r}?" if near else ""


def _matcher(name: str) -> SequenceMatcher[str]:
    return SequenceMatcher(None, "", cut(name), autojunk=False)  # it analyses its second text


def _ratio(matcher: SequenceMatcher[str], other: str, least: float) -> float:
    """Return the similarity, or 0 if it is less than `least`."""
    matcher.set_seq1(cut(other))
    if matcher.real_quick_ratio() < least or matcher.quick_ratio() < least:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= least else 0.0


def _is_other_word(one: str, other: str) -> bool:
    """Return whether more than a number differs: ward3 is not a misspelt ward4."""
    return _DIGITS.sub("", one) != _DIGITS.sub("", other)
