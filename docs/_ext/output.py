"""Checks of the pages that were built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx
from sphinx.util import logging

__all__ = ("check",)

_LOG: Final = logging.getLogger(__name__)
_LOADS: Final = re.compile(
    r"""<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc=["'](?:https?:)?//[^"']*"""
    r"""|<link\b[^>]*\bhref=["'](?:https?:)?//[^"']*|@import\s[^;]*//[^;]*|url\(["']?(?:https?:)?//""",
    re.IGNORECASE,
)
_START: Final = (
    '<!doctype html><meta charset="utf-8"><title>xkeymsg</title>'
    '<meta http-equiv="refresh" content="0; url=docs/index.html">'
    '<a href="docs/index.html">xkeymsg</a>\n'
)


def check(app: Sphinx, error: Exception | None) -> None:
    """Warn about everything that a page would load from another host; write the start page."""
    if error is not None or app.builder.format != "html":
        return
    root = Path(app.outdir)
    (root / "index.html").write_text(_START)
    for path in sorted(root.rglob("*")):
        if path.suffix in (".html", ".css"):
            for found in _LOADS.findall(path.read_text()):
                _LOG.warning("%s loads from another host: %s", path.relative_to(root), found[:100])
