"""Similarity of names: misspellings, plurals, and names with the same words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from unicodedata import normalize

from xkeymsg.display import cut
from xkeymsg.fields.pattern import fold
from xkeymsg.suggestions import misspelt

__all__ = ("is_similar",)

_WORDS: Final = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SHORTEST: Final = 4
"""Minimum letters of a plural in -ies."""


def _words(name: str) -> list[str]:
    parts = _WORDS.split(normalize("NFC", cut(name)))
    return [_singular(fold(each)) for each in parts if each]


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > _SHORTEST:
        return f"{word[:-3]}y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and word[-2:] != "ss" and len(word) > 2 else word


@lru_cache(maxsize=100_000)
def is_similar(one: str, other: str) -> bool:
    """Return whether two different names may mean the same, or one a kind of the other."""
    words = _words(one), _words(other)
    if one == other or not all(words):
        return False
    if "".join(words[0]) == "".join(words[1]):
        return True
    short, long = sorted(words, key=len)
    starts = range(len(long) - len(short) + 1)
    if any(long[at : at + len(short)] == short for at in starts) and max(map(len, short)) > 1:
        return True
    return misspelt(*map("".join, words)) or misspelt(fold(cut(one)), fold(cut(other)))
