"""Checks of a running daemon, based on its readiness and its metrics."""

from __future__ import annotations

import socket
import time
from typing import Final

from xkeymsg.cli.doctor.findings import CheckResult, judge_metrics, judge_readiness
from xkeymsg.text import may_be_secret

__all__ = ("check_daemon",)

_LONGEST: Final = 4 << 20
_REQUEST: Final = "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_STATUSES: Final = b"HTTP/1.1 200 ", b"HTTP/1.1 503 "  # 503: not ready


def check_daemon(where: str, timeout: float) -> list[CheckResult]:
    """Check a daemon within `timeout` seconds. Errors become findings.

    Args:
        where: The `observe.listen` of its configuration: `127.0.0.1:9464`, `unix:/run/x.sock`.
        timeout: Seconds.
    """
    deadline = time.monotonic() + timeout
    try:
        readiness, metrics = (_fetch(where, each, deadline) for each in ("/readyz", "/metrics"))
    except (OSError, ValueError) as error:  # ValueError: invalid address or response
        shown = "the address" if may_be_secret(where) else where
        said = f"{shown}: {getattr(error, 'strerror', None) or str(error)}"
        return [CheckResult("daemon", "fail", said, "give the observe.listen of a running daemon")]
    return [judge_readiness(readiness), *judge_metrics(metrics)]


def _fetch(where: str, page: str, deadline: float) -> str:
    """Fetch a page.

    Raises:
        OSError: If the daemon does not respond in time.
        ValueError: If the address or the response is malformed.
    """
    path = where.removeprefix("unix:")
    if path != where:
        dialled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        host, colon, port = where.rpartition(":")
        if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65536):
            raise ValueError("expected HOST:PORT or unix:PATH")
        address = host.strip("[]"), int(port)
        dialled = socket.create_connection(address, deadline - time.monotonic())
    with dialled:
        if path != where:
            dialled.settimeout(_left(deadline))
            dialled.connect(path)
        dialled.sendall(_REQUEST.format(page).encode())
        answer = bytearray()
        while len(answer) <= _LONGEST:
            dialled.settimeout(_left(deadline))
            chunk = dialled.recv(1 << 16)
            if not chunk:
                break
            answer += chunk
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    if len(answer) > _LONGEST or not head.startswith(_STATUSES):
        raise ValueError(f"the response is not the page {page} of a daemon")
    return body.decode("utf-8", "replace")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no response in time")
    return left
