"""Fixtures of the documents' tests."""

from __future__ import annotations

import pytest

from tests.envelope.cast import Clock
from xkeymsg.envelope import opening, sealing
from xkeymsg.fields import documents


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time at which documents are sealed and opened."""
    clock = Clock()
    for module in (documents, opening, sealing):
        monkeypatch.setattr(module, "now_ns", clock)
    return clock
