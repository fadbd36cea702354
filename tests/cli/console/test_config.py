"""The configuration, the login, and where the console listens."""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.console.hospital import CONSOLE, Hospital, fetch, rows_of
from tests.running import DEADLINE, Program, run_here, until, unused_port
from xkeymsg.cli.console.config import ConsoleConfig, load
from xkeymsg.cli.console.login import Login
from xkeymsg.cli.console.permissions import permissions_of
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer

ELSEWHERE = 'listen = "0.0.0.0:8480"\n'
TLS = '[tls]\ncert = "c.pem"\nkey = "k.pem"\n'
LOGIN = '[login]\nuser = "ops"\npassword_file = "password"\n'
PASSWORD = "correct-horse-battery"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    return tmp_path


def loaded(folder: Path, text: str) -> ConsoleConfig:
    (folder / "console.toml").write_text(text)
    return load(folder / "console.toml", {})


def test_an_empty_file_listens_on_loopback(folder: Path) -> None:
    assert loaded(folder, "").listen == "127.0.0.1:8480"


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (ELSEWHERE, {"tls", "login", "hosts"}),
        (ELSEWHERE + 'hosts = ["a.example"]\n' + TLS, {"login"}),
        (ELSEWHERE + 'hosts = ["a.example"]\n' + LOGIN, {"tls"}),
        (ELSEWHERE + TLS + LOGIN, {"hosts"}),
        ('listen = "[::]:1"\n', {"tls", "login", "hosts"}),
        ('listen = "192.0.2.1:1"\n', {"tls", "login", "hosts"}),
    ],
)
def test_an_address_that_others_reach_demands_tls_and_a_login(
    folder: Path, text: str, missing: set[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, text)
    said = str(caught.value).splitlines()
    assert {line.split(": ")[1] for line in said} == missing
    assert all("others can reach the address" in line for line in said)


@pytest.mark.parametrize(
    "text",
    [
        'listen = "localhost:1"', 'listen = "8480"', 'listen = "127.0.0.1:99999"',
        'listen = "unix:relative"', "listen = 1", 'hosts = ["a/b"]', 'hosts = ["A.example"]',
        'websocket = "wss://nats.example:99999"', 'websocket = "ws://nats.example"', 'websocket = "http://127.0.0.1"',
        "websocket = \"wss://x; script-src 'unsafe-inline'\"", 'websocket = "wss://a b"',
        'websocket = "wss://user:pass@x"', 'streams = ["a.b"]', 'streams = [">"]', "unknown = 1",
        '[[subject]]\nsubject = "a b"\nrecipients = ["x"]', '[[subject]]\nsubject = "a"',
        '[[subject]]\nsubject = "a"\nrecipients = ["x"]',
        f"streams = {json.dumps([f'S{n}' for n in range(65)])}",
    ],
)  # fmt: skip
def test_invalid_settings_are_refused(folder: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        loaded(folder, text)


def test_a_short_or_open_password_is_refused(folder: Path) -> None:
    assert loaded(folder, LOGIN).login is not None
    (folder / "password").write_text("tiny-secret")
    with pytest.raises(ConfigurationError, match="at least 16") as caught:
        loaded(folder, LOGIN)
    assert "tiny-secret" not in str(caught.value)
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    with pytest.raises(ConfigurationError, match="others can read"):
        loaded(folder, LOGIN)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def test_the_login_is_compared_whole_and_attempts_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("xkeymsg.cli.console.login.monotonic", lambda: now)
    login = Login("ops", PASSWORD)
    assert login.status(basic(f"ops:{PASSWORD}")) == 0
    for header in ("", "Bearer x", f"Bearer {PASSWORD}", "Basic ===\xff"):
        assert login.status(header) == 401
    for text in (f"ops:{PASSWORD}x", f"x:{PASSWORD}", f"ops:{PASSWORD[:-1]}", ":"):
        assert login.status(basic(text)) == 401
    assert login.status(basic(f"ops:{PASSWORD}")) == 429
    now = 1.0
    assert login.status(basic(f"ops:{PASSWORD}")) == 0
    assert PASSWORD not in repr(login)


@contextmanager
def console(folder: Path, server: NATSServer, text: str) -> Iterator[str]:
    path = folder / "console.toml"
    path.write_text(f'{text}[nats]\nservers = ["{server.url}"]\n')
    path.chmod(0o600)
    with Program("xkeymsg.cli", "console", "--config", path) as program:
        yield program.wait_for(" ready ", "err").partition("listen=")[2].split()[0]
        program.process.terminate()
        assert program.process.wait(DEADLINE) == 0


def test_elsewhere_it_speaks_tls_and_asks_for_the_login(folder: Path, server: NATSServer) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1"
    names = "-subj /CN=a.example -addext subjectAltName=DNS:a.example -keyout k.pem -out c.pem"
    try:
        subprocess.run(f"{command} {names}".split(), cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    port = unused_port()
    hosts = f'hosts = ["a.example:{port}"]\n'
    text = f'listen = "0.0.0.0:{port}"\n{hosts}{TLS}{LOGIN}'
    context = ssl.create_default_context(cafile=folder / "c.pem")
    with console(folder, server, text) as address:
        assert address == f"https://0.0.0.0:{port}/"

        def ask(*headers: str, host: str = f"a.example:{port}") -> bytes:
            with (
                socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
                context.wrap_socket(plain, server_hostname="a.example") as wrapped,
            ):
                lines = "".join(f"{each}\r\n" for each in headers)
                text = f"GET /fleet HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{lines}\r\n"
                wrapped.sendall(text.encode())
                return b"".join(iter(lambda: wrapped.recv(65536), b""))

        refused = ask()
        assert refused.startswith(b"HTTP/1.1 401 ")
        assert b"www-authenticate: Basic" in refused
        assert b"frame-ancestors 'none'" in refused
        assert b"daemon" not in refused.lower()
        right = f"Authorization: {basic(f'ops:{PASSWORD}')}"
        assert ask(right).startswith(b"HTTP/1.1 200 ")
        assert ask(right, host=f"127.0.0.1:{port}").startswith(b"HTTP/1.1 421 ")
        assert ask(right, "Origin: https://evil.example").startswith(b"HTTP/1.1 403 ")


def test_a_unix_socket(folder: Path, server: NATSServer) -> None:
    path = folder / "console.sock"
    with console(folder, server, f'listen = "unix:{path}"\n'):
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /fleet HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert not path.exists()


def test_a_page_of_another_site_is_refused(folder: Path, server: NATSServer) -> None:
    with console(folder, server, 'listen = "127.0.0.1:0"\n') as address:
        assert fetch(address, "fleet")[0] == 200
        assert fetch(address, "fleet", Host="evil.example")[0] == 421
        assert fetch(address, "fleet", Origin="http://evil.example")[0] == 403
        assert fetch(address, "", b"subject=a&policy=b")[0] == 403
        assert fetch(address, "", b"subject=a&policy=b", Origin="null")[0] == 403
        assert fetch(address, "fleet", b"x", Origin=address.rstrip("/"))[0] == 405


# --- permissions ----------------------------------------------------------------------------------


def test_the_console_can_only_ask(folder: Path) -> None:
    text = 'streams = ["EHR"]\n[nats]\ninbox_prefix = "_MINE"\n'
    [needed] = permissions_of(loaded(folder, text))
    assert set(needed.publish) == {
        "$SRV.STATS",
        "$JS.API.STREAM.INFO.EHR",
        "$JS.API.STREAM.MSG.GET.EHR",
        "$JS.API.CONSUMER.LIST.EHR",
        *(f"$JS.API.STREAM.{what}.XKM_{which}" for what in ("INFO", "MSG.GET")
          for which in ("PROVEN", "UNPROVEN")),
    }  # fmt: skip
    advisories = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED"
    assert needed.subscribe == ("_MINE.>", f"{advisories}.EHR.*")
    assert not needed.responses
    done = run_here("permissions", "--json", "--console", str(folder / "console.toml"))
    assert json.loads(done.stdout) == [needed.as_json()]


async def test_with_exactly_these_permissions_every_page_works(tmp_path: Path) -> None:
    config = """
    no_auth_user: any
    accounts { A { jetstream: enabled, users: [
      { user: any, password: any }
      { user: console, password: console, PERMISSIONS }
    ] } }
    """
    with NATSServer("accounts { A { jetstream: enabled, users: [{user: any, password: any}] } }\n"
                    "no_auth_user: any", jetstream=True) as server:  # fmt: skip
        hospital = Hospital(server, tmp_path)
        path = hospital.write("console", CONSOLE)
        [needed] = permissions_of(load(path, {}))
        server.reload(config.replace("PERMISSIONS", needed.as_text().partition("\n")[2]))
        await until(lambda: "Reloaded server configuration" in server.log)
        await hospital.make_stream()
        login = 'user = "console"\npassword = "console"\n'
        path.write_text(path.read_text() + login)
        await hospital.publish({"ehr.Patient": [b"plain"]})
        with (
            hospital.receiver(),
            Program("xkeymsg.cli", "console", "--config", path) as program,
        ):
            address = program.wait_for(" ready ", "err").partition("listen=")[2].split()[0]

            def shows() -> bool:
                rows = [row for p in ("fleet", "streams") for row in rows_of(fetch(address, p)[1])]
                return {"ward-7", "EHR"} <= {word for row in rows for word in row.split()[:1]}

            await until(shows)
            for page in ("", "fleet", "refused", "rotation", "streams"):
                assert not re.search("(?i)violation|not permitted", fetch(address, page)[1])
        assert "Violation" not in server.log
