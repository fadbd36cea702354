"""Findings of `policy lint`: errors, which are mistakes, and notes, which may be intended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from xkeymsg.display import MOST_PLACES

__all__ = ("Finding", "lines")

_MOST_LINE: Final = 1_000
"""Maximum characters of a line."""


class Finding(NamedTuple):
    """One problem that the author of a policy should check."""

    text: str
    is_error: bool = False

    def __str__(self) -> str:
        """Return the finding as one line."""
        text = self.text if len(self.text) <= _MOST_LINE else f"{self.text[: _MOST_LINE - 1]}…"
        return text if self.is_error else f"note: {text}"


def lines(found: Sequence[Finding], *, whole: bool = False) -> list[str]:
    """Return one line per finding, errors first, and the number omitted of each kind.

    Args:
        found: The findings.
        whole: Whether to return all findings.
    """
    shown = []
    for is_error, kind in ((True, "errors"), (False, "notes")):
        these = [str(each) for each in found if each.is_error is is_error]
        most = len(these) if whole else MOST_PLACES
        shown += these[:most]
        if len(these) > most:
            shown.append(f"and {len(these) - most} more {kind}; --all shows them")
    return shown
