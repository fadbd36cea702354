"""A program that a test gives as a text, for a fork: `python -m tests.snippet TEXT …`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    exec(compile(sys.argv.pop(1), "<snippet>", "exec"), {"__name__": "__main__"})
