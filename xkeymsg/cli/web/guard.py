"""Refuses requests that other web pages can cause, and sets security headers on every response.

Any web page can make a browser send requests to loopback, and DNS rebinding gives them the name of
its own host. Therefore `Host` must be one of the names of this server, and `Origin`, where a
browser sends one, must be this server or listed. Requests that change anything are refused without
either a permitted `Origin` or another proof that no page of another site sent them. See the Fetch
standard for `Origin` and `Sec-Fetch-Site`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final

from xkeymsg.daemons.common.destinations import is_loopback

__all__ = ("HEADERS", "Guard", "local_hosts")

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""The headers of every response; an application, or an argument, may override each."""
_SAFE: Final = (b"GET", b"HEAD", b"OPTIONS")
_SENT: Final = (b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest")
_ONCE: Final = (*_SENT, b"host", b"content-length")
"""The headers that are checked, and may occur once."""
_OWN: Final = (b"same-origin", b"none")
"""Values of `Sec-Fetch-Site` for requests that no other site has caused."""
_TEXTS: Final = {
    400: b"a header is missing, repeated or invalid\n",
    403: b"requests from this origin are not permitted\n",
    413: b"the body is too large\n",
    421: b"this server does not have the name in Host\n",
}


def local_hosts(listen: str) -> frozenset[str]:
    """Return the values of `Host` that clients on this machine send to an address.

    Args:
        listen: `HOST:PORT`, with an address as host, or `unix:/PATH`.

    Returns:
        The values; none for an address other than loopback.
    """
    if listen.startswith("unix:"):
        return frozenset({"localhost"})
    host, _, port = listen.rpartition(":")
    if not is_loopback(host.strip("[]")):
        return frozenset()
    names = {host, "localhost"}
    return frozenset({f"{each}:{port}" for each in names} | (names if port == "80" else set()))


class Guard:
    """ASGI middleware: checks `Host` and `Origin`, bounds bodies, and sets headers.

    Args:
        app: The application.
        hosts: The values of `Host` to accept, with the port unless it is the scheme's own.
        origins: Values of `Origin` to accept in addition to this server's own.
        headers: Headers of each response, in addition to `HEADERS` or instead of some.
        scheme: Of the own origins: `http` or `https`.
        most_body: The limit of a body in bytes.
        tools: Whether requests that change anything are accepted without `Origin` and
            `Sec-Fetch-Site`, as programs send them; then something else must authorize them, which
            a web page cannot send.
    """

    def __init__(
        self,
        app: _App,
        *,
        hosts: Iterable[str],
        origins: Iterable[str] = (),
        headers: Mapping[str, str] = {},
        scheme: str = "http",
        most_body: int = 0,
        tools: bool = False,
    ) -> None:
        self._app = app
        self._hosts = {each.lower().encode() for each in hosts}
        self._origins = {each.encode() for each in origins}
        self._origins |= {b"%b://%b" % (scheme.encode(), each) for each in self._hosts}
        self._headers = {
            name.lower().encode(): value.encode() for name, value in (HEADERS | {**headers}).items()
        }
        self._most = most_body
        self._tools = tools

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve a request; anything but HTTP is refused."""
        if scope["type"] != "http":
            raise ValueError("HTTP only")  # the server closes the connection
        exchange = _Exchange(receive, send, self._most, self._headers)
        status = self._refusal(scope["method"].encode(), scope["headers"])
        if status:
            await exchange.refuse(status)
            return
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            if not exchange.is_too_large:
                raise
        if exchange.is_too_large:
            await exchange.refuse(413)

    def _refusal(self, method: bytes, headers: Iterable[tuple[bytes, bytes]]) -> int:
        """Return the status with which to refuse a request; 0 if it is accepted."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            found.setdefault(name.lower(), []).append(value)
        one = {name: found.get(name, [b""]) for name in _ONCE}
        length = one[b"content-length"][0]
        if any(len(values) > 1 for values in one.values()) or b"host" not in found:
            return 400
        if length and (not length.isdigit() or len(length) > 18):
            return 400
        if one[b"host"][0].lower() not in self._hosts:
            return 421
        if int(length or b"0") > self._most:
            return 413
        return 0 if self._is_ours(method, *(one[name][0] for name in _SENT)) else 403

    def _is_ours(self, method: bytes, origin: bytes, site: bytes, mode: bytes, dest: bytes) -> bool:
        """Return whether no page of another origin has caused a request, or it does no harm."""
        if origin == b"null" and site == b"same-origin":
            return True  # a form of a page with `no-referrer`; no script can set Sec-Fetch-Site
        if origin:
            return origin in self._origins
        if method not in _SAFE:
            return site in _OWN or (self._tools and not site)
        # A link on another page may open a page of this server, but nothing else: no frame.
        return not site or site in _OWN or (mode, dest) == (b"navigate", b"document")


class _Exchange:
    """One request and its response."""

    def __init__(
        self, receive: _Receive, send: _Send, most: int, headers: Mapping[bytes, bytes]
    ) -> None:
        self._receive, self._send = receive, send
        self._left, self._headers = most, headers
        self._is_begun = False
        self.is_too_large = False

    async def receive(self) -> _Message:
        """Return the next message; once the body exceeds the limit, a disconnection."""
        if not self.is_too_large:
            message = await self._receive()
            self._left -= len(message.get("body", b""))
            self.is_too_large = self._left < 0
        return {"type": "http.disconnect"} if self.is_too_large else message

    async def send(self, message: _Message) -> None:
        """Send a message of the application, with the missing headers."""
        if self.is_too_large and not self._is_begun:
            return
        if message["type"] == "http.response.start":
            self._is_begun = True
            given = [(name.lower(), value) for name, value in message.get("headers", ())]
            names = {name for name, _ in given}
            more = [each for each in self._headers.items() if each[0] not in names]
            message = {**message, "headers": given + more}
        await self._send(message)

    async def refuse(self, status: int) -> None:
        """Send a refusal, unless the application has begun to respond."""
        if self._is_begun:
            return
        self.is_too_large = False
        text = _TEXTS[status]
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": text})
