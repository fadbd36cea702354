"""The plot of the suite `envelope`: time and size against the number of recipients."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.envelope import COUNTS, OVERHEAD, USUAL, title
from benchmarks.plot import Panel, Points, Style, draw
from benchmarks.report import Report
from benchmarks.schemes.age import AGE
from benchmarks.schemes.boxes import BOXES
from benchmarks.schemes.jose import JOSERFC, JOSERFC_1PU, JOSERFC_BY_KID, JWCRYPTO
from benchmarks.schemes.ours import COLD, WARM, XKV1

__all__ = ("plot",)

_STYLES = {
    WARM.name: Style(color="#0060b0", marker="circle", bold=True),
    COLD.name: Style(color="#0060b0", marker="circle", dashed=True),
    XKV1.name: Style(color="#56a3e0", marker="square"),
    BOXES.name: Style(color="#7b8794", marker="square"),
    AGE.name: Style(color="#d1495b", marker="diamond"),
    JOSERFC.name: Style(color="#2a9d63", marker="up"),
    JOSERFC_BY_KID.name: Style(color="#2a9d63", marker="up", dashed=True),
    JOSERFC_1PU.name: Style(color="#8f5fbf", marker="up"),
    JWCRYPTO.name: Style(color="#e08a00", marker="down"),
}

_ACROSS = "recipients"
_NOTES = (
    "Lower is better. Fastest batch of each; all took turns in one run.",
    "Bytes: joserfc and jwcrypto send the same, PyNaCl and xkv1 nearly the same.",
)


def plot(report: Report) -> str:
    """Return the SVG of a report of the suite."""
    panels = [
        Panel(title="seal 1 KiB", across=_ACROSS, lines=_times(report, "seal"), tick=_time),
        Panel(
            title="open it, as the last", across=_ACROSS, lines=_times(report, "open"), tick=_time
        ),
        Panel(title="bytes beyond one copy", across=_ACROSS, lines=_overhead(report), tick=_size),
    ]
    drawn = {name for panel in panels for name in panel.lines}
    styles = {name: style for name, style in _STYLES.items() if name in drawn}
    return draw(panels, styles, _NOTES)


def _times(report: Report, operation: str) -> dict[str, Points]:
    return _lines(lambda name, count: _fastest(report, title(operation, USUAL, count), name))


def _fastest(report: Report, run: str, name: str) -> float | None:
    series = report.runs[run].series.get(name)
    return None if series is None else min(series.per_operation())


def _overhead(report: Report) -> dict[str, Points]:
    table = report.tables[OVERHEAD]
    return _lines(lambda name, count: table.get(name, {}).get(f"{count:,}"))


def _lines(figure: Callable[[str, int], float | None]) -> dict[str, Points]:
    lines: dict[str, Points] = {}
    for name in _STYLES:
        figures = [(count, figure(name, count)) for count in COUNTS]
        points = [(float(count), value) for count, value in figures if value is not None]
        if points:
            lines[name] = points
    return lines


def _time(microseconds: float) -> str:
    for scale, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= scale:
            return f"{microseconds / scale:g} {unit}"
    return f"{microseconds:g} µs"


def _size(size: float) -> str:
    for scale, unit in ((1e6, "MB"), (1e3, "kB")):
        if size >= scale:
            return f"{size / scale:g} {unit}"
    return f"{size:g} B"
