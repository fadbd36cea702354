"""Sealed subjects, and the patterns that a reader expects (spec, "Subject")."""

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
"""The first token of what answers are sealed for, and nothing else is (E-68)."""

Matcher = Callable[[str], bool]


def is_subject(raw: bytes) -> bool:
    """Tell whether UTF-8 bytes are a subject that may be sealed (E-20).

    A wildcard, a space or an empty token would be read differently by broker, policy and handler.
    """
    return _SUBJECT.fullmatch(raw) is not None


@lru_cache(maxsize=1024)
def encode_subject(subject: str) -> bytes:
    """Return a subject to seal in its encoding, a str.

    Raises:
        LimitExceededError: If they are more than 255.
        MalformedError: If it is no subject.
        TypeError: If it is not a str.
    """
    if not isinstance(subject, str):
        raise TypeError(f"a subject is a str, not {type(subject).__name__}")
    try:
        raw = subject.encode()
    except UnicodeEncodeError:
        raise MalformedError("a subject that is not Unicode text") from None
    if len(raw) > MAX_SUBJECT:
        raise LimitExceededError("bytes of the subject", len(raw), MAX_SUBJECT)
    if not is_subject(raw):
        raise MalformedError("a subject with a wildcard, a space, or an empty token")
    return wire.encode_str(raw)


def matcher(expected: str | Iterable[str]) -> Matcher:
    """Return a function that tells whether a sealed subject is one of the expected.

    Args:
        expected: Subjects, or NATS patterns: `*` is one token, `>`, last, one or more.

    Raises:
        ConfigurationError: If one of them is neither: the reader is at fault and not, as with
            `malformed`, the sender, whose messages a consumer would throw away.
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
        raise TypeError(f"a subject is a str, not {type(expected).__name__}")
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
            return False  # replies live below `_XKM`: only their exact subject takes them (E-68)
        return all(want in ("*", token) for want, token in zip(fixed, got, strict=False))

    return matches
