"""Fixtures of the envelope and document tests; their `conftest` imports them."""

from __future__ import annotations

import pytest

from tests.envelope.cast import Clock
from xkeymsg import native, opener, sealer

__all__ = ("clock", "pure")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the time for sealers and openers."""
    clock = Clock()
    for module in (opener, sealer):
        monkeypatch.setattr(module, "now_ns", clock)
    return clock


@pytest.fixture
def pure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seal and open in Python, for a test that looks into, or replaces, parts of that code."""
    monkeypatch.setattr(native, "core", None)
