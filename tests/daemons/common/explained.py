"""The texts below the keys of a configuration table, which programs do not read."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise

from xkeymsg.daemons.common.tables import Section

__all__ = ("explained",)


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
