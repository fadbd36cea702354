"""systemd's notification protocol (`Type=notify`): lines in a datagram."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

__all__ = ("notify", "watchdog_seconds")


def notify(text: str) -> None:
    """Notify the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address[0] == "@":
        address = f"\0{address[1:]}"
    if text == "RELOADING=1":
        text += f"\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out,
    ):
        out.settimeout(1.0)
        out.sendto(text.encode(), address)


def watchdog_seconds() -> float | None:
    """Return the watchdog interval of this process in seconds, or None."""
    microseconds, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not microseconds.isascii() or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None
