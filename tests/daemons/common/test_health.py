"""/healthz, /readyz, /metrics: what they say, and what nobody can make of them."""

from __future__ import annotations

import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.running import DEADLINE
from xkeymsg.daemons.common import health as health_module
from xkeymsg.daemons.common.health import Health, serving
from xkeymsg.daemons.common.metrics import CODES, OTHER, Metrics
from xkeymsg.envelope.replay import ReplayState
from xkeymsg.errors import ConfigurationError

LOCAL = "127.0.0.1:0"


def dial(where: str) -> socket.socket:
    if where.startswith("unix:"):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(DEADLINE)
        made.connect(where.removeprefix("unix:"))
        return made
    host, _, port = where.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), DEADLINE)


def ask(where: str, request: bytes) -> bytes:
    with dial(where) as made:
        made.sendall(request)
        answer = b""
        while chunk := made.recv(65536):
            answer += chunk
    return answer


def get(where: str, path: str) -> tuple[int, str]:
    head, _, body = ask(where, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).partition(
        b"\r\n\r\n"
    )
    assert f"Content-Length: {len(body)}".encode() in head
    return int(head.split()[1]), body.decode()


def test_ready_is_when_every_condition_holds_and_the_end_has_not_begun() -> None:
    health = Health("connected", "key")
    with serving(LOCAL, health, lambda: b"m 1\n") as where:
        assert where is not None
        assert get(where, "/healthz") == (200, "ok\n")
        assert get(where, "/readyz")[0] == 503
        health.set("connected", True)
        assert get(where, "/readyz") == (503, "ok alive\nok connected\nNO key\nok not stopping\n")
        health.set("key", True)
        assert get(where, "/readyz?verbose")[0] == 200
        health.stopping = True
        assert get(where, "/readyz")[0] == 503
        assert get(where, "/healthz")[0] == 200
        assert get(where, "/metrics") == (200, "m 1\n")


def test_a_daemon_that_hangs_is_told_from_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("xkeymsg.daemons.common.health.time.monotonic", lambda: now)
    health = Health()
    with serving(LOCAL, health, lambda: b"") as where:
        assert where is not None
        now += health_module.HANGS - 0.1
        assert get(where, "/healthz") == (200, "ok\n")
        now += 0.2  # a loop that does not turn
        assert get(where, "/healthz") == (503, "the event loop is not running\n")
        assert get(where, "/readyz")[0] == 503
        health.turn()
        assert get(where, "/healthz")[0] == 200


def test_it_can_be_a_unix_socket_for_its_group_also_where_one_was_left(tmp_path: Path) -> None:
    path = tmp_path / "health.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with serving(f"unix:{path}", Health(), lambda: b"") as where:
        assert where == f"unix:{path}"
        assert get(where, "/healthz")[0] == 200
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_the_socket_of_a_successor_stays(tmp_path: Path) -> None:
    where = f"unix:{tmp_path / 'health.sock'}"
    with serving(where, Health(), lambda: b"new\n"):
        pass
    with ExitStack() as old, ExitStack() as new:
        old.enter_context(serving(where, Health(), lambda: b"old\n"))
        assert get(where, "/metrics") == (200, "old\n")
        new.enter_context(serving(where, Health(), lambda: b"new\n"))
        old.close()
        assert get(where, "/metrics") == (200, "new\n")
        new.close()
    assert not (tmp_path / "health.sock").exists()


@pytest.mark.parametrize("what", ["nothing", "a file", "a folder that is gone"])
def test_the_end_is_no_error_whatever_is_in_the_place_of_the_socket(
    tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "health.sock"
    with serving(f"unix:{path}", Health(), lambda: b""):
        path.unlink()
        if what == "a file":
            path.write_text("data")
        elif what != "nothing":
            folder.rmdir()
    assert path.exists() == (what == "a file")


@pytest.mark.parametrize("listen", [LOCAL, "unix"])
def test_a_probe_is_answered_while_a_thousand_connections_are_idle(
    tmp_path: Path, listen: str
) -> None:
    listen = f"unix:{tmp_path / 'health.sock'}" if listen == "unix" else listen
    with serving(listen, Health(), lambda: b"") as where, ExitStack() as stack:
        assert where is not None
        held = [stack.enter_context(dial(where)) for _ in range(500)]
        for each in held[::2]:
            with suppress(OSError):
                each.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert get(where, "/healthz") == (200, "ok\n")
        held += [stack.enter_context(dial(where)) for _ in range(500)]
        for _ in range(20):
            assert get(where, "/healthz") == (200, "ok\n")
        # They are closed: they take no descriptors of the daemon.
        for each in held[: -health_module.MOST]:
            with suppress(ConnectionResetError):
                assert each.recv(1) == b""


def test_a_file_in_the_place_of_the_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with (
        pytest.raises(ConfigurationError, match="cannot listen on unix:"),
        serving(f"unix:{path}", Health(), lambda: b""),
    ):
        pass
    assert path.read_text() == "data"


def test_a_port_that_is_taken_is_an_error() -> None:
    with (
        serving(LOCAL, Health(), lambda: b"") as where,
        pytest.raises(ConfigurationError, match="in use"),
        serving(where, Health(), lambda: b""),
    ):
        pass


@for_each(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/../etc HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"HEAD /healthz HTTP/1.1\r\n\r\n", b"200"),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", b"405"),
        (b"GET\r\n\r\n", b"405"),
    ],
)
def test_other_requests_get_an_answer_that_says_nothing(request_: bytes, status: bytes) -> None:
    with serving(LOCAL, Health(), lambda: b"secret") as where:
        assert where is not None
        answer = ask(where, request_)
        assert answer.split()[1] == status
        assert b"secret" not in answer


def test_who_holds_on_or_floods_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "DEADLINE", 0.2)
    with serving(LOCAL, Health(), lambda: b"") as where, ExitStack() as stack:
        assert where is not None
        held = [stack.enter_context(dial(where)) for _ in range(40)]
        for each in held:
            each.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        for each in held:
            with suppress(ConnectionResetError):
                assert each.recv(1) == b""
        with suppress(ConnectionResetError, BrokenPipeError):
            assert ask(where, b"x" * 100_000) == b""
        monkeypatch.undo()
        assert get(where, "/healthz")[0] == 200


def test_a_route_without_a_replay_memory_has_no_series_of_one() -> None:
    metrics = Metrics()
    metrics.route("lines")

    assert 'replay_covers_seconds{route="lines"}' not in metrics.exposition().decode()


def test_dropped_pages_are_counted_over_scopes_that_begin_again() -> None:
    metrics = Metrics()
    route = metrics.route("orders")
    for covers, dropped in ((None, 0), (12.5, 3), (11.0, 5), (None, 0), (9.0, 2)):
        route.replay(ReplayState(covers, dropped, 7, 1000, 65_536), 300.0)
    text = metrics.exposition().decode()

    assert 'xkeymsg_replay_pages_dropped_total{route="orders"} 7.0' in text
    assert 'xkeymsg_replay_covers_seconds{route="orders"} 9.0' in text
    assert 'xkeymsg_max_age_seconds{route="orders"} 300.0' in text
    assert 'xkeymsg_replay_pending{route="orders"} 7.0' in text
    assert 'xkeymsg_replay_bytes{route="orders"} 1000.0' in text
    route.replay(ReplayState(None, 2, 0, 0, 65_536), 300.0)
    assert 'xkeymsg_replay_covers_seconds{route="orders"} +Inf' in metrics.exposition().decode()


def test_every_code_has_its_series_from_the_beginning_and_others_share_one() -> None:
    metrics = Metrics()
    route = metrics.route("orders")
    text = metrics.exposition().decode()
    assert "sender_not_admitted" in CODES
    for code in CODES:
        assert f'xkeymsg_refused_total{{code="{code}",route="orders"}} 0.0' in text
    route.refused("replay")
    route.refused("whatever a stranger makes of it")
    text = metrics.exposition().decode()
    assert 'xkeymsg_refused_total{code="replay",route="orders"} 1.0' in text
    assert f'xkeymsg_refused_total{{code="{OTHER}",route="orders"}} 1.0' in text
    assert "stranger" not in text
