"""NATS subjects: validity on the wire (permissive) and in configuration (strict)."""

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
"""Two subjects, a queue group and the numbers must fit the server's limit of 4 KiB for a line; a
longer line would cost the connection."""

_TOKEN: Final = re.compile(r"[!-)+,\-/-=?-~]+")
"""ADR-6: printable ASCII without `.`, `*` and `>`."""


@lru_cache(maxsize=1024)
def encode_subject(subject: str) -> bytes:
    """Encode a subject to publish to.

    Raises:
        MalformedError: If it is empty or too long, has a wildcard, white space or a control
            character, or cannot be encoded (as may be the subject of a received message).
    """
    raw = _encode(subject)
    if not is_subject(raw):
        raise MalformedError("invalid subject: wildcard, space, or empty token")
    return raw


@lru_cache(maxsize=1024)
def encode_pattern(pattern: str) -> bytes:
    """Encode a subscription pattern: `*` is one token, a final `>` one or more.

    Raises:
        MalformedError: If the pattern is invalid.
    """
    raw = _encode(pattern)
    tokens = raw.split(b".")
    fixed = tokens[:-1] if tokens[-1] == b">" else tokens
    if not all(token == b"*" or is_subject(token) for token in fixed):
        raise MalformedError("invalid subject: space, empty token, or misplaced wildcard")
    return raw


def _encode(subject: str) -> bytes:
    try:
        raw = subject.encode()
    except UnicodeEncodeError:
        raise MalformedError("invalid subject: not Unicode text") from None
    if len(raw) > _MAX:
        raise MalformedError(f"invalid subject: more than {_MAX} bytes")
    return raw


def is_written_subject(text: str) -> bool:
    """Return whether a configured text is a subject of printable ASCII (ADR-6)."""
    return all(_TOKEN.fullmatch(token) for token in text.split("."))


def is_written_pattern(text: str) -> bool:
    """Return whether a configured text is such a subject, wildcards allowed."""
    tokens = text.split(".")
    fixed = tokens[:-1] if tokens[-1] == ">" else tokens
    return all(token == "*" or _TOKEN.fullmatch(token) for token in fixed)  # noqa: S105 - a wildcard


def covers(pattern: str, other: str) -> bool:
    """Return whether a pattern matches a subject, or every subject of another pattern."""
    return _meet(pattern, other, within=True)


def overlap(one: str, other: str) -> bool:
    """Return whether two patterns have a matching subject in common."""
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
