"""The server of the console and of `xkeymsg decode`; its bounds are in the tests of both."""

from __future__ import annotations

from pathlib import Path

from xkeymsg.cli.web.server import served
from xkeymsg.daemons.common.listeners import listening


async def nothing(_scope: object, _receive: object, _send: object) -> None: ...


async def test_a_unix_socket_is_open_until_it_is_removed(tmp_path: Path) -> None:
    """Else a successor's could have its inode, and would be removed."""
    path = tmp_path / "socket"
    with listening(f"unix:{path}") as (listener, _):
        async with served(nothing, listener):
            assert path.is_socket()
        assert listener.fileno() >= 0
        assert path.is_socket()
    assert listener.fileno() == -1
    assert not path.exists()
