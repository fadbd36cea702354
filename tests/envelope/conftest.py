"""A clock that tests set."""

from __future__ import annotations

import pytest

from tests.envelope.cast import Clock
from xkeymsg.envelope import opening, sealing


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that sealers and openers see."""
    clock = Clock()
    monkeypatch.setattr(opening, "now_ns", clock)
    monkeypatch.setattr(sealing, "now_ns", clock)
    return clock
