"""Log-log panels side by side, as one SVG that reads alike on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.sax.saxutils import escape

__all__ = ("Panel", "Points", "Style", "draw")

Points: TypeAlias = Sequence[tuple[float, float]]

_PANEL_WIDTH = 330.0
_PANEL_HEIGHT = 360.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 44.0, 48.0
_LEGEND_COLUMN, _LEGEND_LINE = 250.0, 24.0
_MARGIN = 12.0
_INK, _PALE, _GRID = "#1f2933", "#52606d", "#e4e7eb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the line of one contender looks."""

    color: str
    marker: str
    dashed: bool = False
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes, and a line for each contender."""

    title: str
    across: str
    """What the horizontal axis says."""
    lines: Mapping[str, Points]
    tick: Callable[[float], str]
    """How a value on the vertical axis is written."""


class _Axis:
    """A logarithmic axis over whole decades, from a first place on the page to a last."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self._low = math.floor(math.log10(min(values)) + 1e-9)
        high = math.ceil(math.log10(max(values)) - 1e-9)
        self._first = first
        self._decade = (last - first) / (high - self._low)
        self.decades = [10.0**exponent for exponent in range(self._low, high + 1)]

    def __call__(self, value: float) -> float:
        return self._first + (math.log10(value) - self._low) * self._decade


def draw(panels: Sequence[Panel], styles: Mapping[str, Style], notes: Sequence[str]) -> str:
    """Return the SVG; contenders are drawn and listed in the order of `styles`."""
    width = len(panels) * _PANEL_WIDTH + 2 * _MARGIN
    columns = max(1, int((width - 2 * _MARGIN) // _LEGEND_COLUMN))
    rows = math.ceil(len(styles) / columns)
    legend_top = _MARGIN + _PANEL_HEIGHT + 20
    height = legend_top + rows * _LEGEND_LINE + len(notes) * 18 + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}"'
        f' width="{width:g}" height="{height:g}" font-size="13"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f"<title>{escape(', '.join(panel.title for panel in panels))}</title>",
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        lines += _panel(panel, styles, _MARGIN + number * _PANEL_WIDTH, _MARGIN)
    for number, (name, style) in enumerate(styles.items()):
        column, row = divmod(number, rows)
        left = _MARGIN + _LEFT + column * _LEGEND_COLUMN
        lines += _entry(name, style, left, legend_top + row * _LEGEND_LINE)
    for number, note in enumerate(notes):
        y = legend_top + rows * _LEGEND_LINE + number * 18 + 4
        lines.append(_text(note, _MARGIN + _LEFT, y, fill=_PALE, size=12))
    return "\n".join([*lines, "</svg>", ""])


def _panel(panel: Panel, styles: Mapping[str, Style], x: float, y: float) -> Iterator[str]:
    points = [point for line in panel.lines.values() for point in line]
    left, right = x + _LEFT, x + _PANEL_WIDTH - _RIGHT
    top, bottom = y + _TOP, y + _PANEL_HEIGHT - _BOTTOM
    across = _Axis([point[0] for point in points], left + 12, right - 12)
    up = _Axis([point[1] for point in points], bottom, top)
    yield _text(panel.title, left, y + 22, size=15, weight=600)
    for value in up.decades:
        yield _line(left, up(value), right, up(value))
        yield _text(panel.tick(value), left - 8, up(value) + 4, anchor="end", fill=_PALE)
    for value in across.decades:
        yield _line(across(value), top, across(value), bottom)
        yield _text(f"{value:,.0f}", across(value), bottom + 20, anchor="middle", fill=_PALE)
    yield _text(panel.across, (left + right) / 2, bottom + 40, anchor="middle", fill=_PALE)
    for name in reversed([name for name in styles if name in panel.lines]):
        places = [(across(a), up(b)) for a, b in panel.lines[name]]
        yield _path(places, styles[name])
        for place in places:
            yield _marker(*place, styles[name])


def _entry(name: str, style: Style, x: float, y: float) -> Iterator[str]:
    yield _path([(x, y), (x + 30, y)], style)
    yield _marker(x + 15, y, style)
    yield _text(name, x + 40, y + 4, weight=600 if style.bold else 400)


def _text(
    text: str,
    x: float,
    y: float,
    *,
    anchor: str = "start",
    fill: str = _INK,
    size: int = 13,
    weight: int = 400,
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}"'
        f' font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
    )


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{_GRID}"/>'


def _path(places: Points, style: Style) -> str:
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="6 4"' if style.dashed else ""
    return (
        f'<path d="M{way}" fill="none" stroke="{style.color}"'
        f' stroke-width="{3 if style.bold else 1.75}" stroke-linejoin="round"{dashes}/>'
    )


_CORNERS = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    "up": ((0, -1.3), (1.2, 1), (-1.2, 1)),
    "down": ((0, 1.3), (1.2, -1), (-1.2, -1)),
}


def _marker(x: float, y: float, style: Style) -> str:
    """Draw a circle, or one of the shapes above."""
    paint = f'fill="{"#ffffff" if style.dashed else style.color}" stroke="{style.color}"'
    paint += ' stroke-width="1.5"'
    corners = _CORNERS.get(style.marker)
    if corners is None:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {paint}/>'
    way = " ".join(f"{x + 3.6 * dx:.1f},{y + 3.6 * dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{way}" {paint}/>'
