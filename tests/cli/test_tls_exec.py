"""`xkeymsg tls exec`: a server with a TLS key in sealed memory, and what can be seen of it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import running
from tests.cases import for_each
from tests.running import DEADLINE, ROOT, Process
from tests.transport.authority import Certificate, CertificateAuthority
from xkeymsg.testing.server import binary

EXEC = (sys.executable, "-m", "xkeymsg.cli", "tls", "exec")
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK


@pytest.fixture
def own(tmp_path: Path) -> Certificate:
    return CertificateAuthority(tmp_path).issue("server")


def stored(own: Certificate, *, key_only: bool = False) -> str:
    path = own.key.parent / "store.pem"
    path.touch(0o600)
    path.write_bytes(b"" if key_only else own.cert.read_bytes())
    with path.open("ab") as file:
        file.write(own.key.read_bytes())
    return f"file:{path}"


def run(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EXEC, *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE,
        check=False, env=os.environ | {"PYTHONPATH": str(ROOT)} | environ,
    )  # fmt: skip


def forked(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Do the same as a fork, where no program is run that would see how it was started."""
    done = running.run("xkeymsg.cli", "tls", "exec", *arguments)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Server(Process):
    """A nats-server that `tls exec` started; it reads its key as /proc/self/fd/9."""

    def __init__(self, folder: Path, *arguments: str, certificate: str = "/proc/self/fd/9") -> None:
        self.config = folder / "server.conf"
        self.folder = folder
        self.config.write_text(
            f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\nlog_file: "{folder}/log"\n'
            f'tls {{cert_file: "{certificate}", key_file: "/proc/self/fd/9"}}\n'
        )
        super().__init__(*EXEC, *arguments, "--", binary(), "-c", self.config)

    def _greet(self) -> None:
        self.said("Server is ready")

    @property
    def port(self) -> int:
        name = f"*_{self.process.pid}.ports"  # the program has kept its pid
        end = time.monotonic() + DEADLINE
        while not (
            found := [each for each in self.folder.glob(name) if each.read_text().endswith("}")]
        ):
            if time.monotonic() > end:  # the file is written after the line "Server is ready"
                self.fail("no ports")
            time.sleep(0.02)
        [path] = found
        return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])

    def said(self, text: str) -> None:
        log, end = self.folder / "log", time.monotonic() + DEADLINE
        while not log.exists() or text not in log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                self.fail(log.read_text() if log.exists() else "no log")
            time.sleep(0.02)

    def certificate(self) -> bytes:
        """Return the certificate that the server shows in a handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as plain:
            assert plain.recv(4096).startswith(b"INFO")
            with context.wrap_socket(plain) as tls:
                return tls.getpeercert(binary_form=True) or b""

    def proc(self, name: str) -> Path:
        return Path(f"/proc/{self.process.pid}/{name}")


@contextmanager
def serving(own: Certificate, *arguments: str, **more: str) -> Iterator[Server]:
    with Server(own.key.parent, *arguments, **more) as server:
        yield server


def expected(own: Certificate) -> bytes:
    return ssl.PEM_cert_to_DER_cert(own.cert.read_text())


def test_a_server_reads_its_identity_from_sealed_memory(own: Certificate) -> None:
    with serving(own, "--cert-store", stored(own), "--fd", "9") as server:
        assert server.certificate() == expected(own)
        assert server.proc("exe").readlink().name == "nats-server"


def test_a_store_with_only_the_key_is_enough(own: Certificate) -> None:
    store = stored(own, key_only=True)
    with serving(own, "--cert-store", store, certificate=str(own.cert)) as server:
        assert server.certificate() == expected(own)


def test_a_reload_keeps_the_key_and_signals_reach_the_server(own: Certificate) -> None:
    with serving(own, "--cert-store", stored(own)) as server:
        server.config.write_text(server.config.read_text() + "max_payload: 2MB\n")
        os.kill(server.process.pid, signal.SIGHUP)
        server.said("Reloaded server configuration")
        assert server.certificate() == expected(own)
        os.kill(server.process.pid, signal.SIGTERM)
        server.wait()
        server.said("Server Exiting")


def test_the_key_is_in_no_argument_variable_or_core_dump(own: Certificate) -> None:
    secret = own.key.read_text().splitlines()[1].encode()
    os.environ["XKEYMSG_TLS_TEST"] = own.cert.read_text() + own.key.read_text()
    try:
        with serving(own, "--cert-store", "environment:XKEYMSG_TLS_TEST") as server:
            assert server.certificate() == expected(own)
            for name in ("cmdline", "environ"):
                assert secret not in server.proc(name).read_bytes(), name
            limits = server.proc("limits").read_text()
            [core] = [line for line in limits.splitlines() if "core file" in line]
            assert core.split()[4:6] == ["0", "0"]
    finally:
        del os.environ["XKEYMSG_TLS_TEST"]


def test_nobody_can_change_the_key(own: Certificate) -> None:
    with serving(own, "--cert-store", stored(own)) as server:
        number = os.open(server.proc("fd/9"), os.O_RDWR)
        try:
            assert fcntl.fcntl(number, fcntl.F_GET_SEALS) == SEALS
            with pytest.raises(PermissionError):
                os.write(number, b"x")
            with pytest.raises(PermissionError):
                os.ftruncate(number, 0)
        finally:
            os.close(number)


@pytest.mark.parametrize("number", ["3", "4", "9", "500"])
def test_the_program_inherits_this_descriptor_and_no_other(number: str, own: Certificate) -> None:
    code = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    done = run(
        "--cert-store", stored(own), "--fd", number, "--", sys.executable, "-Sc",
        f"{code}; print(open('/proc/self/fd/{number}').read())",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, _, text = done.stdout.partition("\n")
    listing = 4 if number == "3" else 3  # the descriptor with which the listing is made
    assert json.loads(found) == sorted({0, 1, 2, int(number), listing})
    assert own.key.read_text() in text


def test_the_program_handles_signals_as_if_started_directly(own: Certificate) -> None:
    """Python ignores SIGPIPE, and what is ignored stays ignored in a program that replaces it."""
    signals = ("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    done = run("--cert-store", stored(own), "--", *signals)
    direct = subprocess.run(signals, capture_output=True, text=True, check=True)
    assert done.stdout == direct.stdout


def test_the_exit_code_is_that_of_the_program(own: Certificate) -> None:
    assert run("--cert-store", stored(own), "--", "sh", "-c", "exit 7").returncode == 7


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--", "/nowhere/server"), "cannot run /nowhere/server: No such file or directory"),
        (("--cert-match", "nobody", "--", "true"), "unable to find certificate in store"),
        (("--cert-match-by", "Serial", "--", "true"), "cert match by type not implemented"),
        (("--fd", "2", "--", "true"), "2"),
        (("--fd", "5000", "--", "true"), "5000"),
        ((), "PROGRAM"),
    ],
)
def test_an_error_runs_nothing(arguments: tuple[str, ...], reason: str, own: Certificate) -> None:
    done = forked("--cert-store", stored(own), *arguments)
    assert done.returncode != 0
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert own.key.read_text().splitlines()[1] not in done.stderr + done.stdout


@for_each(
    ("store", "reason"),
    [
        ("pkcs11:token=tls", "a token does not release its keys"),
        ("file:/nowhere", "cannot read"),
        ("vault:x", "cert store type not implemented"),
    ],
)
def test_a_store_that_cannot_be_used(store: str, reason: str) -> None:
    done = forked("--cert-store", store, "--", "true")
    assert done.returncode != 0
    assert reason in done.stderr


def test_a_descriptor_in_use_is_refused(own: Certificate) -> None:
    """It may be a socket that the service manager has passed."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 9>/dev/null', "sh", *EXEC, "--cert-store", stored(own), "--",
         "true"],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "file descriptor 9 is in use: choose another with --fd" in done.stderr
