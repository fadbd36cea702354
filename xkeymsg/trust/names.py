"""Validation of user names, and detection of names that look alike (T-10, T-17)."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

__all__ = ("fold_name", "is_name")

_MAX_NAME: Final = 64
_BARRED: Final = re.compile(
    # Separators, wildcards, and characters that are invisible despite their category.
    r"[/:*>\s\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    r"\U0001d159\U000e0100-\U000e01ef]"
)
_LIKE_A_KEY: Final = re.compile(r"[A-Za-z2-7]{54,60}")


def is_name(text: str) -> bool:
    """Return whether a text is a valid user name."""
    if not 0 < len(text) <= _MAX_NAME or _BARRED.search(text) or _LIKE_A_KEY.fullmatch(text):
        return False
    if text.isascii():
        return text.isprintable()
    if not unicodedata.is_normalized("NFC", text) or _BARRED.search(fold_name(text)):
        return False
    return not any(unicodedata.category(character)[0] in "CZ" for character in text)


def fold_name(name: str) -> str:
    """Return the folded form, which two valid users of an account must not share (T-17).

    Names with one form differ in case, or in compatibility characters; homoglyphs have two.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
