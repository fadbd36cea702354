"""The nats-server that tests and demonstrations run."""

from __future__ import annotations

import socket

import pytest

from xkeymsg import ConfigurationError
from xkeymsg.testing import NATSServer


def greeting(server: NATSServer) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), 5) as raw:
        return raw.recv(4)


def test_it_listens_when_the_block_begins_and_is_gone_when_it_ends() -> None:
    with NATSServer(jetstream=True) as server:
        assert greeting(server) == b"INFO"
        process, folder = server.process, server.directory
        assert process is not None
    assert process.returncode is not None
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        greeting(server)


@pytest.mark.parametrize("config", ["nonsense {", "max_payload: -"])
def test_a_configuration_that_is_refused_is_an_error_with_the_servers_words(config: str) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"nats-server exited with 1: .+"),
        NATSServer(config),
    ):
        pass


def test_a_restart_keeps_the_port() -> None:
    with NATSServer() as server:
        port = server.port
        server.kill()
        server.start()
        assert server.port == port
        server.restart()
        assert server.port == port
        assert greeting(server) == b"INFO"
