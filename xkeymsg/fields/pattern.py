"""Patterns and pointers: the names of places in a document (spec, "Patterns").

A pointer is that of RFC 6901: `/patient/name/0`, with `~0` for `~` and `~1` for `/` in a name. A
pattern is a pointer in which a segment may be `*`, which is any one segment, and the last one `**`,
which is this place and everything below it. A name that is `*` itself is written `~2`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from xkeymsg.errors import PolicyError

__all__ = ("ANY", "BELOW", "parse_pattern", "pointer")

ANY: Final = "*"
BELOW: Final = "**"

_ESCAPE: Final = re.compile(r"~[012]|~")
_MEANING: Final = {"~0": "~", "~1": "/", "~2": "*"}

Segment = tuple[str, bool]
"""A name, or `*` or `**`, and whether it is one of those."""


def pointer(path: Iterable[str | int]) -> str:
    """Return the pattern that matches a place, given as names and indices, and no other (F-33)."""
    return "".join(f"/{_escape(segment)}" for segment in path)


def _escape(segment: str | int) -> str:
    return str(segment).replace("~", "~0").replace("/", "~1").replace("*", "~2")


def parse_pattern(text: str) -> tuple[Segment, ...]:
    """Read a pattern.

    Raises:
        PolicyError: If it is none; the message says why.
    """
    if not isinstance(text, str):
        raise PolicyError(f"a pattern is text, not {type(text).__name__}")
    if not text:
        return ()
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PolicyError("a pattern that is not Unicode text")
    if not text.startswith("/"):
        raise PolicyError(f"pattern {text!r} does not begin with /")
    segments = tuple(_segment(text, segment) for segment in text[1:].split("/"))
    if (BELOW, True) in segments[:-1]:
        raise PolicyError(f"pattern {text!r} has ** before its end")
    return segments


def _segment(text: str, segment: str) -> Segment:
    if segment in (ANY, BELOW):
        return segment, True
    if "*" in segment:
        raise PolicyError(f"pattern {text!r}: * is a whole segment; the character is written ~2")
    if "~" in _ESCAPE.findall(segment):
        raise PolicyError(f"pattern {text!r}: ~ is written ~0")
    return _ESCAPE.sub(lambda match: _MEANING[match[0]], segment), False
