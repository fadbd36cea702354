"""Advice in errors about invalid patterns, such as those in another syntax.

For messages only: `fields.pattern` decides whether a text is a valid pattern.
"""

from __future__ import annotations

import re
from json import dumps
from typing import Final

from xkeymsg.text import masked

__all__ = ("fault", "quoted", "spellings")

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_VALUE: Final = rf"{_STRING}|-?(?:0|[1-9][0-9]*)|true|false|null"
_SHOWN: Final = 200
"""Maximum characters of a pattern in an error."""
_FAULTS: Final = (
    (r"\Z", "an empty segment"),
    (r"\s|.*\s\Z", "white space at the start or end of a name"),
    (r"-\Z|:", "a placeholder from another syntax"),
    (r"[^\[]*\.", "a dot"),
    (r".*%2[Ff]", "a percent escape"),
    (r".*\{", "braces"),
    (r".*\[", 'brackets that are not a filter such as [name="value"]'),
    (r".*\*", "a * within a name"),
    (r".*~", "a ~ that is not followed by 0, 1 or 2"),
    ("", "a character that needs quotes"),
)
_AND: Final = r"\s*(?:,|&&?|\band\b)\s*"
_ADVICE: Final = (
    (r"\A/\Z", """it has an empty name: write "" or "/**" for the whole document, or '/""' for a"""
     " member with an empty name"),
    (r"\A/?!", "negation is not supported: put the exception into an earlier rule"),
    (r"\[[^\]]*(?:\||\bor\b)", "a filter has one value: write one pattern for each value"),
    (r"""\[[^\]="']*[!<>~^$]""", "a filter only tests equality (=)"),
    (r"\[[^\]=]*==?\s*[-+]?[0-9]*\.[0-9]", "a filter tests strings, integers, true, false and null,"
     " but no fractions"),
    (rf"\[[^\]=]*=[^\]=]*{_AND}[^\]=]*=", "a filter has one condition: write one filter for each,"
     """ as in [a="x"][b="y"]"""),
)  # fmt: skip
"""Mistakes that replacing the segment would not fix."""
_FILTERS: Final = (
    (rf"(?<=[\w\"']){_AND}(?=[\w-]+\s*=[^\[]*\])", "]["),
    (r"\[\?\(?@\.([\w-]+)\s*==?\s*([^\])]*)\)?\]", r"/*[\1=\2]"),
    (r"(?<=/)(?=\[[\w-]+\s*=)", "*"),
    (r"\[\s*([\w-]+)\s*==?\s*([^\]]*?)\s*\]", r"[\1=\2]"),
    (rf"""(?<==)(?!(?:{_VALUE})\])["']?([^\]"']*)["']?(?=\])""", r'"\1"'),
    (r"""\[["']([^\]"']*)["']\]""", r'/"\1"'),
)
_FORMS: Final = (
    (r"\A[#$@]+(?=[./\[]|\Z)", ""),
    (r"\.\.", "/**/"),
    (r"\[\*?\]|(?<=/)(?:-|:\w+|\[?\{\w*\}\]?)(?=/|\Z)", "/*"),
    (r"\[(\d+)\]", r"/\1"),
    (r"%2[Ff]|\.", "/"),
    (r"(?:\s*/)+\s*", "/"),
)
"""Path syntax of other languages, and its replacement."""


def fault(text: str, at: int, right: list[str]) -> str:
    """Return an error for a text whose segment at `at` is invalid; `right` are valid spellings."""
    segment = _segment(text, at)
    tail = text[at : at + _SHOWN]
    for form, advice in _ADVICE:
        if re.search(form, tail) and not (at and form.startswith(r"\A")):
            fix = f": {quoted(right[0])}" if "[" in advice and right else ""
            return f"invalid pattern {quoted(text)}: {advice}{fix}"
    found = next(reason for form, reason in _FAULTS if re.match(form, segment, re.DOTALL))
    reason = f"it contains {found}" if text.startswith("/", at) else "a segment must start with /"
    fix = f"; write {' or '.join(map(quoted, right))}" if right else ""
    return f"invalid pattern {quoted(text)}: {reason}{fix}"


def spellings(text: str, at: int) -> list[str]:
    """Return possible spellings, not all of which are valid patterns."""
    segment = _segment(text, at)
    path = text.strip() if len(text) <= _SHOWN else ""
    for form, ours in _FILTERS:
        path = re.sub(form, ours, path)
    pieces = re.split(rf"({_STRING})", path)
    for form, ours in _FORMS:
        pieces[::2] = [re.sub(form, ours, piece) for piece in pieces[::2]]
    name = segment if segment.startswith('"') else dumps(segment)
    rest = text[at:].removeprefix("/")[len(segment) :]
    forms = "/" + "".join(pieces).strip("/"), f"{text[:at]}/{name}{rest}"
    return [form for form in forms if form not in ("/", text) and len(form) <= _SHOWN]


def quoted(text: str) -> str:
    """Return a text as a TOML string, with possible secrets masked."""
    text = masked(text)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"'{text}'" if text.isprintable() and "'" not in text else dumps(text)


def _segment(text: str, at: int) -> str:
    return text[at:].removeprefix("/").partition("/")[0]
