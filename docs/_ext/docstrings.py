"""Docstrings: Markdown's backticks and indented code, with links to what is on the site."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring

__all__ = ("resolve", "to_rst")

_ROOT: Final = Path(__file__).parents[2]
_PUBLIC: Final = ("xkeymsg.errors", "xkeymsg.xkv1", "xkeymsg.testing", "xkeymsg")
"""Modules with public names; a name of the facade that is also in another is shown there."""
_PAGE: Final = re.compile(r"\b((?:docs/[\w./-]+|SECURITY)\.md)\b")
_SECTION: Final = re.compile(r"(?:Args|Raises|Returns|Yields|Attributes):$")


def to_rst(
    app: Sphinx, what: Any, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Turn a docstring into reStructuredText, in place: code, links to pages, and sections."""
    _mark(lines)
    # The text below an attribute has no sections, and its first colon separates no type.
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines, what=what, name=name, obj=obj, options=options).lines()


def _mark(lines: list[str]) -> None:
    out: list[str] = []
    code = section = False
    for line in lines:
        indented = line.startswith("    ")
        if line and not indented:
            section, code = bool(_SECTION.match(line)), False
        if indented and not section and not code and out and not out[-1]:
            code = True
            if not line.lstrip().startswith(">>>"):
                out += ["::", ""]
        out.append(line if code else _PAGE.sub(_link, line))
    lines[:] = out


def _link(page: re.Match[str]) -> str:
    path = page[1]
    return f":doc:`{path} </{path.removesuffix('.md')}>`" if (_ROOT / path).exists() else path


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Resolve a reference to a public name; other words in backticks stay literals."""
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    public = _public(target)
    if public is not None and public != target:
        domain: Any = env.get_domain("py")
        found: nodes.Node | None = domain.resolve_xref(
            env, node["refdoc"], app.builder, "obj", public, node, content
        )
        if found is not None:
            return found
    is_word = node["reftype"] == "obj"
    return content if is_word or (public is None and _private(target)) else None


def _object(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def _public(target: str) -> str | None:
    """Return the documented name of an object, whichever module a type names."""
    name = target.rpartition(".")[2]
    for module in _PUBLIC:
        home = import_module(module)
        if name in home.__all__:
            each = getattr(home, name)
            if "." not in target or _object(target) is each:
                return f"{module}.{name}"
    return None


def _private(target: str) -> bool:
    """Tell whether a type in a signature is one that an application does not name."""
    each = _object(target)
    return each is not None and target.startswith("xkeymsg.") and not inspect.ismodule(each)
