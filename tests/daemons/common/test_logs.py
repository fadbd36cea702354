"""Log lines: one event a line, nothing that could be of a message, and no flood."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from tests.daemons.inside import kinds_of_lines
from xkeymsg.daemons.common.logs import Log, reason, report_to, set_up
from xkeymsg.errors import NotARecipientError, TrustError

CANARY = "c4n4ry"


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    names = ("", "receiver", "sender", "xkeymsg", "asyncio")
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    for logger, level in before:
        logger.setLevel(level)


def failure() -> ValueError:
    with pytest.raises(ValueError, match=CANARY) as caught:
        raise ValueError(CANARY)
    return caught.value


def test_a_line_has_a_time_a_level_an_event_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text", "info")
    log = Log("receiver")
    log.info("ready", route="orders", n=3)
    logging.getLogger("receiver").debug("not shown")
    [line] = capsys.readouterr().err.splitlines()
    assert line[:4].isdigit()
    assert line.partition("Z ")[2] == "info ready route=orders n=3"


def test_lines_can_be_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "debug")
    Log("receiver").warning("refused", route="a", code="x\ny\u202e")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "\u202e" not in text
    line = json.loads(text)
    assert (line["level"], line["event"], line["code"]) == ("warning", "refused", "x\ny\u202e")


@pytest.mark.parametrize(
    "value", ["a b", "x\n2026-01-01 error forged", "\x1b]0;owned\x07", "\u202e", '"', "a=b", "\x85"]
)
def test_a_value_cannot_look_like_another_line_or_field(
    capsys: pytest.CaptureFixture[str], value: str
) -> None:
    set_up("text", "info")
    Log("receiver").info("event", field=value)
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert text.rstrip("\n").isprintable()
    assert text.partition("field=")[2].startswith('"')


def test_a_long_value_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text", "info")
    Log("receiver").info("event", field="x" * 100_000)
    assert len(capsys.readouterr().err) < 1000


def test_a_foreign_exception_is_its_class_and_where_it_was_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up("text", "debug")
    error = failure()
    assert reason(error).startswith("ValueError at test_logs.py:")
    logging.getLogger("some.library").error("it failed", exc_info=error)
    text = capsys.readouterr().err
    assert "error it failed logger=some.library" in text
    assert CANARY not in text
    assert "Traceback" not in text
    assert reason(NotARecipientError(2)).startswith("not_a_recipient: sealed to 2")
    assert reason(TrustError("no account")) == "no account"  # it has no code
    assert reason(OSError(28, "No space left on device")) == "OSError: No space left on device"


def test_other_packages_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text", "debug")
    logging.getLogger("httpcore.http11").debug("headers %r", CANARY)
    logging.getLogger("httpx").info("POST %s", CANARY)
    logging.getLogger("asyncio").error("Task exception was never retrieved %s", CANARY)
    assert capsys.readouterr().err == ""


async def test_what_nobody_waited_for_is_said_without_its_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up("text", "info")
    loop = asyncio.get_running_loop()
    report_to(Log("receiver"), loop)
    loop.call_exception_handler({"message": CANARY, "exception": failure(), "future": CANARY})
    loop.set_exception_handler(None)
    text = capsys.readouterr().err
    assert "unexpected error=" in text
    assert CANARY not in text


def test_a_flood_is_one_line_a_second_with_a_count(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("xkeymsg.daemons.common.logs.time.monotonic", lambda: now)
    set_up("text", "info")
    log = Log("receiver")
    for number in range(10_000):
        now = number / 1000
        log.often("warning", "refused", "code", code="malformed" if number % 2 else "replay", n=1)
        log.flush()
    now += 1
    log.flush()
    lines = [line.partition(" refused ")[2] for line in capsys.readouterr().err.splitlines()]
    assert 20 <= len(lines) <= 24
    assert sum(int(line.partition("repeated=")[2] or 1) for line in lines) == 10_000
    now += 1
    log.flush()
    assert kinds_of_lines() == 0


def test_lines_of_libraries_are_limited_by_their_place_in_the_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("xkeymsg.daemons.common.logs.time.monotonic", lambda: now)
    set_up("text", "info")
    ours, other = logging.getLogger("xkeymsg.client"), logging.getLogger("some.library")
    for number in range(2000):
        now = number / 1000
        ours.warning("replay in %s at %d", "ORDERS", number)
        other.error(f"text number {number}")
    Log("receiver").flush(at_once=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert " warning replay in ORDERS at 0 logger=xkeymsg.client" in lines[0]
    assert " warning replay in ORDERS at 1999 logger=xkeymsg.client repeated=999" in lines[4]
    assert " error text number 1999 logger=some.library repeated=999" in lines[5]


def test_lines_that_wait_are_written_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json", "info")
    log = Log("receiver")
    for number in (1, 2, 3):
        log.often("warning", "refused", "route", route="orders", sequence=number)
    log.flush(at_once=True)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["sequence"] for line in lines] == [1, 3]
    assert sum(line.get("repeated", 1) for line in lines) == 3


def test_kinds_of_lines_are_bounded_and_further_ones_share_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xkeymsg.daemons.common.logs.time.monotonic", lambda: 0.0)
    set_up("text", "info")
    log = Log("receiver")
    for number in range(5000):
        log.often("info", "event", "label", label=str(number))
    assert kinds_of_lines() == 1025
    log.flush(at_once=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1026
    assert sum(int(line.partition("repeated=")[2] or 1) for line in lines) == 5000
