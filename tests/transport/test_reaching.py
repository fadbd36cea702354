"""Reaching a server although others, or other addresses, do not answer; and taking its TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any
from urllib.parse import urlparse

import pytest
from nats.aio.client import Srv

from tests.running import DEADLINE
from tests.transport.authority import CertificateAuthority
from tests.transport.inside import pool_of
from tests.transport.links import Events, to
from tests.transport.raw import Session, broker, dead
from xkeymsg.errors import ConnectionFailedError
from xkeymsg.testing import NATSServer
from xkeymsg.transport import keeper
from xkeymsg.transport.dial import dialled
from xkeymsg.transport.lean_client import LeanClient
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions


async def test_clients_return_although_all_announced_addresses_are_dead(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        urls = [f"nats://127.0.0.1:{stack.enter_context(dead())}" for _ in range(5)]
        known = [Srv(urlparse(url), discovered=True) for url in urls]
        monkeypatch.setattr(LeanClient, "discovered", known)
        async with contextlib.AsyncExitStack() as clients:
            several = [Events() for _ in range(8)]
            for events in several:
                await clients.enter_async_context(open_link(to(server.url), events))
            await asyncio.to_thread(server.restart)
            await asyncio.gather(*(events.wait("connected") for events in several))


async def test_a_slow_server_is_reached_among_many_announced_dead_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "LONGEST_PAUSE", 0.1)

    async def slow(session: Session) -> None:
        await asyncio.sleep(0.8)  # longer than the share of a server
        await session.welcome()
        await session.serve()

    known = [Srv(urlparse(f"nats://127.0.0.1:{port}"), discovered=True) for port in range(1, 20)]
    monkeypatch.setattr(LeanClient, "discovered", known)
    async with broker(Session.welcome, slow) as server:  # the first hangs up
        events = Events()
        async with open_link(to(server.url), events):
            await events.wait("connected")


async def test_given_servers_are_tried_before_announced_ones() -> None:
    known = [Srv(urlparse(f"nats://127.0.0.1:{port}"), discovered=True) for port in (3, 4)]
    client = LeanClient(known)
    ports = pool_of(client, ["nats://127.0.0.1:1", "nats://127.0.0.1:2"])
    assert set(ports[:2]) == {1, 2}
    assert set(ports[2:]) == {3, 4}


async def test_the_addresses_of_a_name_race(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, port = socket.getaddrinfo, int(server.url.rpartition(":")[2])

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        if host not in ("two.test", b"two.test"):
            return real(host, *more, **named)
        return [a for ip in ("127.0.0.2", "127.0.0.1") for a in real(ip, *more, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with dead("127.0.0.2", port):
        async with asyncio.timeout(DEADLINE), dialled(to(f"nats://two.test:{port}", timeout=30.0)):
            pass


async def test_a_server_that_offers_tls_is_connected_to_through_tls(
    authority: CertificateAuthority,
) -> None:
    own = authority.issue("server")
    config = f'allow_non_tls: true\ntls {{ cert_file: "{own.cert}", key_file: "{own.key}" }}'
    with NATSServer(config) as server:
        url = server.url.replace("nats://", "tls://")
        async with dialled(to(url, tls_ca=authority.path)) as client:
            assert client.ssl_object is not None
        async with dialled(to(server.url)) as client:  # as in nats.go
            assert client.ssl_object is None
            assert client.offers_tls


async def test_a_silent_server_may_want_tls_first(authority: CertificateAuthority) -> None:
    own = authority.issue("server")
    config = f'tls {{ cert_file: "{own.cert}", key_file: "{own.key}", handshake_first: true }}'
    with NATSServer(config) as server:
        with pytest.raises(ConnectionFailedError) as caught:
            async with dialled(to(server.url, tls_ca=authority.path, timeout=1.0)):
                pass
        assert "--tlsfirst" in caught.value.check
        assert "--tlsfirst" not in caught.value.reason
        async with dialled(to(server.url, tls_ca=authority.path, tls_first=True)):
            pass
    with dead() as port, pytest.raises(ConnectionFailedError) as caught:
        async with dialled(ConnectOptions(servers=(f"nats://127.0.0.1:{port}",), timeout=0.3)):
            pass
    assert "--tlsfirst" not in str(caught.value)
