"""`Resealed`: who resealed a message, and whose message that was (docs/spec/reseal.md).

A resealed message is an ordinary message of its resealer. A sealed header names the original: that
is the resealer's word, and no proof of the original's sender.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from xkeymsg.errors import KeyFormatError
from xkeymsg.keys import XKey

__all__ = ("ORIGINS", "RESEALED", "Origin", "Resealed", "id_text", "resealed_by")

RESEALED: Final = "xkm-resealed"
"""The name of the sealed header; applications cannot seal names with this prefix."""
ORIGINS: Final = 8
"""How many times a message can be resealed."""

_CLAIM: Final = re.compile(
    r"(X[A-Z2-7]{55}) ([A-Za-z0-9_-]{21}[AQgw]) ([1-9][0-9]{9,15}) (0|[1-9][0-9]?)"
)
_FIRST_MS, _PAST_MS = 2**32, 2**53


class Origin(NamedTuple):
    """A message that was resealed, as its resealer describes it."""

    sender: XKey
    """The key that the resealer authenticated as the sender."""
    message_id: bytes
    """The 16-byte id of the message."""
    created_ms: int
    """The time of sealing by the sender's clock, in milliseconds since 1970."""
    withheld: int
    """How many parts of a document the resealer could not read; they are missing."""

    def header(self) -> tuple[str, str]:
        """Return the sealed header."""
        text = f"{self.sender} {id_text(self.message_id)} {self.created_ms} {self.withheld}"
        return RESEALED, text


class Resealed(NamedTuple):
    """The resealer of a message, and what it says about the original."""

    by: XKey
    """The authenticated sender of this message: it resealed."""
    origins: tuple[Origin, ...]
    """The messages before this one, the original first; the last was resealed by `by`. Empty if
    the header is invalid: then nothing is known about the original."""

    def __str__(self) -> str:
        if not self.origins:
            return f"resealed by {self.by}, with an invalid description of the original"
        first = self.origins[0]
        via = "".join(f", resealed by {each.sender}" for each in self.origins[1:])
        named = f"message {id_text(first.message_id)} of {first.sender}{via}"
        return f"resealed by {self.by}, which says: {named}"


def resealed_by(sender: bytes, headers: Iterable[tuple[str, str]]) -> Resealed | None:
    """Return what the sealed headers of a message say about its original; None without a claim.

    Args:
        sender: The raw key of the message's sender.
        headers: The sealed headers.
    """
    claims = [value for name, value in headers if name == RESEALED]
    if not claims:
        return None
    found = [_parse(claim) for claim in claims[: ORIGINS + 1]]
    origins = tuple(each for each in found if each is not None)
    valid = len(origins) == len(claims) <= ORIGINS
    return Resealed(XKey(sender), origins if valid else ())


def id_text(message_id: bytes) -> str:
    """Return a message id as 22 characters of base64url."""
    return base64.urlsafe_b64encode(message_id)[:22].decode()


def _parse(claim: str) -> Origin | None:
    match = _CLAIM.fullmatch(claim)
    if match is None:
        return None
    key, name, created, withheld = match.groups()
    try:
        sender = XKey.parse(key)
    except KeyFormatError:
        return None
    if not _FIRST_MS <= int(created) < _PAST_MS:
        return None
    return Origin(sender, base64.urlsafe_b64decode(f"{name}=="), int(created), int(withheld))
