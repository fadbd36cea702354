"""A page says "live" only while it shows the present state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.browser import Visit, expect
from xkeymsg.cli.console.app import Page, make_app
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.streams import SampledStream
from xkeymsg.cli.web.guard import local_hosts
from xkeymsg.cli.web.server import served
from xkeymsg.daemons.common.listeners import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Desk:
    """A console with one page, which shows one name."""

    def __init__(self) -> None:
        self.name = "first"
        self.broken = False
        self.port = 0
        self.changes = Changes()

    def change(self, name: str) -> None:
        """Show another name."""
        self.name = name
        self.changes.note("/streams")

    def _context(self) -> dict[str, list[SampledStream]]:
        if self.broken:
            raise KeyError
        return {"states": [SampledStream(self.name)]}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Serve during a block, with the memory of a new process; yield the address."""
        changes = self.changes = Changes()
        page = Page("/streams", "Streams", "streams.html", self._context)
        with listening(f"127.0.0.1:{self.port}") as (listener, where):
            self.port = int(where.rpartition(":")[2])
            app = make_app([page], changes, hosts=local_hosts(f"127.0.0.1:{self.port}"))
            async with served(app, listener):
                try:
                    yield f"http://{where}/streams"
                finally:
                    changes.close()


async def test_a_page_is_current_after_the_console_was_away(visit: Visit) -> None:
    desk, page = Desk(), visit.page
    state, shown = page.locator("#live"), page.locator("#streams tbody th").first
    async with desk.running() as address:
        await page.goto(address)
        await expect(state).to_have_text("live")
        await expect(shown).to_have_text("first")
    await expect(state).to_have_text("not connected: shows the last state")
    desk.name = "second"  # no event will tell it
    async with desk.running():
        await expect(state).to_have_text("live")
        await expect(shown).to_have_text("second")
        await page.goto("about:blank")
    visit.printed.clear()  # the refused connections
    visit.problems.clear()


async def test_a_page_that_is_not_updated_says_so(visit: Visit) -> None:
    desk, page = Desk(), visit.page
    state, shown = page.locator("#live"), page.locator("#streams tbody th").first
    async with desk.running() as address:
        await page.goto(address)
        await expect(state).to_have_text("live")
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        desk.change("second")
        await expect(state).to_have_text("waits, because text is selected: shows the last state")
        await expect(shown).to_have_text("first")
        await page.evaluate("getSelection().removeAllRanges()")
        await expect(shown).to_have_text("second")
        await expect(state).to_have_text("live")
        await page.locator("#pause").click()
        await expect(state).to_have_text("paused: shows the last state")
        await page.locator("#pause").click()
        await expect(state).to_have_text("live")
        desk.broken = True
        desk.change("third")
        await expect(state).to_have_text("the update failed: shows the last state")
        desk.broken = False
        await expect(shown).to_have_text("third")
        await expect(state).to_have_text("live")
        await page.goto("about:blank")
    visit.printed.clear()  # the failed request
    visit.problems.clear()
