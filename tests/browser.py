"""Pages in a real Chromium, and everything that they send, print and violate.

    pytestmark = pytest.mark.asyncio(loop_scope="session")

    async def test_page(visit: Visit) -> None:
        visit.hide(seed)
        await visit.page.goto(url)

One Chromium serves all tests of a worker, on the event loop of the session; each test has a profile
of its own. At its end the test fails if a page violated its Content Security Policy, printed a
warning or an error, or sent or stored what `hide` was given.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self
from urllib.parse import unquote_to_bytes

import pytest
import pytest_asyncio

from tests.running import DEADLINE, ROOT

if TYPE_CHECKING:
    from playwright.async_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Locator,
        Page,
        Request,
    )

__all__ = ("ARGUMENTS", "Sent", "Site", "Visit", "expect", "find_chromium", "spellings")

ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WATCH: Final = """
addEventListener("securitypolicyviolation",
  (event) => reportProblem(`CSP: ${event.violatedDirective} ${event.blockedURI}`), true);
new ReportingObserver((reports) => reports.forEach((each) => reportProblem(`report: ${each.type}`)),
  { buffered: true }).observe();
"""
_KEPT: Final = """async () => JSON.stringify([
  location.href, document.title, document.cookie, name, history.state,
  Object.entries(localStorage), Object.entries(sessionStorage),
  await indexedDB.databases(), await caches.keys(),
  (await navigator.serviceWorker.getRegistrations()).length,
])"""
"""What a page keeps; empty databases and caches are not distinguished from filled ones."""

_SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
_TOO_WIDE: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
_PALE: Final = """() => {
  const rgb = (color) => color.match(/[\\d.]+/g).map(Number);
  const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const luminance = (color) => {
    const [red, green, blue] = rgb(color).map((each) => linear(each / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const isOpaque = (color) => (rgb(color)[3] ?? 1) !== 0;
  const background = (each) => {
    const { backgroundColor } = getComputedStyle(each);
    if (isOpaque(backgroundColor)) return backgroundColor;
    return each.parentElement ? background(each.parentElement) : "rgb(255, 255, 255)";
  };
  const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
  const hasText = (each) => [...each.childNodes].some(isText);
  return [...document.querySelectorAll("body *")]
    .filter((each) => hasText(each) && each.checkVisibility() && !each.closest(":disabled"))
    .map((each) => {
      const both = [luminance(getComputedStyle(each).color), luminance(background(each))];
      return [each.outerHTML.slice(0, 60), (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)];
    })
    .filter(([, ratio]) => ratio < 4.5);
}"""
"""The elements whose text has a contrast less than 4.5 (WCAG 2.2, 1.4.3)."""


class Sent(NamedTuple):
    """A request, or a frame of a WebSocket, whose method is then `FRAME`."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None
    """None if the request has no body, or if Chromium does not expose it."""


class Visit:
    """A profile of Chromium with one page, and what is recorded of it."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.sent: list[Sent] = []
        self.received: list[bytes] = []
        """Frames of WebSockets."""
        self.printed: list[str] = []
        """Messages of the console."""
        self.problems: list[str] = []
        self.hidden: list[str] = []
        self._requests: list[Request] = []

    @classmethod
    async def begin(cls, browser: Browser) -> Visit:
        """Open a page that is recorded from the start."""
        context = await browser.new_context()
        context.set_default_timeout(DEADLINE * 1_000)
        visit = cls(context, await context.new_page())
        context.on("request", lambda each: visit._requests.append(each))  # noqa: PLW0108 - takes attributes
        context.on("console", visit._hear)
        context.on("weberror", lambda each: visit.problems.append(f"exception: {each.error}"))
        context.on("page", visit._follow)
        visit._follow(visit.page)
        await context.expose_binding("reportProblem", lambda _, text: visit.problems.append(text))
        await context.add_init_script(_WATCH)
        return visit

    def hide(self, *secrets: str) -> None:
        """Let the test fail if one of these texts, or what a seed stands for, leaves the page."""
        self.hidden.extend(secrets)

    async def requests(self) -> list[Sent]:
        """Return all that was sent so far: requests, then frames of WebSockets."""
        made = [
            Sent(each.method, each.url, await each.all_headers(), each.post_data_buffer)
            for each in list(self._requests)
        ]
        return made + self.sent

    async def check(self) -> None:
        """Fail if there was a problem, or if a page sent, printed or keeps a secret."""
        assert not self.problems, "\n".join(self.problems)
        kept = [await each.evaluate(_KEPT) for each in self.context.pages if each.url[:4] == "http"]
        haystack = [b"\n".join(_pieces(each)) for each in await self.requests()]
        haystack += [each.encode() for each in (*kept, *self.printed)]
        haystack += [unquote_to_bytes(each) for each in haystack]
        for secret in self.hidden:
            for name, spelling in spellings(secret).items():
                size = max(12, len(spelling) // 5)  # of a seed, about 50 bits in each encoding
                for start in range(max(1, len(spelling) - size + 1)):
                    fragment = spelling[start : start + size]
                    assert not any(fragment in each for each in haystack), f"leaked as {name}"

    async def check_looks(self) -> None:
        """See that the page fits a phone and has contrast, light and dark."""
        await self.page.set_viewport_size({"width": 360, "height": 740})
        backgrounds = set()
        for scheme in _SCHEMES:
            await self.page.emulate_media(color_scheme=scheme)
            assert await self.page.evaluate(_TOO_WIDE) == 0, "scrolls horizontally"
            assert await self.page.evaluate(_PALE) == [], f"low contrast, {scheme}"
            background = "getComputedStyle(document.body).backgroundColor"
            backgrounds.add(await self.page.evaluate(background))
        assert len(backgrounds) == len(_SCHEMES)

    async def picture(self, name: str, scheme: Literal["light", "dark"] = "light") -> None:
        """Make docs/images/console-NAME.png, if `XKEYMSG_PICTURES` is set (`make pictures`)."""
        if not os.environ.get("XKEYMSG_PICTURES"):
            return
        path = ROOT / "docs" / "images" / f"console-{name}.png"
        path.parent.mkdir(exist_ok=True)
        await self.page.set_viewport_size({"width": 1120, "height": 820})
        await self.page.emulate_media(color_scheme=scheme)
        await self.page.screenshot(path=path)
        assert path.stat().st_size < 150_000

    async def end(self) -> None:
        """Close the profile."""
        await self.context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        self.printed.append(message.text)
        if message.type in ("warning", "error", "assert"):
            self.problems.append(f"{message.type}: {message.text}")

    def _follow(self, page: Page) -> None:
        def frame(url: str, payload: str | bytes) -> None:
            self.sent.append(Sent("FRAME", url, {}, _bytes(payload)))

        def watch(socket: Any) -> None:
            self.sent.append(Sent("SOCKET", socket.url, {}, None))
            socket.on("framesent", lambda payload: frame(socket.url, payload))
            socket.on("framereceived", lambda payload: self.received.append(_bytes(payload)))

        page.on("websocket", watch)


def _bytes(payload: str | bytes) -> bytes:
    return payload.encode() if isinstance(payload, str) else payload


def _pieces(sent: Sent) -> Iterator[bytes]:
    yield sent.url.encode()
    for name, value in sent.headers.items():
        yield f"{name}: {value}".encode()
    yield sent.body or b""


def spellings(secret: str) -> dict[str, bytes]:
    """Return the encodings in which a secret might travel: of its text, and of a seed's bytes."""
    is_seed = re.fullmatch(r"S[XU][A-Z2-7]{56}", secret) is not None
    text = secret[3 * is_seed :].encode()  # many seeds begin with the same characters
    found = {"text": text, "lower case": text.lower(), **dict(_encodings(text, "text"))}
    if is_seed:
        raw = base64.b32decode(secret + "=" * (-len(secret) % 8))[2:34]
        found |= {"bytes": raw, **dict(_encodings(raw, "bytes"))}
    return found


def _encodings(data: bytes, of: str) -> Iterator[tuple[str, bytes]]:
    yield f"hex of {of}", data.hex().encode()
    yield f"HEX of {of}", data.hex().upper().encode()
    yield f"URL coding of {of}", "".join(f"%{byte:02x}" for byte in data).encode()
    yield f"numbers of {of}", ",".join(map(str, data)).encode()
    yield f"base32 of {of}", base64.b32encode(data).rstrip(b"=")
    for shift in range(3):  # how far into a group of three bytes the data begins
        # The first and the last characters depend on the neighbours.
        coded = base64.b64encode(bytes(shift) + data)[4 * (shift > 0) : -4]
        yield f"base64 of {of}, {shift}", coded
        yield f"base64url of {of}, {shift}", coded.translate(bytes.maketrans(b"+/", b"-_"))


class Site:
    """An HTTP server on loopback for the duration of a `with` block.

    Pages that Playwright's routes answer belong to no network, and Chromium forbids them loopback.

    Args:
        files: By path, such as `/`: the media type and the content.
        policy: The Content Security Policy of each answer.
    """

    def __init__(self, files: Mapping[str, tuple[str, bytes]], policy: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = files.get(self.path.partition("?")[0], ("", b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Content-Security-Policy", policy)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self.url: Final = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def expect(locator: Locator) -> Any:
    """Return assertions that wait."""
    from playwright.async_api import expect as make  # noqa: PLC0415 - slow to import

    make.set_options(timeout=DEADLINE * 1_000)
    return make(locator)


def find_chromium() -> str:
    """Return the path of a Chromium, or skip."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium in PATH: nothing was tried in a browser")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The Chromium of this worker."""
    path = find_chromium()
    from playwright.async_api import async_playwright  # noqa: PLC0415 - slow to import

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=ARGUMENTS, timeout=DEADLINE * 1_000
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser) -> AsyncIterator[Visit]:
    """A page of its own for one test; what it did wrong fails the test."""
    visit = await Visit.begin(chromium)
    try:
        yield visit
        await visit.check()
    finally:
        await visit.end()
