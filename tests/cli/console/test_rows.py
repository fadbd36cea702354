"""Rows of pages that need a directory with a history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.browser import Visit, expect
from xkeymsg import Sealer, XKeyPair
from xkeymsg.cli.console.app import Page, make_app
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.connection import ConnectionProblems
from xkeymsg.cli.console.pages import Pages, SenderRow
from xkeymsg.cli.console.people import People
from xkeymsg.cli.console.seen import SeenSenders
from xkeymsg.cli.web.guard import local_hosts
from xkeymsg.cli.web.server import served
from xkeymsg.daemons.common.listeners import listening
from xkeymsg.daemons.common.sections import NatsSection
from xkeymsg.envelope.inspect import inspect


def fleet_page(revision: int | None, seconds: float) -> Page:
    """Return the page of a fleet with one sender, whose directory is at revision 9."""
    people = People(None, NatsSection(), Changes())
    report = SimpleNamespace(revision=9, loaded=True, silent=0.0, alarms=())
    people.directory = cast(Any, SimpleNamespace(report=lambda: report))
    seen = SeenSenders(lambda _: False)
    envelope = Sealer(XKeyPair.generate()).seal(b"", to=[XKeyPair.generate().public], subject="a")
    seen.note(inspect(envelope)._replace(revision=revision), "S")
    nothing = cast(Any, None)
    daemons = cast(Any, SimpleNamespace(gaps=(), daemons=(), is_fine=False, others=0))
    pages = Pages(
        nothing, people, daemons, nothing, nothing, nothing, seen,
        connection=ConnectionProblems(Changes()), retain=1.0, websocket="",
        now=lambda: datetime.now(UTC) - timedelta(seconds=seconds),
    )  # fmt: skip
    [fleet] = [each for each in pages.all() if each.path == "/fleet"]
    return fleet


@pytest.mark.parametrize(
    ("revision", "seconds", "behind", "is_stale"),
    [(7, 120, 2, True), (7, 30, 2, False), (9, 120, 0, False), (10, 120, 0, False),
     (None, 120, None, False)],
)  # fmt: skip
def test_a_sender_that_goes_on_with_an_old_revision_is_stale(
    revision: int | None, seconds: float, behind: int | None, is_stale: bool
) -> None:
    [row] = fleet_page(revision, seconds).context()["senders"]
    assert isinstance(row, SenderRow)
    assert (row.behind, row.is_stale) == (behind, is_stale)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_shows_who_is_stale(visit: Visit) -> None:
    changes = Changes()
    with listening("127.0.0.1:0") as (listener, where):
        hosts = local_hosts(where)
        app = make_app([fleet_page(7, 120)], changes, hosts=hosts)
        async with served(app, listener):
            await visit.page.goto(f"http://{where}/fleet")
            row = visit.page.locator("#senders tbody tr")
            await expect(row.locator("td").nth(2)).to_contain_text("stale")
            await expect(row.locator("td").nth(3)).to_have_text("2 behind")
            await visit.page.goto("about:blank")
            changes.close()
