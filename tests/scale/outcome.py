"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ("Outcome", "counted")


@dataclass
class Outcome:
    """Lines to read, and errors, each of which fails the run."""

    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def expect(self, name: str, expected: object, found: object) -> None:
        """Note a figure, and an error if it is not the expected one."""
        self.lines.append(f"{name}: {found}")
        if found != expected:
            self.errors.append(f"{name}: {found}, expected {expected}")

    def note(self, text: str) -> None:
        """Note something that is not judged."""
        self.lines.append(text)


def counted(counts: Mapping[str, int] | Iterable[tuple[str, int]]) -> str:
    """Write counts by name, and "none" where there are none."""
    items = sorted(dict(counts).items())
    return ", ".join(f"{name} {count:,}" for name, count in items if count) or "none"
