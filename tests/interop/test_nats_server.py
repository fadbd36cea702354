"""nats-server as a peer: its own Go xkeys seal to us, and open what we seal.

A server with `auth_callout { xkey }` (ADR-26) asks a service about each client that connects. It
seals the question to the service's curve key and takes a sealed answer: both directions of xkv1
against the Go implementation, and a negative oracle in the server's log, with no Go toolchain.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import nats
import nkeys
import pytest
from nacl.signing import VerifyKey
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from tests.running import DEADLINE
from tests.transport.authority import Nkey
from xkeymsg import xkv1
from xkeymsg.errors import AuthenticationError
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.testing import NATSServer

ISSUER: Final = Nkey(nkeys.PREFIX_BYTE_ACCOUNT)


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _claims_of(audience: str, subject: str, about: dict[str, object], name: str = "") -> str:
    """Sign claims as the issuer that the server trusts."""
    return ISSUER.claims(subject, {**about, "version": 2}, aud=audience, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The server's question about one client."""

    message: Msg

    @property
    def server(self) -> XKey:
        """The server's key as the header has it: a hint, which the sealed claims have to repeat."""
        assert self.message.headers is not None
        return XKey.parse(self.message.headers["Nats-Server-Xkey"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A client that the server has not decided about yet."""

    client: Client
    connecting: asyncio.Task[None]

    async def is_admitted_as(self, name: str) -> None:
        await asyncio.wait_for(self.connecting, DEADLINE)
        reply = await self.client.request("$SYS.REQ.USER.INFO", timeout=DEADLINE)
        assert json.loads(reply.data)["data"]["user"] == name

    async def is_refused(self) -> None:
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await asyncio.wait_for(self.connecting, DEADLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """A server that asks about its clients, and the service that it asks."""

    server: NATSServer
    service: Client
    requests: Subscription
    key: XKeyPair

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[tuple[Visitor, Request]]:
        """A client that has come to the door, and the server's question about it."""
        client = Client()
        connecting = asyncio.create_task(
            client.connect(
                self.server.url,
                user="somebody",
                password="whatever",
                connect_timeout=int(DEADLINE),
                allow_reconnect=False,
                error_cb=_quiet,
            )
        )
        try:
            request = Request(message=await self.requests.next_msg(timeout=DEADLINE))
            try:
                yield Visitor(client=client, connecting=connecting), request
            finally:
                # A server that waits for an answer does not stop; what it has had it ignores.
                await self.answer(request, b"")
                await asyncio.gather(connecting, return_exceptions=True)
        finally:
            connecting.cancel()
            # nats-py leaves the socket of a client that was refused open.
            await client.close()

    def open(self, request: Request) -> str:
        return xkv1.open(request.message.data, key=self.key, sender=request.server).decode("ascii")

    async def answer(self, request: Request, data: bytes) -> None:
        await self.service.publish(request.message.reply, data)

    async def log_says(self, text: str) -> None:
        """Wait for a line of the server's log: it refuses the client first and writes then."""
        deadline = time.monotonic() + DEADLINE
        while text not in self.server.log:
            assert time.monotonic() < deadline, f"no {text!r} in\n{self.server.log}"
            await asyncio.sleep(0.002)


async def _quiet(error: Exception) -> None:
    """Take the place of nats-py's own callback, which prints a refusal that is wanted here."""


@pytest.fixture
async def callout() -> AsyncIterator[Callout]:
    key = XKeyPair.generate()
    config = f"""
        authorization {{
            timeout: {DEADLINE}
            users: [ {{ user: service, password: pwd }} ]
            auth_callout {{ issuer: {ISSUER.public}, auth_users: [ service ], xkey: {key.public} }}
        }}
    """
    with NATSServer(config) as server:
        service = await nats.connect(
            server.url,
            user="service",
            password="pwd",
            connect_timeout=int(DEADLINE),
            error_cb=_quiet,
        )
        try:
            requests = await service.subscribe("$SYS.REQ.USER.AUTH")
            await service.flush(int(DEADLINE))
            yield Callout(server=server, service=service, requests=requests, key=key)
        finally:
            await service.close()


def _claims(token: str) -> dict[str, Any]:
    claims = json.loads(_decode(token.split(".")[1]))
    assert isinstance(claims, dict)
    return claims


def _admission(claims: dict[str, Any]) -> bytes:
    """Return the answer that lets the client of a request in."""
    asked = claims["nats"]
    unlimited = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
    user = _claims_of("$G", asked["user_nkey"], {"type": "user", **unlimited}, "admitted")
    return _claims_of(
        asked["server_id"]["id"],
        asked["user_nkey"],
        {"type": "authorization_response", "jwt": user},
    ).encode("ascii")


async def test_what_the_server_seals_opens_here(callout: Callout) -> None:
    async with callout.visitor() as (_, request):
        token = callout.open(request)
    claims = _claims(token)
    assert claims["nats"]["connect_opts"]["user"] == "somebody"
    # The header is in nobody's box: only the same key within the server's signature makes it the
    # server's.
    assert claims["nats"]["server_id"]["xkey"] == str(request.server)
    signed, _, signature = token.rpartition(".")
    server = base64.b32decode(claims["iss"])[1:33]
    VerifyKey(server).verify(signed.encode(), _decode(signature))
    assert claims["iss"] == claims["nats"]["server_id"]["id"]


async def test_what_the_server_seals_is_hidden_and_opens_for_nobody_else(callout: Callout) -> None:
    async with callout.visitor() as (_, request):
        sealed = request.message.data
    assert b"somebody" not in sealed
    assert b"eyJ" not in sealed[xkv1.OVERHEAD :]
    with pytest.raises(AuthenticationError):
        xkv1.open(sealed, key=XKeyPair.generate(), sender=request.server)
    with pytest.raises(AuthenticationError):
        xkv1.open(sealed, key=callout.key, sender=XKeyPair.generate().public)


async def test_the_server_admits_a_client_on_an_answer_sealed_here(callout: Callout) -> None:
    async with callout.visitor() as (visitor, request):
        answer = _admission(_claims(callout.open(request)))
        await callout.answer(request, xkv1.seal(answer, key=callout.key, to=request.server))
        await visitor.is_admitted_as("admitted")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        pytest.param(3, "encrypted input wrong version", id="version"),
        pytest.param(4, "could not decrypt input", id="first-of-nonce"),
        pytest.param(27, "could not decrypt input", id="last-of-nonce"),
        pytest.param(28, "could not decrypt input", id="first-of-tag"),
        pytest.param(43, "could not decrypt input", id="last-of-tag"),
        pytest.param(44, "could not decrypt input", id="first-of-text"),
        pytest.param(-1, "could not decrypt input", id="last-of-text"),
    ],
)
async def test_the_server_refuses_an_answer_with_one_bit_flipped(
    callout: Callout, place: int, reason: str
) -> None:
    async with callout.visitor() as (visitor, request):
        answer = _admission(_claims(callout.open(request)))
        sealed = bytearray(xkv1.seal(answer, key=callout.key, to=request.server))
        sealed[place] ^= 1
        await callout.answer(request, bytes(sealed))
        await visitor.is_refused()
        await callout.log_says(f"nkeys: {reason}")


async def test_the_server_refuses_an_answer_sealed_by_a_wrong_key(callout: Callout) -> None:
    async with callout.visitor() as (visitor, request):
        answer = _admission(_claims(callout.open(request)))
        await callout.answer(request, xkv1.seal(answer, key=XKeyPair.generate(), to=request.server))
        await visitor.is_refused()
        await callout.log_says("nkeys: could not decrypt input")


async def test_the_server_refuses_an_answer_sealed_to_a_wrong_key(callout: Callout) -> None:
    async with callout.visitor() as (visitor, request):
        answer = _admission(_claims(callout.open(request)))
        await callout.answer(
            request, xkv1.seal(answer, key=callout.key, to=XKeyPair.generate().public)
        )
        await visitor.is_refused()
        await callout.log_says("nkeys: could not decrypt input")
