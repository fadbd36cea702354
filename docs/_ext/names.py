"""The public names of the package, from their docstrings."""

from __future__ import annotations

import inspect
from importlib import import_module

__all__ = ("names",)


def names(module: str, *chosen: str) -> str:
    """Return the documentation of names of a module; by default, of all its public names."""
    home = import_module(module)
    return "\n".join(
        [
            "```{eval-rst}",
            *(_directive(home, module, each) for each in chosen or home.__all__),
            "```",
        ]
    )


def _directive(home: object, module: str, name: str) -> str:
    each = getattr(home, name)
    if inspect.isclass(each):
        error = issubclass(each, Exception)
        kind, options = ("autoexception" if error else "autoclass"), ["members"]
        if error:
            options = ["members", "show-inheritance"]
    elif inspect.isroutine(each):
        kind, options = "autofunction", []
    else:
        kind, options = "autodata", ["no-value"]
    return "\n".join([f".. {kind}:: {module}.{name}", *(f"   :{o}:" for o in options), ""])
