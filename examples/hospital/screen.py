"""A table that is redrawn on a terminal, and printed once elsewhere."""

from __future__ import annotations

import os
import sys

Rows = list[tuple[str, ...]]


def table(rows: Rows) -> list[str]:
    """Return the lines of a table; columns of numbers are right-aligned."""
    columns = [_column(column) for column in zip(*rows, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _column(cells: tuple[str, ...]) -> list[str]:
    width = max(map(len, cells))
    numbers = all(cell.replace(",", "").isdigit() for cell in cells[1:])
    return [cell.rjust(width) if numbers else cell.ljust(width) for cell in cells]


class Screen:
    """Draws a table over the previous one on a terminal; elsewhere prints only the last one."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._drawn = 0

    def draw(self, rows: Rows, *, last: bool = False) -> None:
        """Draw the table."""
        if not self._live and not last:
            return
        lines = table(rows)
        up = f"\x1b[{self._drawn}F" if self._drawn else ""
        end = "\x1b[K\n" if self._live else "\n"
        sys.stdout.write(up + "".join(f"  {line}{end}" for line in lines))
        sys.stdout.flush()
        self._drawn = len(lines)
