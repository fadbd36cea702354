"""Opens envelopes for other programs on this machine, over HTTP.

    POST /decode?subject=orders.new          application/octet-stream: an envelope, or its armour
    POST /decode                             application/json: {"subject": …, "data": base64}

The names in JSON may begin with a capital letter, and the message may be in `message`: so the nats
CLI and JetStream's API write stored messages. The subject is what the broker says; if it is given,
the sealed subject must be equal.

Any page in a browser, and any user of this machine, can reach the address. Each request therefore
needs the token as `Authorization: Bearer …`, and what `Guard` demands. Only pages of permitted
origins get an answer. A request with a wrong token is refused before its body is read.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from xkeymsg.cli.inspect import describe_envelope
from xkeymsg.cli.web.guard import Guard
from xkeymsg.daemons.common.records import record_of
from xkeymsg.daemons.common.terminal import say
from xkeymsg.envelope.message import Message
from xkeymsg.errors import (
    ConfigurationError,
    ContentTypeError,
    UnsupportedVersionError,
    XKeyMsgError,
)
from xkeymsg.limits import Limits
from xkeymsg.opener import Opener
from xkeymsg.text_armour import dearmour, is_armoured
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("MOST_BODY", "PATH", "Decoder")

PATH: Final = "/decode"
MOST_BODY: Final = Limits().envelope * 3 // 2
"""Bytes of a body: the largest envelope in base64, and its subject."""
_AT_ONCE: Final = 4
"""Bodies that are read and opened at a time."""
_MOST_SUBJECT: Final = 65_536
_PREFLIGHT: Final = {
    "access-control-allow-methods": "POST",
    "access-control-allow-headers": "authorization, content-type",
    "access-control-max-age": "600",
}
_PRIVATE: Final = "access-control-request-private-network"
"""Asked by browsers before a page of the internet may reach this machine."""


class _DecodeRequest(NamedTuple):
    envelope: bytes
    subject: str | None


class _BadRequestError(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Decoder:
    """ASGI application that opens envelopes.

    Args:
        opener: Opens them; without replay protection, because each may be looked at repeatedly.
        subject: The sealed subjects to accept: a pattern.
        token: What each request must present.
        peers: Names the senders; read again before each message.
        origins: Values of `Origin` of the pages that may ask.
        patience: Seconds for a client to send a body.
    """

    def __init__(
        self,
        opener: Opener,
        *,
        subject: str,
        token: str,
        peers: PeersFile | None = None,
        origins: Iterable[str] = (),
        patience: float = 10.0,
    ) -> None:
        self._opener, self._subject, self._peers = opener, subject, peers
        self._expected = f"Bearer {token}".encode()
        self._origins, self._patience = frozenset(origins), patience
        self._room = asyncio.Semaphore(_AT_ONCE)

    def guarded(self, hosts: Iterable[str]) -> Guard:
        """Return the application to serve.

        Args:
            hosts: The values of `Host` to accept.
        """
        return Guard(self, hosts=hosts, origins=self._origins, most_body=MOST_BODY, tools=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins:
            response = _refusal(403, "requests from this origin are not permitted")
        elif request.method == "OPTIONS":
            response = self._preflight(request)
        else:
            try:
                response = await self._answer(request)
            except _BadRequestError as error:
                response = _refusal(error.status, str(error))
            except ClientDisconnect:
                return  # or the body was too large: `Guard` says so
            except Exception as error:  # noqa: BLE001 - no request ends the program, or is logged
                say("xkeymsg", f"unexpected error: {type(error).__name__}")
                response = _refusal(500, "unexpected error")
        if origin is not None and origin in self._origins:
            response.headers["access-control-allow-origin"] = origin
        response.headers["vary"] = "origin"
        await response(scope, receive, send)

    def _preflight(self, request: Request) -> Response:
        """Answer what a browser asks before it sends the request of a page of another origin."""
        if "origin" not in request.headers:
            return _refusal(403, "requests from this origin are not permitted")
        response = Response(status_code=204, headers=_PREFLIGHT)
        if request.headers.get(_PRIVATE) == "true":
            response.headers["access-control-allow-private-network"] = "true"
        return response

    async def _answer(self, request: Request) -> Response:
        given = [value for name, value in request.headers.raw if name == b"authorization"]
        if len(given) != 1 or not secrets.compare_digest(given[0], self._expected):
            response = _refusal(401, "expected the token as `Authorization: Bearer …`")
            response.headers["www-authenticate"] = "Bearer"
            return response
        if request.scope["path"] != PATH:
            raise _BadRequestError(404, f"expected the path {PATH}")
        if request.method != "POST":
            raise _BadRequestError(405, "expected POST")
        parse = _parser(request)
        async with self._room:
            body = await self._body(request)
            return await asyncio.to_thread(self._decode, parse, body)

    async def _body(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._patience):
                return await request.body()
        except TimeoutError:
            raise _BadRequestError(408, "the body did not arrive in time") from None

    def _decode(self, parse: Callable[[bytes], _DecodeRequest], body: bytes) -> Response:
        question = parse(body)
        seen: Mapping[str, Any] | None = None
        try:
            envelope = question.envelope
            if is_armoured(envelope):
                envelope = dearmour(envelope.decode("ascii", "replace"))
            if envelope[:4] == b"xkv1":
                raise UnsupportedVersionError("xkv1 has no subject and no sender: use xkeymsg open")
            seen = describe_envelope(envelope)
            self._reload()
            message = self._open(envelope, question.subject)
            line = record_of(message).line.rstrip(b"\n")
        except XKeyMsgError as error:
            refusal = {
                "opened": False,
                "code": error.code,
                "public_code": error.public_code,
                "explanation": str(error),
                "envelope": seen,
            }
            return Response(_json(refusal), 422, media_type="application/json")
        found = {
            "opened": True,
            "authenticated": message.admitted,
            "signed": message.signer is not None,
            "peer": self._name_of(message),
            "envelope": seen,
        }
        # The line has numbers with all their digits, which `json` cannot write.
        text = _json(found)[:-1] + b', "message": ' + line + b"}"
        return Response(text, media_type="application/json")

    def _open(self, envelope: bytes, wire: str | None) -> Message:
        try:
            return self._opener.open(envelope, subject=self._subject, wire_subject=wire)
        except ContentTypeError:
            return self._opener.open_document(envelope, subject=self._subject, wire_subject=wire)

    def _name_of(self, message: Message) -> str | None:
        """Return the name of a sender that was admitted by name."""
        if self._peers is None or not message.admitted:
            return None
        peers = self._peers.current.peers.items()
        return next((name for name, peer in peers if message.sender in peer.xkeys), None)

    def _reload(self) -> None:
        """Read the peers again; a file that cannot be used is reported once."""
        if self._peers is not None:
            try:
                self._peers.reload()
            except ConfigurationError as error:
                say("xkeymsg", f"the previous peers stay in use: {error}")


def _parser(request: Request) -> Callable[[bytes], _DecodeRequest]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _parse_json
    if kind == "application/octet-stream":
        subjects = request.query_params.getlist("subject")
        if len(subjects) > 1 or request.query_params.keys() - {"subject"}:
            raise _BadRequestError(400, "expected at most one parameter: subject")
        return lambda body: _DecodeRequest(body, subjects[0] if subjects else None)
    raise _BadRequestError(415, "expected application/octet-stream or application/json")


def _parse_json(body: bytes) -> _DecodeRequest:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("message"), dict):
        found = found["message"]
    if not isinstance(found, dict):
        raise _BadRequestError(400, "expected a JSON object")
    data, subject = (found.get(each, found.get(each.title())) for each in ("data", "subject"))
    if not isinstance(data, str) or not isinstance(subject, str | None):
        raise _BadRequestError(400, "expected data, base64, and subject, both strings")
    if subject is not None and len(subject) > _MOST_SUBJECT:
        raise _BadRequestError(400, "the subject is too long")
    try:
        return _DecodeRequest(base64.b64decode(data, validate=True), subject)
    except ValueError:
        raise _BadRequestError(400, "data: expected base64") from None


def _refusal(status: int, text: str) -> Response:
    return Response(_json({"error": text}), status, media_type="application/json")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
