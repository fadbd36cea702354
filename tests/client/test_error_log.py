"""Without `on_error`, refusals and failures are logged: with code and place, without content."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from tests.client.inside import kinds_known
from tests.running import until
from xkeymsg import (
    ConfigurationError,
    DeliveryError,
    Message,
    Reply,
    SenderNotAdmittedError,
    ServiceError,
)
from xkeymsg.client.error_log import ErrorLog

from .conftest import BOB, EVE, Told, Town

SECRET = "S3CRET"


@pytest.fixture
def lines() -> Iterator[list[logging.LogRecord]]:
    logger, found = logging.getLogger("xkeymsg"), list[logging.LogRecord]()
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign, assignment]
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failed() -> Exception:
    try:
        int(SECRET)
    except ValueError as error:
        return error
    raise AssertionError


async def test_a_refused_message_is_logged(town: Town, lines: list[logging.LogRecord]) -> None:
    async with (
        town.connect(EVE, {BOB.public}) as eve,
        town.connect(BOB) as bob,
        bob.subscribe("a.*") as messages,
    ):
        await bob.flush()
        await eve.publish("a.b", SECRET.encode(), to=BOB.public)
        waiting = asyncio.ensure_future(anext(messages))
        await until(lambda: bob.stats.refused)
        waiting.cancel()
    [line] = [each for each in lines if each.levelno == logging.WARNING]
    assert line.name == "xkeymsg"
    assert line.getMessage() == "message refused: 'a.b': sender_not_admitted"


async def test_a_failed_handler_is_logged_with_its_place(
    town: Town, lines: list[logging.LogRecord]
) -> None:
    async def handle(request: Message) -> Reply:
        if request.data == b"known":
            raise ServiceError("not_found", SECRET)
        raise ValueError(SECRET, request.data)

    async with town.connect() as alice, town.connect(BOB) as bob, bob.serve("svc", handle):
        await bob.flush()
        for data in (b"known", b"other"):
            with pytest.raises(ServiceError):
                await alice.request("svc", data, to="bob")
    [line] = [each.getMessage() for each in lines if each.levelno == logging.WARNING]
    assert line.startswith("handler failed: 'svc': ValueError, at ")
    assert f"{__file__}:" in line
    assert "in handle" in line
    assert SECRET not in line


async def test_a_listener_replaces_the_log(
    town: Town, told: Told, lines: list[logging.LogRecord]
) -> None:
    async def handle(_: Message) -> None:
        raise ValueError

    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        bob.serve("svc", handle),
    ):
        await bob.flush()
        with pytest.raises(ServiceError):
            await alice.request("svc", b"", to="bob")
    assert told.codes == ["ValueError"]
    assert [each for each in lines if each.levelno >= logging.WARNING] == []


def test_a_flood_of_one_code_is_one_line_in_ten_seconds(lines: list[logging.LogRecord]) -> None:
    clock = Seconds()
    log = ErrorLog(clock)
    for _ in range(1000):
        log.tell("message refused", "a", SenderNotAdmittedError("x"))
    log.tell("message refused", "a", failed())
    assert len(lines) == 2
    clock.now += 10
    log.tell("message refused", "a", SenderNotAdmittedError("x"))
    assert len(lines) == 3
    assert lines[2].getMessage() == "message refused: 'a': sender_not_admitted (999 more before)"
    clock.now += 10
    log.tell("message refused", "a", SenderNotAdmittedError("x"))
    assert "more" not in lines[3].getMessage()


def test_the_log_keeps_a_bounded_number_of_kinds() -> None:
    log = ErrorLog(Seconds())
    for number in range(10_000):
        log.tell("handler failed", "a", type(f"Error{number}", (Exception,), {})())
    assert kinds_known(log) <= 256


@pytest.mark.parametrize("place", ["x" * 1_000_000, "a\n\x1b[31mb", "\u202e\ud800"])
def test_the_place_is_quoted_and_cut(place: str, lines: list[logging.LogRecord]) -> None:
    ErrorLog(Seconds()).tell("message refused", place, failed())
    text = lines[0].getMessage()
    assert len(text) < 1000
    assert text.isascii()
    assert text.isprintable()
    assert SECRET not in text


def test_errors_of_settings_and_servers_say_what_is_wrong(lines: list[logging.LogRecord]) -> None:
    log = ErrorLog(Seconds())
    log.tell("trust", "peers.toml", ConfigurationError("line 3: not a key"))
    log.tell("connection", "", DeliveryError("permissions"))
    texts = [each.getMessage() for each in lines]
    assert texts == [
        "trust: 'peers.toml': configuration (line 3: not a key)",
        "connection: '': delivery (permissions)",
    ]


def test_a_code_names_the_cause_too(lines: list[logging.LogRecord]) -> None:
    ErrorLog(Seconds()).tell("message of a stream, retry", "S 7", failed(), "handler")
    text = lines[0].getMessage()
    assert text.startswith("message of a stream, retry: 'S 7': handler (ValueError), at ")
    assert SECRET not in text
