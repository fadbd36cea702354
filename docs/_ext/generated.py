"""Fills the comments `<!-- generated: KIND ARGUMENTS -->` of the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sphinx.application import Sphinx

from . import codes, counters, names, programs, settings

__all__ = ("MARK", "fill")

MARK: Final = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)

_KINDS: Final[dict[str, Callable[..., str]]] = {
    "commands": programs.commands,
    "limits": settings.limits,
    "metrics": counters.metrics,
    "names": names.names,
    "settings": settings.settings,
}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the comments in the source of a page by what they stand for."""

    def text(comment: re.Match[str]) -> str:
        kind, *arguments = comment[1].split()
        return _KINDS[kind](*arguments)

    source[0] = MARK.sub(text, codes.explain(source[0]) if page == codes.PAGE else source[0])
