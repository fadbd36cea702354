"""Web pages attack `xkeymsg decode` from a real browser, and one of a permitted origin uses it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from starlette.responses import HTMLResponse

from tests.browser import Site, Visit
from xkeymsg import ANYONE, AtRest, Opener, XKeyPair
from xkeymsg.cli.decoder import Decoder
from xkeymsg.cli.web.guard import local_hosts
from xkeymsg.cli.web.server import served
from xkeymsg.daemons.common.listeners import listening
from xkeymsg.sealer import Sealer

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()
TOKEN = "the-token"
SECRET = "Ada Lovelace"
ENVELOPE = Sealer(ALICE).seal(SECRET.encode(), to=[BOB.public], subject="orders.new")
BODY = '{"data": "' + base64.b64encode(ENVELOPE).decode() + '"}'
PAGE = b'<!doctype html><title>page</title><link rel="icon" href="data:,"><body>'

ASK = """async ([url, options]) => {
  try {
    const answer = await fetch(url, options);
    return [answer.type, answer.status, await answer.text()];
  } catch (error) {
    return ["error", 0, error.name];
  }
}"""
POST_FORM = """([url, text]) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.name = "target";
  document.body.append(frame);
  const form = document.createElement("form");
  Object.assign(form, { action: url, method: "post", enctype: "text/plain", target: "target" });
  const field = document.createElement("input");
  // Sent as the name, an equals sign and the value: together they can be JSON.
  [field.name, field.value] = [text.slice(0, -1) + ', "x": "', '"}'];
  form.append(field);
  document.body.append(form);
  frame.addEventListener("load", () => resolve());
  form.submit();
})"""
SANDBOX = """([url, options]) => new Promise((resolve) => {
  addEventListener("message", (event) => resolve([event.origin, event.data]), { once: true });
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.srcdoc = `<script>
    fetch(${JSON.stringify(url)}, ${JSON.stringify(options)})
      .then((answer) => answer.text(), (error) => error.name)
      .then((text) => parent.postMessage(text, "*"));
  </script>`;
  document.body.append(frame);
})"""
LOAD = """([url, tag]) => new Promise((resolve) => {
  const element = document.createElement(tag);
  element.addEventListener("load", () => resolve("load"));
  element.addEventListener("error", () => resolve("error"));
  element.src = url;
  document.body.append(element);
})"""


class Served:
    """A decoder on a port, and what was answered: method, origin and status.

    `/page` is the page that an attacker's server sent before its name was bound to this address.
    """

    def __init__(self, app: Any, port: int) -> None:
        self._app = app
        self.port = port
        self.url = f"http://127.0.0.1:{port}/decode"
        self.answers: list[tuple[str, str, int]] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] == "/page":
            await HTMLResponse(PAGE)(scope, receive, send)
            return
        origin = dict(scope["headers"]).get(b"origin", b"").decode()

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.answers.append((scope["method"], origin, message["status"]))
            await send(message)

        await self._app(scope, receive, sent)


@asynccontextmanager
async def decoding(*origins: str) -> AsyncIterator[Served]:
    opener = Opener(BOB, ANYONE, replay=AtRest())
    decoder = Decoder(opener, subject=">", token=TOKEN, origins=origins)
    with listening("127.0.0.1:0") as (listener, where):
        port = int(where.rpartition(":")[2])
        app = Served(decoder.guarded(local_hosts(f"127.0.0.1:{port}")), port)
        async with served(app, listener):
            yield app


def options(**more: Any) -> dict[str, Any]:
    """The arguments of `fetch`, with the token: as if it had become known."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    return {"method": "POST", "headers": headers, "body": BODY} | more


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    page = ("text/html; charset=utf-8", PAGE)
    with Site({"/": page}, "frame-src *") as site:
        yield site


def forgive(visit: Visit) -> None:
    """Forget the errors that Chromium has printed about refused requests."""
    expected = ("CORS policy", "Failed to load resource", "frame-ancestors", "csp-violation")
    assert [each for each in visit.problems if not any(one in each for one in expected)] == []
    visit.problems.clear()


async def test_a_permitted_page_asks(visit: Visit, site: Site) -> None:
    origin = site.url.rstrip("/")
    async with decoding(origin) as decoder:
        await visit.page.goto(site.url)
        kind, status, text = await visit.page.evaluate(ASK, [decoder.url, options()])
        assert (kind, status) == ("cors", 200)
        assert SECRET in text
        assert decoder.answers == [("OPTIONS", origin, 204), ("POST", origin, 200)]
        assert await visit.context.cookies() == []


async def test_a_page_of_another_origin_learns_nothing(visit: Visit, site: Site) -> None:
    async with decoding("http://localhost:31311") as decoder:
        await visit.page.goto(site.url)
        simple = {"headers": {"Content-Type": "text/plain"}}
        for given in (
            options(),
            options(credentials="include"),
            options(**simple),
            options(mode="no-cors"),
            options(mode="no-cors", **simple),
            {"method": "GET"},
            {"method": "GET", "mode": "no-cors"},
        ):
            kind, status, text = await visit.page.evaluate(ASK, [decoder.url, given])
            assert kind in ("error", "opaque")
            assert (status, SECRET in text) == (0, False)
        await visit.page.evaluate(POST_FORM, [decoder.url, BODY])
        for tag in ("img", "script", "iframe"):
            await visit.page.evaluate(LOAD, [decoder.url, tag])
        origin, text = await visit.page.evaluate(SANDBOX, [decoder.url, options()])
        assert (origin, text) == ("null", "TypeError")
        origin, text = await visit.page.evaluate(
            SANDBOX, [decoder.url, options(mode="no-cors", **simple)]
        )
        assert (origin, text) == ("null", "TypeError")
        answers = decoder.answers
    forgive(visit)
    assert {status for _, _, status in answers} <= {401, 403}
    assert {method for method, _, _ in answers} == {"GET", "POST", "OPTIONS"}
    assert {site.url.rstrip("/"), "null"} <= {origin for _, origin, _ in answers}


async def test_a_name_that_was_bound_to_this_machine_learns_nothing(visit: Visit) -> None:
    async with decoding() as decoder:
        # Chromium resolves this name to loopback, as a rebound one.
        name = f"http://evil.localhost:{decoder.port}"
        await visit.page.goto(f"{name}/page")
        for given in (options(), {"method": "GET"}):
            answer = await visit.page.evaluate(ASK, [f"{name}/decode", given])
            assert answer[:2] == ["basic", 421]
            assert SECRET not in answer[2]
    forgive(visit)
    assert {status for _, _, status in decoder.answers} == {421}
