"""`xkeymsg docs`: the pages of the documentation, which are in the wheel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

__all__ = ("docs",)

_PACKAGE: Final = Path(__file__).parents[1]
_ELSEWHERE: Final = ("adr", "reference")
"""Folders with decisions, and with what the site generates."""


def _pages() -> Mapping[str, Path]:
    """Return the pages by their names, such as `receiver` and `guides/rotation`."""
    folder = _PACKAGE / "docs"
    if not folder.is_dir():  # run from its source
        folder = _PACKAGE.parent / "docs"
    pages = {str(each.relative_to(folder).with_suffix("")): each for each in folder.rglob("*.md")}
    return {name: pages[name] for name in sorted(pages) if not name.startswith(_ELSEWHERE)}


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.readline().strip("# \n")


@click.command(short_help="Show the documentation.")
@click.argument("page", type=click.Choice([*_pages()]), metavar="[PAGE]", required=False)
def docs(*, page: str | None) -> None:
    """Show a PAGE of the documentation of this version, in Markdown; without PAGE, list all.

    \b
    xkeymsg docs receiver
    xkeymsg docs guides/rotation
    """  # noqa: D301 - click reads the character
    pages = _pages()
    if page is not None:
        click.echo_via_pager(pages[page].read_text("utf-8").removesuffix("\n"))
        return
    width = max(map(len, pages), default=0)
    for name, path in pages.items():
        click.echo(f"{name:<{width}}  {_title(path)}")
