"""Parsing of patterns, which name places in a document (spec, "Patterns").

    pattern = "" / 1*("/" segment)
    segment = "**" / ("*" / name / string) *("[" (name / string) "=" value "]")

`*` matches one segment, `**` any number of segments. A filter tests a member of the map that its
segment reaches. A name that contains one of `/ " [ ] { } . *` is written as a JSON string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from json import dumps, loads
from typing import Final, NamedTuple
from unicodedata import combining, normalize

from xkeymsg.errors import PolicyError
from xkeymsg.spelling import fault, quoted, spellings

__all__ = ("EMPTY", "Filter", "Segment", "fold", "number_of", "parse_pattern", "pointer")


class Filter(NamedTuple):
    """A member that a map must have to match."""

    name: str
    kind: type
    """Distinguishes `true` from 1, which are equal in Python."""
    value: str | int | None


EMPTY: Final = Filter("", list, None)
"""The filter that only null, {} and [] pass; used only in policies of models."""


class Segment(NamedTuple):
    """One step of a pattern."""

    name: str | None = None
    """None stands for `*`."""
    filters: frozenset[Filter] = frozenset()
    deep: bool = False
    """Whether it is `**`."""


_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_NAME: Final = r'(?:[^/"\[\]{}.*~]|~[012])+'
_MEMBER: Final = r'(?:[^/"\[\]{}.*~=!<>?^|$]|~[012])+'
_VALUE: Final = rf"{_STRING}|-?(?:0|[1-9][0-9]{{0,4299}})|true|false|null"
_FILTER: Final = rf"\[(?:{_STRING}|{_MEMBER})=(?:{_VALUE})\]"
_TEST: Final = re.compile(rf"\[({_STRING}|{_MEMBER})=({_VALUE})\]", re.DOTALL)
_SEGMENT: Final = re.compile(
    rf"/(?:\*\*|(\*|{_STRING}|{_NAME})((?:{_FILTER})*))(?=/|\Z)", re.DOTALL
)
_BARE: Final = re.compile(_NAME)
_NOT_BARE: Final = re.compile(r"-\Z|:|\s|.*(?:\s\Z|%2[Ff])", re.DOTALL)
"""Names that need quotes although all their characters are allowed without."""
_ESCAPES: Final = (("~2", "*"), ("~1", "/"), ("~0", "~"))
_SEGMENTS: Final = 256
"""Maximum segments of a pattern; no document is deeper (`Limits.depth`)."""


def parse_pattern(text: str) -> tuple[Segment, ...]:
    """Parse a pattern; drop a `**` at its end, as a pattern covers everything below its place.

    Raises:
        PolicyError: If the text is not a valid pattern (F-30); suggests the right spelling.
    """
    if not isinstance(text, str):
        raise PolicyError(f"a pattern must be a str, not {type(text).__name__}")
    segments = _read(text)
    if isinstance(segments, int):
        right = [each for each in spellings(text, segments) if isinstance(_read(each), list)]
        raise PolicyError(fault(text, segments, right))
    if len(segments) > _SEGMENTS:
        raise PolicyError(f"pattern {quoted(text)} has more than {_SEGMENTS} segments")
    if sum(segment.deep for segment in segments) > 1:
        fix = "; the last one is redundant: remove it" if segments[-1].deep else ""
        raise PolicyError(f"pattern {quoted(text)} has more than one **{fix}")
    return tuple(segments[:-1] if segments and segments[-1].deep else segments)


def _read(text: str) -> list[Segment] | int:
    """Return the segments of a pattern, or the offset of the first invalid segment."""
    segments: list[Segment] = []
    at = 0
    while at < len(text):
        found = _SEGMENT.match(text, at)
        if found is None:
            return at
        name, filters = found.groups("")
        try:
            tests = [(_literal(member), loads(value)) for member, value in _TEST.findall(filters)]
            "".join([value for _, value in tests if isinstance(value, str)]).encode()
            literal = None if name in ("", "*") else _literal(name)
        except ValueError:  # invalid JSON or UTF-8, or missing quotes
            return at
        each = frozenset([Filter(member, type(value), value) for member, value in tests])
        segments.append(Segment(literal, each, not name))
        at = found.end()
    return segments


def _literal(text: str) -> str:
    """Return the unescaped name.

    Raises:
        ValueError: If it is invalid, or needs quotes.
    """
    if text.startswith('"'):
        text = loads(text)
    elif _NOT_BARE.match(text):
        raise ValueError
    else:
        for escape, character in _ESCAPES:
            text = text.replace(escape, character)
    text.encode()  # raises on lone surrogates, which documents cannot contain
    return text


def pointer(path: Iterable[str | int]) -> str:
    """Return the pattern for one path of names and indices (F-33)."""
    return "".join([f"/{_spelt(str(segment))}" for segment in path])


def _spelt(name: str) -> str:
    bare = name
    for escape, character in reversed(_ESCAPES):
        bare = bare.replace(character, escape)
    if _BARE.fullmatch(bare) and not _NOT_BARE.match(bare) and name.isprintable():
        return bare
    return dumps(name, ensure_ascii=not name.isprintable())


_UNSEEN: Final = re.compile(
    "[\\s\0-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U00013441"
    "\U00016fe4\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # Enclosing marks.
    "\u0488\u0489\u1abe\u20dd-\u20e0\u20e2-\u20e4\ua670-\ua672]+"
)
_LETTERS: Final = {0, 9, *range(84, 133)}
"""Combining classes of marks that write vowels and tones, and so distinguish words."""
_FOLDED: Final = 256
"""Maximum visible characters of a folded name: normalization can take quadratic time."""
_NUMBER: Final = re.compile(r"(?a:[+-]?(\d{1,4300}(\.\d{0,4300})?|\.\d{1,4300})(e[+-]?\d{1,5})?)")


def fold(name: str) -> str:
    """Return the folded form: names with one form differ in case, marks or the like (F-64).

    Homoglyphs have different forms.
    """
    seen = name if name.isascii() and name.isalnum() else _UNSEEN.sub("", name)
    if len(seen) > _FOLDED:
        return name
    if seen.isascii():
        return seen.lower()
    seen = normalize("NFKC", normalize("NFKC", seen).casefold())
    return "".join([each for each in _UNSEEN.sub("", seen) if combining(each) in _LETTERS])


def number_of(folded: str) -> Decimal | None:
    """Return the number that a folded text represents: `true` is 1 and `false` is 0 (F-63)."""
    folded = {"true": "1", "false": "0"}.get(folded, folded)
    return Decimal(folded) if _NUMBER.fullmatch(folded) else None
