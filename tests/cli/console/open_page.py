"""The page "Open here" as tests use it, and what it must show."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from tests.browser import Visit, expect
from tests.running import unused_port
from xkeymsg import WITHHELD, XKeyPair
from xkeymsg.cli.console.app import make_app
from xkeymsg.cli.console.changes import Changes
from xkeymsg.cli.console.open_page import open_page
from xkeymsg.cli.web.server import served
from xkeymsg.daemons.common.listeners import listening
from xkeymsg.testing import NATSServer

if TYPE_CHECKING:
    from playwright.async_api import FilePayload, Locator, Page

__all__ = ("CLINIC", "WARD", "OpenHere", "Opened", "Place", "place", "rows")

WARD: Final = XKeyPair.generate()
"""The sender."""
CLINIC: Final = XKeyPair.generate()
"""A reader."""


class Place(NamedTuple):
    """A console with this page only, and a nats-server with a WebSocket."""

    url: str
    server: NATSServer


@asynccontextmanager
async def place(config: str = "") -> AsyncIterator[Place]:
    """Serve the page; `config` is more of the server's configuration."""
    websocket = unused_port()
    config += f'\nwebsocket {{ listen: "127.0.0.1:{websocket}", no_tls: true }}'
    async with AsyncExitStack() as stack:
        server = stack.enter_context(NATSServer(config))
        listener, where = stack.enter_context(listening("127.0.0.1:0"))
        app = make_app(
            [open_page(f"ws://127.0.0.1:{websocket}")], Changes(), hosts=frozenset({where})
        )
        await stack.enter_async_context(served(app, listener))
        yield Place(f"http://{where}/open", server)


Row = tuple[str, str, str]
"""The path of a field, its kind, and its value as text."""


class Opened(NamedTuple):
    """What a card shows."""

    state: str
    facts: dict[str, str]
    fields: list[Row]
    text: str
    code: str


_READ: Final = """(card) => {
  const texts = (selector) => [...card.querySelectorAll(selector)].map((each) => each.textContent);
  const names = texts("dt");
  return {
    state: card.querySelector(".state").textContent,
    facts: texts("dd").map((value, at) => [names[at], value]),
    fields: [...card.querySelectorAll(".fields tbody tr")].map(
      (row) => [...row.children].map((each) => each.textContent)),
    text: texts("pre").join(),
    code: card.querySelector("p .code")?.textContent ?? "",
  };
}"""


@dataclass(frozen=True)
class OpenHere:
    """The page in a browser."""

    visit: Visit

    @property
    def page(self) -> Page:
        return self.visit.page

    @classmethod
    async def visited(cls, visit: Visit, at: Place) -> OpenHere:
        """Go to the page, and wait for its script."""
        await visit.page.goto(at.url)
        await expect(visit.page.locator("#open[data-ready]")).to_be_visible()
        return cls(visit)

    async def use(self, key: XKeyPair | str, *, passphrase: str = "", user: str = "") -> None:
        """Enter a seed; no test may ever see it leave the page."""
        seed = key if isinstance(key, str) else key.seed()
        self.visit.hide(*filter(None, (seed, passphrase)))
        if passphrase or user:
            await self.page.get_by_text("Passphrase, user key").click()
            await self.page.locator("#passphrase").fill(passphrase)
            await self.page.locator("#user").fill(user)
        await self.page.locator("#seed").fill(seed)
        await self.page.get_by_role("button", name="Use this key").click()
        if isinstance(key, XKeyPair):
            state = self.page.locator("#key-state")
            await expect(state).to_have_text(f"Opening with {key.public}")

    async def trust(self, text: str, kind: str = "these keys") -> None:
        """Say who may send."""
        await self.page.get_by_role("radio", name=kind).check()
        await self.page.locator("#trust").fill(text)

    async def paste(self, envelope: bytes | str, *, expected: str = ">") -> Opened:
        """Open a pasted envelope."""
        text = envelope if isinstance(envelope, str) else base64.b64encode(envelope).decode()
        await self.page.locator("#envelope").fill(text)
        await self.page.locator("#expected").fill(expected)
        return await self._added(self.page.get_by_role("button", name="Open", exact=True))

    async def choose(self, *contents: bytes) -> list[Opened]:
        """Open files; the first one's result is the last in the list."""
        files: list[FilePayload] = [
            {"name": f"{at}.bin", "mimeType": "", "buffer": each}
            for at, each in enumerate(contents)
        ]
        await self.page.locator("#files").set_input_files(files)
        await self._added(self.page.get_by_role("button", name="Open", exact=True), len(files))
        return (await self.shown())[: len(files)]

    async def _added(self, button: Locator, count: int = 1) -> Opened:
        before = await self.cards.count()
        await button.click()
        await expect(self.cards).to_have_count(before + count)
        return (await self.shown())[0]

    @property
    def cards(self) -> Locator:
        """The results."""
        return self.page.locator("#results details")

    async def shown(self) -> list[Opened]:
        """Return all results, the newest first."""
        read: list[dict[str, Any]] = await self.cards.evaluate_all(f"(cards) => cards.map({_READ})")
        return [
            Opened(
                each["state"], dict(each["facts"]), [tuple(row) for row in each["fields"]],
                each["text"], each["code"],
            )
            for each in read
        ]  # fmt: skip


def rows(value: Any, path: str = "") -> Iterator[Row]:
    """Yield the rows that the page shows for a document opened by this package."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from rows(each, f"{path}/{name.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list) and value:
        for at, each in enumerate(value):
            yield from rows(each, f"{path}/{at}")
    else:
        yield path or "whole document", *_shown(value)


def _shown(value: Any) -> tuple[str, str]:
    if value is WITHHELD:
        return "withheld", ""
    if isinstance(value, bytes):
        return "bytes", value.hex()
    if isinstance(value, datetime):
        return "time", value.isoformat()
    if isinstance(value, bool):
        return "boolean", str(value).lower()
    kind = _KINDS[type(value)]
    return kind, "" if value is None or value in ({}, []) else str(value)


_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    dict: "empty map",
    list: "empty list",
    int: "integer",
    float: "float",
    str: "text",
    Decimal: "decimal",
    UUID: "UUID",
}
