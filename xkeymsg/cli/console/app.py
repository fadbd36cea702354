"""The console's ASGI application: pages, event streams and static files."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

import xkeymsg
from xkeymsg.cli.console.changes import MOST_STREAMS, Changes
from xkeymsg.cli.console.login import Login
from xkeymsg.cli.page import name_html
from xkeymsg.cli.style import STYLE
from xkeymsg.cli.web.guard import Guard

__all__ = ("MOST_BODY", "Page", "make_app")

MOST_BODY: Final = 1 << 20
"""Bytes of a request's body: a form with a policy."""
_PATIENCE: Final = 10.0
"""Seconds for a browser to send a form."""
_HERE: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src {connect}; form-action {form}; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)

_Context = Mapping[str, Any]


class Page(NamedTuple):
    """A page of the console."""

    path: str
    """Its path, which is also its name in `Changes`."""
    title: str
    template: str
    context: Callable[[], _Context]
    """Returns what the template shows; it must be short, and wait for nothing."""
    posted: Callable[[bytes], Awaitable[_Context]] | None = None
    """Returns the same for a form."""
    connect: str = "'self'"
    """What scripts of the page may connect to."""
    is_live: bool = True


def make_app(
    pages: Sequence[Page],
    changes: Changes,
    *,
    hosts: frozenset[str],
    scheme: str = "http",
    login: Login | None = None,
    notices: Callable[[], Sequence[str]] = tuple,
) -> Guard:
    """Make the application.

    Args:
        pages: The pages, in the order of the navigation.
        changes: Tells when a page has changed.
        hosts: The values of `Host` to accept.
        scheme: `http` or `https`.
        login: What browsers have to send; None for nothing.
        notices: Returns what keeps the pages from being current.
    """
    templates = Environment(
        loader=PackageLoader("xkeymsg.cli.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["name"] = lambda text: Markup(name_html(str(text)))  # noqa: S704 - escaped
    templates.filters["duration"] = _duration
    templates.globals.update(pages=pages, notices=notices, version=xkeymsg.__version__)
    served = _Served(templates, changes)
    routes = [
        Route("/events", served.events_of({page.path for page in pages if page.is_live})),
        Route("/static/base.css", _style),
        Mount("/static", StaticFiles(directory=_HERE / "static")),
        *(
            Route(
                page.path,
                served.page(page),
                methods=["GET", "POST"] if page.posted else ["GET"],
            )
            for page in pages
        ),
    ]
    middleware = [] if login is None else [Middleware(_Gate, login)]
    app = Starlette(
        routes=routes, middleware=middleware, exception_handlers={HTTPException: _refused}
    )
    headers = {"content-security-policy": _POLICY.format(connect="'none'", form="'none'")}
    return Guard(app, hosts=hosts, scheme=scheme, headers=headers, most_body=MOST_BODY)


class _Gate:
    """ASGI middleware: every request needs the login."""

    def __init__(self, app: ASGIApp, login: Login) -> None:
        self._app, self._login = app, login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("authorization", "")
        if not (status := self._login.status(given)):
            await self._app(scope, receive, send)
            return
        more = {"www-authenticate": 'Basic realm="xkeymsg console", charset="UTF-8"'}
        response = PlainTextResponse(f"{status}\n", status, more if status == 401 else None)
        await response(scope, receive, send)


class _Served:
    def __init__(self, templates: Environment, changes: Changes) -> None:
        self._templates, self._changes = templates, changes

    def page(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler of a page."""
        template = self._templates.get_template(page.template)

        async def show(request: Request) -> Response:
            if request.method == "POST" and page.posted is not None:
                body = await _body(request)
                context = await page.posted(body)
            else:
                context = page.context()
            html = template.render(page=page, **context)
            form = "'none'" if page.posted is None else "'self'"
            policy = _POLICY.format(connect=page.connect, form=form)
            return HTMLResponse(html, headers={"content-security-policy": policy})

        return show

    def events_of(self, paths: set[str]) -> Callable[[Request], Awaitable[Response]]:
        """Return the handler of event streams."""

        async def events(request: Request) -> Response:
            if request.headers.get("sec-fetch-mode") == "navigate":
                raise HTTPException(403)  # a link on another page would hold a stream
            path = request.query_params.get("page", "")
            if path not in paths:
                raise HTTPException(404)
            if self._changes.streams >= MOST_STREAMS:
                raise HTTPException(503, headers={"retry-after": "10"})
            stream = self._changes.events(path)
            return StreamingResponse(stream, media_type="text/event-stream")

        return events


def _duration(seconds: float | None) -> str:
    """Format a duration with one unit."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await request.body()
    except TimeoutError:
        raise HTTPException(408) from None


async def _style(_: Request) -> Response:
    return Response(STYLE, media_type="text/css")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    return PlainTextResponse(f"{error.status_code}\n", error.status_code, error.headers)
