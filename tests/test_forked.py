"""Forked programs behave as those that a new interpreter starts."""

from __future__ import annotations

from tests import forked
from tests.running import DEADLINE


def test_a_program_that_another_one_imports_starts_without_warnings() -> None:
    """The fork has its entry point already, of which `runpy` would warn."""
    forked.run(["tests.soak.receiving"], b"", DEADLINE)
    done = forked.run(["receiver", "--help"], b"", DEADLINE)
    assert (done.returncode, done.stderr) == (0, b"")
