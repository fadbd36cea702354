"""Sealed subjects, and a reader's expected subjects and patterns (spec, "Subject")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from xkeymsg import wire
from xkeymsg.errors import (
    ConfigurationError,
    EnvelopeError,
    LimitExceededError,
    MalformedError,
)
from xkeymsg.limits import MAX_SUBJECT

__all__ = ("REPLIES", "encode_subject", "is_subject", "matcher")

_SUBJECT: Final = re.compile(rb"[^\x00-\x20\x7f.*>]+(?:\.[^\x00-\x20\x7f.*>]+)*")

REPLIES: Final = "_XKM"
"""The first token of the sealed subjects of replies, reserved for them (E-68)."""

Matcher = Callable[[str], bool]


def is_subject(raw: bytes) -> bool:
    """Return whether UTF-8 bytes are a valid subject for sealing (E-20).

    Broker, policy and handler would interpret a wildcard, space or empty token differently.
    """
    return _SUBJECT.fullmatch(raw) is not None


@lru_cache(maxsize=1024)
def encode_subject(subject: str) -> bytes:
    """Encode a subject for sealing.

    Raises:
        LimitExceededError: If it is longer than 255 bytes.
        MalformedError: If it is not a valid subject.
        TypeError: If it is not a str.
    """
    if not isinstance(subject, str):
        raise TypeError(f"a subject must be a str, not {type(subject).__name__}")
    try:
        raw = subject.encode()
    except UnicodeEncodeError:
        raise MalformedError("a subject must be valid Unicode") from None
    if len(raw) > MAX_SUBJECT:
        raise LimitExceededError("bytes of the subject", len(raw), MAX_SUBJECT)
    if not is_subject(raw):
        raise MalformedError("a subject must not contain a wildcard, space or empty token")
    return wire.encode_str(raw)


def matcher(expected: str | Iterable[str]) -> Matcher:
    """Return a function that returns whether a sealed subject is expected.

    Args:
        expected: Subjects, or NATS patterns: `*` is one token; `>`, at the end, one or more.

    Raises:
        ConfigurationError: If one of them is neither. This is the reader's fault; `malformed` would
            blame the sender, and a consumer would discard its messages.
        TypeError: If one of them is not a str.
    """
    if isinstance(expected, str):
        return _matcher(expected)
    several = tuple(_matcher(one) for one in expected)
    return lambda subject: any(matches(subject) for matches in several)


@lru_cache(maxsize=1024)
def _matcher(expected: str) -> Matcher:
    try:
        return _parse(expected)
    except EnvelopeError as error:
        raise ConfigurationError(f"neither a subject nor a pattern: {error}") from None


def _parse(expected: str) -> Matcher:
    if not isinstance(expected, str):
        raise TypeError(f"a subject must be a str, not {type(expected).__name__}")
    tokens = expected.split(".")
    if "*" not in tokens and tokens[-1] != ">":
        encode_subject(expected)
        return expected.__eq__
    rest = tokens[-1] == ">"
    fixed = tokens[:-1] if rest else tokens
    for token in fixed:
        if token != "*":  # noqa: S105 - a wildcard
            encode_subject(token)

    def matches(subject: str) -> bool:
        got = subject.split(".")
        if got[0] == REPLIES or len(got) < len(tokens) or (len(got) > len(tokens) and not rest):
            return False  # no pattern matches replies, below `_XKM` (E-68)
        return all(want in ("*", token) for want, token in zip(fixed, got, strict=False))

    return matches
