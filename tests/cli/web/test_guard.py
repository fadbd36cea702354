"""Requests that another web page can cause are refused, and every response has safe headers."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import pytest

from xkeymsg.cli.web.guard import HEADERS, Guard, local_hosts

HOST = "127.0.0.1:8480"
OWN = f"http://{HOST}"
Message = MutableMapping[str, Any]


class Application:
    """Answers with the size of the body."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        self.calls += 1
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            size += len(message["body"])
            if not message["more_body"]:
                break
        headers = [(b"Referrer-Policy", b"same-origin")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(size).encode()})


async def ask(
    guard: Guard,
    *headers: tuple[str, str],
    method: str = "GET",
    host: str | None = HOST,
    body: Iterable[bytes] = (b"",),
) -> tuple[int, dict[str, str], bytes]:
    """Send a request; return status, headers and body of the response."""
    given = [(name.lower().encode(), value.encode()) for name, value in headers]
    if host is not None:
        given.append((b"host", host.encode()))
    chunks = list(body)
    sent: list[Message] = []

    async def receive() -> Message:
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        sent.append(message)

    await guard({"type": "http", "method": method, "headers": given}, receive, send)
    start, *rest = sent
    names = [name.decode() for name, _ in start["headers"]]
    assert len(set(names)) == len(names)
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, b"".join(each["body"] for each in rest)


def guarded(**more: Any) -> Guard:
    return Guard(Application(), hosts=local_hosts("127.0.0.1:8480"), **more)


async def test_the_own_page_is_served_with_safe_headers() -> None:
    for host in (HOST, "localhost:8480", "LOCALHOST:8480"):
        status, headers, body = await ask(guarded(), host=host)
        assert (status, body) == (200, b"0")
        assert headers == HEADERS | {"referrer-policy": "same-origin"}


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8480", "127.0.0.1", "127.0.0.1:8481", "127.0.0.1.evil.example",
     "localhost.:8480", "[::1]:8480", "", "127.0.0.1:8480@evil.example", "127.0.0.1:8480 "],
)  # fmt: skip
async def test_a_name_of_another_host_is_refused(host: str) -> None:
    """DNS rebinding: the attacker's name leads to loopback, but stays in `Host`."""
    status, headers, _ = await ask(guarded(), host=host)
    assert status == 421
    assert headers.items() >= HEADERS.items()


async def test_a_request_needs_one_host() -> None:
    assert (await ask(guarded(), host=None))[0] == 400
    assert (await ask(guarded(), ("Host", HOST)))[0] == 400


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", f"https://{HOST}", "http://127.0.0.1", "http://127.0.0.1:1",
     f"{OWN}/", f"{OWN}.evil.example", OWN.upper(), "file://"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_another_origin_is_refused(origin: str, method: str) -> None:
    assert (await ask(guarded(tools=True), ("Origin", origin), method=method))[0] == 403


async def test_the_form_of_an_own_page_is_accepted() -> None:
    """With `no-referrer`, browsers send `Origin: null` for it, too."""
    null = ("Origin", "null")
    assert (await ask(guarded(), null, ("Sec-Fetch-Site", "same-origin"), method="POST"))[0] == 200
    for site in ("cross-site", "same-site", "none", ""):
        assert (await ask(guarded(), null, ("Sec-Fetch-Site", site), method="POST"))[0] == 403


async def test_own_and_listed_origins_are_accepted() -> None:
    for origin in (OWN, "http://localhost:8480", "https://ui.example"):
        guard = guarded(origins=("https://ui.example",))
        assert (await ask(guard, ("Origin", origin), method="POST"))[0] == 200
    assert (await ask(guarded(), ("Origin", OWN), ("Origin", OWN)))[0] == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_other_sites_may_only_open_a_page(site: str) -> None:
    """A tag `<img>`, `<script>` or `<iframe>` sends no `Origin`."""
    header = ("Sec-Fetch-Site", site)
    whole = ("Sec-Fetch-Dest", "document")
    for mode in ("no-cors", "cors", "websocket", ""):
        assert (await ask(guarded(), header, ("Sec-Fetch-Mode", mode), whole))[0] == 403
    navigate = ("Sec-Fetch-Mode", "navigate")
    assert (await ask(guarded(), header, navigate, whole))[0] == 200
    for dest in ("iframe", "frame", "object", "embed", "empty", ""):
        assert (await ask(guarded(), header, navigate, ("Sec-Fetch-Dest", dest)))[0] == 403
    for tools in (False, True):
        assert (await ask(guarded(tools=tools), header, navigate, whole, method="POST"))[0] == 403


async def test_what_changes_something_needs_proof_that_no_other_page_sent_it() -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "X"):
        assert (await ask(guarded(), method=method))[0] == 403
        assert (await ask(guarded(tools=True), method=method))[0] == 200
        same = ("Sec-Fetch-Site", "same-origin")
        assert (await ask(guarded(), same, method=method))[0] == 200


@pytest.mark.parametrize("length", ["-1", "+1", "1_0", "x", "9" * 30, "²"])
async def test_an_invalid_length_is_refused(length: str) -> None:
    status, *_ = await ask(guarded(most_body=10), ("Content-Length", length), ("Origin", OWN))
    assert status == 400


async def test_bodies_are_bounded() -> None:
    guard = guarded(most_body=10)
    post = ("Origin", OWN)
    assert (await ask(guard, post, method="POST", body=[b"01234", b"56789"]))[2] == b"10"
    for chunks in ([b"01234", b"56789", b"x"], [b"x" * 11], [b"x" * 11, b"y"]):
        status, headers, _ = await ask(guard, post, method="POST", body=chunks)
        assert (status, headers["connection"]) == (413, "close")
    application = Application()
    guard = Guard(application, hosts={HOST}, most_body=10)
    assert (await ask(guard, post, ("Content-Length", "11"), method="POST"))[0] == 413
    assert application.calls == 0


async def test_an_error_of_the_application_stays_an_error() -> None:
    async def broken(*_: Any) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await ask(Guard(broken, hosts={HOST}))


async def test_anything_but_http_is_refused() -> None:
    application = Application()
    with pytest.raises(ValueError, match="HTTP only"):
        await Guard(application, hosts={HOST})({"type": "websocket"}, None, None)  # type: ignore[arg-type]
    assert application.calls == 0


def test_names_of_loopback() -> None:
    assert local_hosts("[::1]:8480") == {"[::1]:8480", "localhost:8480"}
    assert local_hosts("127.0.0.1:80") == {
        "127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost",
    }  # fmt: skip
    assert local_hosts("unix:/run/x.sock") == {"localhost"}
    assert not local_hosts("0.0.0.0:80") | local_hosts("[::]:80")
