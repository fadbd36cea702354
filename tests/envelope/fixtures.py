"""Fixtures of the tests of envelopes and of documents; their `conftest` makes them known."""

from __future__ import annotations

import pytest

from tests.envelope.cast import Clock
from xkeymsg import opener, sealer

__all__ = ("clock",)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that sealers and openers see."""
    clock = Clock()
    for module in (opener, sealer):
        monkeypatch.setattr(module, "now_ns", clock)
    return clock
