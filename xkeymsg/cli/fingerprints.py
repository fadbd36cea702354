"""Comparison of a key's fingerprint with a text that somebody reads out."""

from __future__ import annotations

import hmac
import re
from typing import Final

from xkeymsg.errors import KeyFormatError
from xkeymsg.keys import XKey

__all__ = ("is_fingerprint_of",)

_SEPARATORS: Final = re.compile(r"[\W_]+")
_LOOKALIKES: Final = str.maketrans({"0": "O", "1": "I", "8": "B"})
"""Digits outside the alphabet, and the letters they are mistaken for."""


def is_fingerprint_of(xkey: XKey, spoken: str) -> bool:
    """Return whether a text is the whole fingerprint of a key; case and grouping are ignored.

    Raises:
        KeyFormatError: If it is not a fingerprint; a part of one is too short to compare.
        TypeError: If `spoken` is not a str.
    """
    if not isinstance(spoken, str):
        raise TypeError(f"a fingerprint must be a str, not {type(spoken).__name__}")
    text = _SEPARATORS.sub("", spoken).upper().translate(_LOOKALIKES)
    if not re.fullmatch(r"[A-Z2-7]{20}", text):
        raise KeyFormatError("a fingerprint is 20 letters A-Z and digits 2-7, in any groups")
    return hmac.compare_digest(text, xkey.fingerprint.replace("-", ""))
