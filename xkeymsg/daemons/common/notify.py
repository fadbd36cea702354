"""systemd's notification protocol (`Type=notify`): lines in a datagram."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

__all__ = ("notify", "watchdog_seconds")


def notify(text: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Notify the service manager; return False without one."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if text == "RELOADING=1":
        text += f"\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(1.0)
            out.sendto(
                text.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address
            )
    except OSError:
        return False
    return True


def watchdog_seconds(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the watchdog interval of this process in seconds, or None."""
    microseconds, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isascii() or not microseconds.isdecimal() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6 if pid in ("", str(os.getpid())) else None
