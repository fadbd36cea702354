"""The internals of daemons, for tests that cannot do without them.

No other module of these tests uses private names.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from xkeymsg.daemons.common import logs
from xkeymsg.daemons.common.processes import Program
from xkeymsg.daemons.receiver.sinks.command import Command
from xkeymsg.daemons.sender.sources.stream import StreamSource, _Inbound
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.transport.raw import Raw


def kinds_of_lines() -> int:
    """Return for how many kinds of lines the log keeps a count."""
    return len(logs._limiter._kinds)


def forget_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no line that was logged before limit those that follow."""
    monkeypatch.setattr(logs, "_limiter", logs._Limiter())


def undead(sink: Command) -> Iterable[Program]:
    """Return the programs that no signal has ended."""
    return sink._undead


async def attempt(source: StreamSource, raw: Raw, position: StreamPosition) -> None:
    """Send what a consumer of a source has delivered."""
    await source._attempt(_Inbound(raw, position))
