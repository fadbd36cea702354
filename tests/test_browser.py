"""The harness itself: it sees each kind of leak, violation and error."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from tests.browser import Site, Visit, spellings
from tests.running import until, unused_port
from xkeymsg import XKeyPair
from xkeymsg.testing import NATSServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORBIDDEN = {
    "style-src-attr": "<p style='color: red'>",
    "script-src-elem": "<script>1</script>",
    "img-src": "<img src=/a.png>",
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pages = {"": "", **FORBIDDEN}
    files = {
        f"/{name}": ("text/html", f"<!doctype html><title>t</title>{body}".encode())
        for name, body in pages.items()
    }
    with Site(files, "default-src 'none'; connect-src 'self' ws:") as site:
        yield site.url


async def finds(visit: Visit, what: str) -> None:
    """See that a check fails because of a problem."""
    await until(lambda: any(what in each for each in visit.problems))
    with pytest.raises(AssertionError, match=what):
        await visit.check()


async def test_violations_errors_and_warnings_are_seen(visit: Visit, url: str) -> None:
    for directive in FORBIDDEN:
        await visit.page.goto(url + directive)
        await finds(visit, f"CSP: {directive}")
    await visit.page.evaluate("console.warn('careful')")
    await finds(visit, "warning: careful")
    await visit.page.evaluate("void setTimeout(() => { throw new Error('oops') })")
    await finds(visit, "exception: oops")
    await visit.page.goto(url)
    visit.problems.clear()
    await visit.page.evaluate("console.log('fine')")


SEND = "(body) => fetch('/', { method: 'POST', body: new Uint8Array(body) })"


async def test_a_secret_in_a_request_is_seen_in_each_encoding(visit: Visit, url: str) -> None:
    await visit.page.goto(url)
    for name in spellings(XKeyPair.generate().seed()):
        seed = XKeyPair.generate().seed()
        visit.hide(seed)
        await visit.check()
        await visit.page.evaluate(SEND, list(b"before " + spellings(seed)[name][:40]))
        await leaks(visit)


async def test_a_secret_anywhere_is_seen(visit: Visit, url: str) -> None:
    await visit.page.goto(url)
    for script in (
        "(seed) => fetch('/', { headers: { a: seed } })",
        "(seed) => fetch('/?a=' + seed.slice(10, 30))",
        "(seed) => history.replaceState(seed, '')",
        "(seed) => { location.hash = seed }",
        "(seed) => { document.title = seed }",
        "(seed) => { name = seed }",
        "(seed) => localStorage.setItem(seed, '')",
        "(seed) => sessionStorage.setItem('', btoa('a' + seed))",
        "(seed) => { document.cookie = seed }",
        "(seed) => console.log({ seed })",
        "(seed) => new Promise((resolve) => { indexedDB.open(seed).onsuccess = resolve })",
    ):
        seed = XKeyPair.generate().seed()
        visit.hide(seed)
        await visit.check()
        await visit.page.evaluate(f"async (seed) => void await ({script})(seed)", seed)
        await leaks(visit)


async def leaks(visit: Visit) -> None:
    """See that a secret is found, and forget it."""
    with pytest.raises(AssertionError, match="leaked as"):
        await visit.check()
    visit.hidden.clear()


async def test_frames_are_recorded(visit: Visit, url: str) -> None:
    await visit.page.goto(url)
    seed, port = XKeyPair.generate().seed(), unused_port()
    config = f'websocket {{ listen: "127.0.0.1:{port}", no_tls: true }}'
    with NATSServer(config):
        await visit.page.evaluate(TALK, [f"ws://127.0.0.1:{port}", seed])
    assert [each.startswith(b"INFO {") for each in visit.received][:1] == [True]
    visit.hide(seed)
    await leaks(visit)


TALK = """([url, seed]) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onmessage = () => { socket.send(new TextEncoder().encode(seed)); socket.close(); };
  socket.onclose = () => resolve();
})"""


async def test_spellings_are_those_of_others() -> None:
    pair = XKeyPair.generate()
    found = b" ".join(spellings(pair.seed()).values())
    for shift in range(3):
        assert base64.b64encode(bytes(shift) + pair.seed().encode())[12:40] in found
    assert json.dumps([*pair.seed()[3:].encode()], separators=(",", ":"))[1:-1].encode() in found
