"""Services: whatever a handler does, the next request is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.running import DEADLINE, until
from xkeymsg import (
    ConfigurationError,
    DeliveryError,
    MalformedError,
    Message,
    Reply,
    ServiceError,
    UnknownKeyError,
)
from xkeymsg.client.client import Client
from xkeymsg.client.stats import Where

from .conftest import BOB, Told, Town


class OfAHandler(BaseException):
    """Not an Exception."""


class OfAnIterator:
    """Headers that raise what would pass for the end of a task."""

    def __iter__(self) -> Iterator[tuple[str, str]]:
        raise asyncio.CancelledError


async def echo(message: Message) -> bytes:
    return message.data


FAULTS: list[Callable[[], BaseException]] = [
    lambda: ValueError("a secret"),
    lambda: UnknownKeyError("a secret"),
    lambda: OfAHandler("a secret"),
    lambda: SystemExit("a secret"),
    lambda: GeneratorExit("a secret"),
    lambda: asyncio.CancelledError("a secret"),
    lambda: StopAsyncIteration("a secret"),
    lambda: TimeoutError("a secret"),
    lambda: ExceptionGroup("a secret", [ValueError("a secret")]),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault()).__name__)
async def test_a_handler_that_fails_answers_so_and_the_next_is_served(
    fault: Callable[[], BaseException], town: Town, told: Told
) -> None:
    async def handle(message: Message) -> bytes:
        if message.data == b"bad":
            raise fault()
        return message.data

    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        bob.serve("svc", handle),
    ):
        await bob.flush()
        with pytest.raises(ServiceError) as caught:
            await alice.request("svc", b"bad", to="bob")
        assert (caught.value.reason, caught.value.text) == ("internal", "")
        assert "secret" not in str(caught.value)
        assert (await alice.request("svc", b"good", to="bob")).data == b"good"
        assert bob.stats.failed == {type(fault()).__name__: 1}
    assert [where for _, where in told] == [Where("handler", "svc")]


async def test_an_error_that_is_meant_to_be_one_is_the_answer(town: Town, told: Told) -> None:
    async def handle(_message: Message) -> bytes:
        raise ServiceError("out_of_stock", "come again on Monday")

    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        bob.serve("svc", handle),
    ):
        await bob.flush()
        with pytest.raises(ServiceError) as caught:
            await alice.request("svc", b"", to="bob")
    assert (caught.value.reason, caught.value.text) == ("out_of_stock", "come again on Monday")
    assert told.codes == ["service"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("text", "internal"),
        ([120], "internal"),
        ("", "internal"),
        (Reply("text"), "internal"),  # type: ignore[arg-type]
        (Reply(b"", {"xkm-error": "x"}), "internal"),
        (Reply(b"", {"a": 1}), "internal"),  # type: ignore[arg-type]
        (Reply(b"", OfAnIterator()), "internal"),
        (Reply(b"", content_type="\ud800"), "internal"),
        (bytes(2 << 20), "payload_too_large"),
    ],
    ids=[
        "text",
        "a list",
        "no text",
        "text in it",
        "reserved",
        "no header",
        "headers that raise",
        "surrogate",
        "too long",
    ],
)
async def test_what_cannot_be_an_answer_is_an_error(
    result: Any, reason: str, town: Town, told: Told
) -> None:
    async def handle(message: Message) -> Any:
        return result if message.data == b"bad" else None

    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        bob.serve("svc", handle),
    ):
        await bob.flush()
        with pytest.raises(ServiceError) as caught:
            await alice.request("svc", b"bad", to="bob")
        assert caught.value.reason == reason
        assert (await alice.request("svc", b"", to="bob")).data == b""
    assert len(told) == 1


async def test_arguments_that_make_no_service(town: Town) -> None:
    async with town.connect(BOB) as bob:
        with pytest.raises(TypeError):
            bob.serve("svc", None)  # type: ignore[arg-type]
        for wrong in ({"concurrency": 0}, {"grace": -1.0}, {"grace": float("nan")}):
            with pytest.raises(ConfigurationError):
                bob.serve("svc", echo, **wrong)


async def test_what_cannot_be_answered_is_not_done_either(town: Town, told: Told) -> None:
    done = []

    async def handle(message: Message) -> bytes:
        done.append(message.data)
        return b""

    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        town.link() as eve,
        bob.serve("svc", handle),
    ):
        await bob.flush()
        await eve.publish("svc", b"poison")
        await alice.publish("svc", b"no request", to="bob")
        await alice.request("svc", b"request", to="bob")
    assert done == [b"request"]
    assert told.codes == ["malformed"] * 2


async def test_a_handler_may_answer_by_itself(town: Town, told: Told) -> None:
    async with town.connect() as alice, town.connect(BOB, on_error=told) as bob:

        async def handle(message: Message) -> bytes:
            await bob.respond(message, b"early")
            if message.data:
                raise ValueError
            return b"late"

        async with bob.serve("svc", handle):
            await bob.flush()
            for data in (b"", b"x"):
                answers = await alice.request_many("svc", data, to="bob", timeout=DEADLINE)
                assert [each.data for each in answers if isinstance(each, Message)] == [b"early"]
    assert told.codes == ["ValueError"]


async def test_handlers_are_bounded_and_one_may_ask_itself(town: Town) -> None:
    most = running = 0

    async with town.connect() as alice, town.connect(BOB) as bob:

        async def handle(message: Message) -> bytes:
            nonlocal most, running
            running += 1
            most = max(most, running)
            if message.data == b"outer":
                reply = await bob.request("inner", b"x", to="bob", timeout=DEADLINE)
                assert reply.data == b"x"
            await asyncio.sleep(0.001)
            running -= 1
            return message.data

        async with bob.serve("svc", handle, concurrency=3), bob.serve("inner", echo):
            await bob.flush()
            await asyncio.gather(
                *(alice.request("svc", b"outer", to="bob", timeout=DEADLINE) for _ in range(20))
            )
    assert most == 3


async def test_a_queue_group_answers_once(town: Town) -> None:
    calls = []

    async def handle(message: Message) -> bytes:
        calls.append(message.data)
        return b""

    async with (
        town.connect() as alice,
        town.connect(BOB) as one,
        town.connect(BOB) as other,
        one.serve("svc", handle, queue="q"),
        other.serve("svc", handle, queue="q"),
    ):
        await one.flush()
        await other.flush()
        for _ in range(10):
            await alice.request("svc", b"x", to="bob")
    assert len(calls) == 10


async def test_on_leaving_what_came_is_answered(town: Town) -> None:
    begun = asyncio.Event()

    async def slow(message: Message) -> bytes:
        begun.set()
        await asyncio.sleep(0.02)
        return message.data

    async with town.connect() as alice, town.connect(BOB) as bob:
        async with bob.serve("svc", slow, concurrency=2) as service:
            await bob.flush()
            asked = [
                asyncio.create_task(
                    alice.request("svc", b"%d" % number, to="bob", timeout=DEADLINE)
                )
                for number in range(5)
            ]
            await begun.wait()
            await alice.flush()
            await bob.flush()
            assert service.running > 0
        assert service.running == 0
        replies = await asyncio.gather(*asked)
        assert [reply.data for reply in replies] == [b"0", b"1", b"2", b"3", b"4"]
        with pytest.raises(DeliveryError):
            await alice.request("svc", b"", to="bob", timeout=0.1)


@pytest.mark.parametrize("error", [None, ZeroDivisionError()])
async def test_a_handler_that_never_ends_is_cancelled_on_leaving(
    error: Exception | None, town: Town
) -> None:
    ended = []

    async def endless(_message: Message) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return b""

    async with town.connect() as alice, town.connect(BOB) as bob:
        service = bob.serve("svc", endless, concurrency=1, grace=0.05)
        await service.__aenter__()
        await bob.flush()
        for _ in range(3):
            await alice.request_many("svc", b"", to="bob", timeout=0.01)
        await until(lambda: service.running)
        await service.__aexit__(None if error is None else type(error), error, None)
        assert service.running == 0
    assert len(ended) == 1


async def test_a_service_that_is_cancelled_leaves_nothing(town: Town) -> None:
    async with town.connect() as alice, town.connect(BOB) as bob:
        ready = asyncio.Event()

        async def run() -> None:
            async with bob.serve("svc", echo):
                await bob.flush()
                ready.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(run())
        await ready.wait()
        assert (await alice.request("svc", b"x", to="bob")).data == b"x"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_in_a_task_group_a_failure_elsewhere_ends_the_service(town: Town) -> None:
    async with town.connect(BOB) as bob:
        with pytest.raises(ExceptionGroup) as caught:
            await _serve_in_a_group(bob)
        assert caught.group_contains(ZeroDivisionError)


async def _serve_in_a_group(bob: Client) -> None:
    async with asyncio.TaskGroup() as group, bob.serve("svc", echo):
        group.create_task(_fail())
        await asyncio.Event().wait()


async def _fail() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def test_a_subject_that_is_none(town: Town) -> None:
    async with town.connect(BOB) as bob:
        with pytest.raises(ConfigurationError):
            bob.serve("a b", echo)
        with pytest.raises(MalformedError):
            await bob.serve("svc", echo, queue="a b").__aenter__()
