"""Settings of the documentation site, which `make docs` builds from the Markdown files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import xkeymsg

project = "xkeymsg"
author = "the xkeymsg authors"
project_copyright = author
version = release = xkeymsg.__version__
language = "en"

extensions = ["sphinx.ext.autodoc", "myst_parser", "_ext"]
root_doc = "docs/index"
# The folder of the sources is the repository, so that the same links work here and in a clone.
include_patterns = [
    "*.md",
    "docs/**.md",
    "examples/*/README.md",
    "benchmarks/README.md",
    "vectors/README.md",
    "js/README.md",
]
exclude_patterns = [".*", "build", "tests", "**/node_modules"]

nitpicky = True
# Types of Python and of other libraries: the build downloads no inventories of their sites.
nitpick_ignore_regex = [(r"py:.*", r"(?!xkeymsg\.).*")]
default_role = "py:obj"  # a name in a docstring; `_ext.docstrings` leaves other words as they are

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist"]

html_theme = "furo"
html_title = f"xkeymsg {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
