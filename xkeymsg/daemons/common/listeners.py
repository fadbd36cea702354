"""Listeners on a port or a Unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from xkeymsg.daemons.common.destinations import is_loopback
from xkeymsg.errors import ConfigurationError

__all__ = ("is_local", "listening")

_BACKLOG: Final = 16


def is_local(listen: str) -> bool:
    """Return whether only programs of this machine can connect to an address.

    Args:
        listen: `HOST:PORT`, with an address as host, or `unix:/PATH`.
    """
    path = listen.removeprefix("unix:")
    if path != listen:
        return path.startswith("/") and len(path.encode()) < 108
    host, colon, port = listen.rpartition(":")
    fits = colon and port.isascii() and port.isdecimal() and int(port) < 65536
    return bool(fits) and is_loopback(host.strip("[]"))


@contextlib.contextmanager
def listening(listen: str) -> Iterator[tuple[socket.socket, str]]:
    """Listen while the block runs.

    At the end of the block a Unix socket is removed, unless another process has replaced it. A
    server that closes its socket needs a duplicate of this one.

    Args:
        listen: `HOST:PORT`, with an address as host, or `unix:/PATH`.

    Yields:
        The socket, and its address, with the chosen port if it was 0.

    Raises:
        ConfigurationError: If it cannot listen there.
    """
    path = Path(listen[5:]) if listen.startswith("unix:") else None
    listener = _tcp(listen) if path is None else _unix(path)
    ours = None if path is None else _inode(path)
    try:
        yield listener, _named(listener) if path is None else listen
    finally:
        # While the listener is open no successor's socket has its inode.
        if path is not None and _inode(path) == ours is not None:
            with contextlib.suppress(OSError):
                path.unlink()
        listener.close()


def _inode(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file; None if it does not exist."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _tcp(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _bound(listener, (host, int(port)), listen)


def _unix(path: Path) -> socket.socket:
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()  # left by a killed process
    mask = os.umask(0o117)  # allow the group to connect
    try:
        return _bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), str(path), f"unix:{path}")
    finally:
        os.umask(mask)


def _bound(listener: socket.socket, address: object, shown: str) -> socket.socket:
    try:
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {shown}: {error.strerror}") from error
    return listener


def _named(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
