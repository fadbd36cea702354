"""Handlers must be async functions: others are refused before a message comes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.cases import for_each
from xkeymsg import Message
from xkeymsg.client.threads import check_handler

from .conftest import BOB, Town


class Sync:
    def __call__(self, _: Message) -> None:
        """Nothing."""

    def method(self, _: Message) -> None:
        """Nothing."""

    async def generator(self, _: Message) -> Any:
        yield b""


class Async:
    async def __call__(self, _: Message) -> None:
        """Nothing."""

    async def method(self, _: Message, __: int = 0) -> None:
        """Nothing."""

    @classmethod
    async def of_class(cls, _: Message) -> None:
        """Nothing."""


def function(_: Message) -> bytes:
    return b""


async def coroutine(_: int, __: Message) -> bytes:
    return b""


WRONG = [
    function, lambda _: None, print, Sync(), Sync().method, Sync().generator, partial(function),
    Async, None, 7, "handle",
]  # fmt: skip
RIGHT = [
    Async(), Async().method, Async.of_class, partial(coroutine, 1), partial(partial(coroutine), 1),
    partial(Async()), partial(Async().method, __=1),
]  # fmt: skip


@for_each("handler", WRONG, ids=range(len(WRONG)))
def test_a_handler_that_is_not_async_is_refused_with_the_fix(handler: Any) -> None:
    with pytest.raises(TypeError, match=r"must be an async function: define .* with `async def`"):
        check_handler(handler)


def test_a_coroutine_is_not_a_handler() -> None:
    handler: Any = coroutine(1, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="define coroutine with `async def`"):
        check_handler(handler)
    handler.close()


@for_each("handler", RIGHT, ids=range(len(RIGHT)))
def test_an_async_handler_is_taken(handler: Any) -> None:
    check_handler(handler)


async def test_a_service_refuses_it_at_once(town: Town) -> None:
    async with town.connect(BOB) as bob:
        with pytest.raises(TypeError, match="async function: define function with `async def`"):
            bob.serve("svc", function)  # type: ignore[arg-type]
        async with bob.serve("svc", partial(coroutine, 1)):
            pass
