"""What a server says when a login may not do something.

It is an error of the connection, not an answer: whoever asked would wait for one in vain.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

__all__ = ("Refusal", "parse_refusal")

_VIOLATION: Final = re.compile(
    r'permissions violation for (publish|subscription) to "([^"]{1,256})"', re.IGNORECASE
)


class Refusal(NamedTuple):
    """What is not permitted."""

    what: Literal["publish", "subscription"]
    subject: str
    """On what; in small letters, as nats-py has it."""

    def __str__(self) -> str:
        doing = "publishing" if self.what == "publish" else "listening"
        return f"the server does not permit {doing} on {self.subject}"

    def is_of(self, subject: str) -> bool:
        """Tell whether it is about this subject, or one that differs in capitals alone."""
        return self.subject == subject.lower()


def parse_refusal(error: Exception) -> Refusal | None:
    """Read what is not permitted from an error of the connection, if that is what it says."""
    match = _VIOLATION.search(str(error))
    if match is None:
        return None
    what: Literal["publish", "subscription"] = (
        "publish" if match[1].lower() == "publish" else "subscription"
    )
    return Refusal(what, match[2].lower())
