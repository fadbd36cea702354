"""A table that fills in while it is looked at; where nobody looks, lines."""

from __future__ import annotations

import os
import sys

Rows = list[tuple[str, ...]]


def table(rows: Rows) -> list[str]:
    """Return lines with columns as wide as what is in them; numbers stand to the right."""
    columns = [_column(column) for column in zip(*rows, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _column(cells: tuple[str, ...]) -> list[str]:
    width = max(map(len, cells))
    numbers = all(cell.replace(",", "").isdigit() for cell in cells[1:])
    return [cell.rjust(width) if numbers else cell.ljust(width) for cell in cells]


class Screen:
    """Draws a table over the one before, on a terminal; else the last one alone."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._drawn = 0

    def draw(self, rows: Rows, *, last: bool = False) -> None:
        """Show the table as it is now."""
        if not self._live and not last:
            return
        lines = table(rows)
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        end = "\x1b[K\n" if self._live else "\n"
        sys.stdout.write(up + "".join(f"  {line}{end}" for line in lines))
        sys.stdout.flush()
        self._drawn = len(lines)
