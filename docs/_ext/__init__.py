"""The parts of the site that are generated from the code, each time it is built."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

from . import docstrings, generated, output

__all__ = ("setup",)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.add_object_type("error-code", "error-code", objname="error code")
    app.add_object_type("metric", "metric", objname="metric")
    app.connect("source-read", generated.fill)
    app.connect("autodoc-process-docstring", docstrings.to_rst, priority=100)
    app.connect("missing-reference", docstrings.resolve)
    app.connect("build-finished", output.check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
