"""Rows of pages that need a directory with a history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from xkeymsg import Sealer, XKeyPair
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.connection import ConnectionProblems
from xkeymsg.cli.console.pages import Pages, SenderRow
from xkeymsg.cli.console.people import People
from xkeymsg.cli.console.seen import SeenSenders
from xkeymsg.daemons.common.sections import NatsSection
from xkeymsg.envelope.inspect import inspect


@pytest.mark.parametrize(
    ("revision", "seconds", "behind", "is_stale"),
    [(7, 120, 2, True), (7, 30, 2, False), (9, 120, 0, False), (10, 120, 0, False),
     (None, 120, None, False)],
)  # fmt: skip
def test_a_sender_that_goes_on_with_an_old_revision_is_stale(
    revision: int | None, seconds: float, behind: int | None, is_stale: bool
) -> None:
    people = People(None, NatsSection(), Changes())
    report = SimpleNamespace(revision=9, loaded=True, silent=0.0, alarms=())
    people.directory = cast(Any, SimpleNamespace(report=lambda: report))
    seen = SeenSenders(lambda _: False)
    envelope = Sealer(XKeyPair.generate()).seal(b"", to=[XKeyPair.generate().public], subject="a")
    seen.note(inspect(envelope)._replace(revision=revision), "S")
    nothing = cast(Any, None)
    pages = Pages(
        nothing, people, nothing, nothing, nothing, nothing, seen,
        connection=ConnectionProblems(Changes()), retain=1.0, websocket="",
        now=lambda: datetime.now(UTC) - timedelta(seconds=seconds),
    )  # fmt: skip
    [fleet] = [each for each in pages.all() if each.path == "/fleet"]
    [row] = fleet.context()["senders"]
    assert isinstance(row, SenderRow)
    assert (row.behind, row.is_stale) == (behind, is_stale)
