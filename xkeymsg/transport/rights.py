"""Permission violations, as the server reports them.

They arrive as errors of the connection, not as replies: a requester would wait in vain.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

__all__ = ("Refusal", "parse_refusal")

_VIOLATION: Final = re.compile(
    r'permissions violation for (publish|subscription) to "([^"]{1,256})"'
)


class Refusal(NamedTuple):
    """An operation that the server does not permit."""

    what: Literal["publish", "subscription"]
    subject: str

    def __str__(self) -> str:
        doing = "publishing" if self.what == "publish" else "listening"
        return f"the server does not permit {doing} on {self.subject}"

    def is_of(self, subject: str) -> bool:
        """Return whether the refusal concerns this subject."""
        return self.subject == subject


def parse_refusal(error: Exception) -> Refusal | None:
    """Parse a permission violation from an error of the connection, or return None."""
    match = _VIOLATION.search(str(error))
    if match is None:
        return None
    return Refusal("publish" if match[1] == "publish" else "subscription", match[2])
