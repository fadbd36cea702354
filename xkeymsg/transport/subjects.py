"""NATS subjects: what may stand on the wire, and what a person may write."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from xkeymsg.envelope.subject import is_subject
from xkeymsg.errors import MalformedError

__all__ = (
    "covers",
    "encode_pattern",
    "encode_subject",
    "is_written_pattern",
    "is_written_subject",
    "overlap",
)

_MAX: Final = 2000
"""Two subjects, a queue group and the numbers have to fit the server's 4 KiB for a line; one that
does not would cost the connection."""

_TOKEN: Final = re.compile(r"[!-)+,\-/-=?-~]+")
"""ADR-6: printable ASCII without `.`, `*` and `>`."""


@lru_cache(maxsize=1024)
def encode_subject(subject: str) -> bytes:
    """Return the bytes of a subject to publish to.

    Raises:
        MalformedError: If it is none: empty, or too long, or with a wildcard, white space or a
            control character, or without bytes, as the subject of a received message may be.
    """
    raw = _encode(subject)
    if not is_subject(raw):
        raise MalformedError("a subject with a wildcard, a space, or an empty token")
    return raw


@lru_cache(maxsize=1024)
def encode_pattern(pattern: str) -> bytes:
    """Return the bytes of a subject to listen on: `*` is one token, `>`, last, one or more.

    Raises:
        MalformedError: If it is none.
    """
    raw = _encode(pattern)
    tokens = raw.split(b".")
    fixed = tokens[:-1] if tokens[-1] == b">" else tokens
    if not all(token == b"*" or is_subject(token) for token in fixed):
        raise MalformedError("a subject with a space, an empty token, or a wildcard out of place")
    return raw


def _encode(subject: str) -> bytes:
    try:
        raw = subject.encode()
    except UnicodeEncodeError:
        raise MalformedError("a subject that is not Unicode text") from None
    if len(raw) > _MAX:
        raise MalformedError(f"a subject of more than {_MAX} bytes")
    return raw


def is_written_subject(text: str) -> bool:
    """Tell whether what a person wrote is a subject of printable ASCII (ADR-6)."""
    return all(_TOKEN.fullmatch(token) for token in text.split("."))


def is_written_pattern(text: str) -> bool:
    """Tell whether what a person wrote is such a subject, wildcards allowed."""
    tokens = text.split(".")
    fixed = tokens[:-1] if tokens[-1] == ">" else tokens
    return all(token == "*" or _TOKEN.fullmatch(token) for token in fixed)  # noqa: S105 - a wildcard


def covers(pattern: str, other: str) -> bool:
    """Tell whether a pattern matches a subject, or all that another pattern does."""
    return _meet(pattern, other, within=True)


def overlap(one: str, other: str) -> bool:
    """Tell whether a subject can match both of two patterns."""
    return _meet(one, other, within=False)


def _meet(pattern: str, other: str, *, within: bool) -> bool:
    ours, theirs = pattern.split("."), other.split(".")
    for place, token in enumerate(theirs):
        if place == len(ours):
            return False
        if ours[place] == ">":
            return True
        if token == ">":  # noqa: S105 - a wildcard
            return not within
        if ours[place] == "*" or token == ours[place]:
            continue
        if within or token != "*":  # noqa: S105 - a wildcard
            return False
    return len(ours) == len(theirs)
