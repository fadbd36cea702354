"""What the demonstration finds wrong."""

from __future__ import annotations

__all__ = ("Problems",)


class Problems:
    """The checks that failed."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def check(self, holds: object, otherwise: str) -> None:
        """Record a failure if a condition does not hold."""
        if not holds:
            self.found.append(otherwise)
