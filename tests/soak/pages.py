"""What a daemon counts, from its own pages."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from tests.running import DEADLINE


def read_metrics(path: Path) -> dict[str, float]:
    """Ask a daemon that listens on a unix socket; every counter by its name and labels.

    Raises:
        OSError: If nobody answers there.
        HTTPException: If the answer is not valid HTTP.
    """
    connection = http.client.HTTPConnection("localhost", timeout=DEADLINE)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(DEADLINE)
        connection.sock.connect(str(path))
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    lines = (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in lines}
