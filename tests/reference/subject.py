"""Subjects and patterns (spec, Head and Subject)."""

from __future__ import annotations

RESERVED = "_XKM"


def is_subject(text: str) -> bool:
    """Check the rules of E-20; the length in bytes is checked with the header (E-16)."""
    raw = text.encode()
    if not 1 <= len(raw) <= 255:
        return False
    if any(byte <= 0x20 or byte == 0x7F or byte in b"*>" for byte in raw):
        return False
    return all(text.split("."))


def matches(pattern: str, subject: str) -> bool:
    """Return whether an expected subject or pattern matches a sealed subject (E-67, E-68)."""
    wanted, tokens = pattern.split("."), subject.split(".")
    wild = "*" in wanted or wanted[-1] == ">"
    if not wild:
        return pattern == subject
    if tokens[0] == RESERVED:
        return False
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(
        one in ("*", other) for one, other in zip(wanted, tokens, strict=True)
    )
