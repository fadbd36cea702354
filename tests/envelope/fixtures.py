"""Fixtures of the tests of envelopes and of documents; their `conftest` makes them known."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.envelope.cast import Clock
from xkeymsg import Opener
from xkeymsg.envelope import opening, sealing
from xkeymsg.fields import documents

__all__ = ("clock", "general")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that sealers and openers see."""
    clock = Clock()
    for module in (documents, opening, sealing):
        monkeypatch.setattr(module, "now_ns", clock)
    return clock


@pytest.fixture
def general(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many messages were judged in the general way."""
    count = 0
    read = opening.Opener._read

    def counted(self: Opener, *arguments: object) -> object:
        nonlocal count
        count += 1
        return read(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(opening.Opener, "_read", counted)
    return lambda: count
