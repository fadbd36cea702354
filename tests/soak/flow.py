"""The stage of a scenario, and the flow of its messages through it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.soak.arena import Arena, Plan, arena
from tests.soak.feeder import ENOUGH
from tests.soak.ledger import Ledger
from xkeymsg.testing import NATSServer


@contextlib.asynccontextmanager
async def stage(
    scenario: str, plan: Plan, seed: int, servers: list[NATSServer] | None = None
) -> AsyncIterator[tuple[Arena, Ledger]]:
    ledger, begun = Ledger(scenario, seed), time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        if servers is None:
            servers = [stack.enter_context(NATSServer(jetstream=True))]
        async with arena(plan, ledger, folder, servers) as made:
            await made.make_stream()
            yield made, ledger
    ledger.seconds = time.monotonic() - begun


async def through(
    made: Arena, faults: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> None:
    """Let everything flow, with strangers and faults, until it is all done with."""
    made.start_feeder()
    strangers = asyncio.create_task(made.hostile.run(made.plan.hostile))
    troubles = asyncio.create_task(faults()) if faults is not None else None
    try:
        async with asyncio.timeout(made.plan.deadline):
            while troubles and not troubles.done() and not made.enough:  # noqa: ASYNC110 - a count
                await asyncio.sleep(0.02)
            (made.folder / ENOUGH).touch()
            await made.finished(most=made.plan.few)
            for task in (strangers, troubles):
                if task is not None:
                    await end(task)
            await made.finished()
    except TimeoutError:
        made.ledger.problems.append("it did not come to an end in time")
    finally:
        for task in (strangers, troubles):
            if task is not None:
                await end(task)
    if troubles is not None and not made.ledger.faults:
        made.ledger.problems.append("nothing happened to it")
    await made.settle()


async def end(task: asyncio.Task[None]) -> None:
    """End a task at a point where nothing is half done, and raise what it raised."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
