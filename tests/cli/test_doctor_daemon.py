"""Checking a daemon that runs, by its pages; whoever answers there may be anybody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cases import for_each
from xkeymsg.cli.doctor.daemon import check_daemon
from xkeymsg.cli.doctor.findings import CheckResult, judge_metrics, judge_readiness
from xkeymsg.daemons.common.health import Health, serving
from xkeymsg.daemons.common.metrics import Metrics
from xkeymsg.envelope.replay import ReplayState


def page(covers: float | None, *, max_age: float = 300.0) -> str:
    metrics = Metrics()
    metrics.route("orders").replay(ReplayState(covers, 14, 3, 5000, 65_536), max_age)
    return metrics.exposition().decode()


def test_a_memory_that_holds_every_mark_is_ok() -> None:
    assert judge_metrics(page(None)) == [
        CheckResult("replay", "ok", "orders: every mark is kept, 3 pending")
    ]


@for_each(("covers", "level"), [(300.0, "ok"), (299.0, "warn"), (0.0, "warn")])
def test_a_memory_that_covers_less_than_the_age_of_messages_is_warned_of(
    covers: float, level: str
) -> None:
    [finding] = judge_metrics(page(covers))

    assert finding.level == level
    assert finding.text == f"orders: covers {covers:.0f} s, max_age is 300 s, 14 pages dropped"
    assert bool(finding.remedy) == (level == "warn")


def test_a_daemon_without_such_a_memory_is_passed_over() -> None:
    metrics = Metrics()
    metrics.route("lines")

    assert [each.level for each in judge_metrics(metrics.exposition().decode())] == ["skip"]


@for_each(
    "hostile",
    [
        "",
        'xkeymsg_replay_covers_seconds{route="a"} 1.2.3',
        'xkeymsg_replay_covers_seconds{route="a\x1b[2J"} 1',
        'xkeymsg_replay_covers_seconds{route="' + "a" * 100_000 + '"} 1',
        'xkeymsg_replay_covers_seconds{route="a"} ' + "9" * 100_000,
    ],
)
def test_what_is_no_series_of_ours_is_passed_over(hostile: str) -> None:
    assert [each.level for each in judge_metrics(hostile)] == ["skip"]


@for_each("number", ["NaN", "-Inf", "1e-30"])
def test_a_number_that_covers_nothing_is_warned_of(number: str) -> None:
    [finding] = judge_metrics(f'xkeymsg_replay_covers_seconds{{route="a"}} {number}')

    assert finding.level == "warn"


@pytest.mark.parametrize("kind", ["port", "socket"])
def test_it_is_asked_where_it_listens(tmp_path: Path, kind: str) -> None:
    listen = "127.0.0.1:0" if kind == "port" else f"unix:{tmp_path}/x.sock"
    with serving(listen, Health(), lambda: page(None).encode()) as where:
        assert where is not None
        findings = check_daemon(where, 60)

    assert [(each.check, each.level) for each in findings] == [
        ("readiness", "ok"),
        ("replay", "ok"),
    ]


def test_a_daemon_that_is_not_ready_fails_with_its_unmet_conditions() -> None:
    health = Health("connected", "directory", "secrets")
    health.set("connected", True)
    with serving("127.0.0.1:0", health, lambda: page(None).encode()) as where:
        assert where is not None
        [readiness, replay] = check_daemon(where, 60)

    assert readiness.level == "fail"
    assert readiness.text == "not ready: directory, secrets"
    assert "secrets: its user has certified a key that it lacks" in readiness.remedy
    assert replay.level == "ok"


@for_each("hostile", ["", "OK ready", "NO \x1b[2J", "NO " + "a" * 100_000, "xok alive"])
def test_a_page_without_conditions_is_not_taken_for_a_ready_daemon(hostile: str) -> None:
    finding = judge_readiness(hostile)

    assert finding.level == "fail"
    assert len(finding.text) < 100


def test_a_flood_of_unmet_conditions_makes_a_short_finding() -> None:
    finding = judge_readiness("".join(f"NO {'a' * 30}\n" for _ in range(100_000)))

    assert finding.level == "fail"
    assert finding.text.endswith("and 99992 more")
    assert len(finding.text) < 500


@for_each("where", ["", "x", ":80", "127.0.0.1:99999", "unix:/none", "127.0.0.1:1"])
def test_where_nobody_listens_is_a_finding(where: str) -> None:
    [finding] = check_daemon(where, 60)

    assert finding.level == "fail"
    assert finding.text.startswith(where)
    assert finding.remedy


@pytest.fixture
def answering() -> Iterator[tuple[str, list[bytes]]]:
    """Somebody who answers with what is in a list, again and again, and never closes."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            try:
                taken, _ = listener.accept()
                with taken:
                    while True:
                        for each in said:
                            taken.sendall(each)
                        time.sleep(0.01)
            except OSError:
                pass

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", said


@pytest.mark.parametrize(
    ("said", "timeout"),
    [([], 0.5), ([b"x"], 0.5), ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1_000_000], 60)],
    ids=["silence", "drops", "a flood"],
)
def test_whoever_answers_without_end_ends_in_time(
    answering: tuple[str, list[bytes]], said: list[bytes], timeout: float
) -> None:
    where, answers = answering
    answers += said
    [finding] = check_daemon(where, timeout)

    assert finding.level == "fail"
