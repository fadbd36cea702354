"""The texts below the keys of a configuration table, which programs do not read."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from xkeymsg.daemons.common.tables import Section

__all__ = ("DEPLOY", "ROOT", "check_explained", "explained", "uncommented")

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def explained(section: type[Section]) -> dict[str, str]:
    """Return the text of each key of a section, those that it inherits included."""
    parents = [each for each in reversed(section.__mro__) if issubclass(each, Section)]
    return {name: text for each in parents for name, text in _texts(each)}


def _texts(section: type[Section]) -> Iterator[tuple[str, str]]:
    [definition] = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    for key, text in pairwise(definition.body):
        match key, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(said))),
            ):
                yield name, " ".join(said.split())


def check_explained(document: str, title: str, section: type[Section], keys: set[str]) -> None:
    """Check that a document of `docs` has a row for each key of a section, with its text."""
    text = (ROOT / "docs" / document).read_text()
    part = text.split(f"### `{title}`\n")[1].split("\n### ")[0]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| [^|]* \| (.+) \|$", part, re.MULTILINE))
    assert rows.keys() == keys
    texts = explained(section)
    assert rows == {name: texts[name] for name in rows}


def uncommented(text: str) -> str:
    """Return an example with the settings that are comments in it."""
    return re.sub(r"^#(?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
