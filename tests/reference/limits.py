"""The limits of the format and the local limits (spec, Limits)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    # of the format: a configuration may lower them
    head: int = 1024
    recipients: int = 1024
    parts: int = 64
    views: int = 256
    subject: int = 255
    array_bytes: int = 65_536
    headers: int = 1000
    # local
    envelope: int = 8 * 1024 * 1024
    max_age: int = 5 * 60 * 1000
    skew: int = 30 * 1000
    replay: int = 64 * 1024 * 1024
    replay_unadmitted: int = 1024 * 1024
    pending: int = 65_536
