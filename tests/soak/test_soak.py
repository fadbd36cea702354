"""The soak in short: real servers and daemons that die, freeze and fill up, and books that balance.

`make soak` is the long form, with a cluster that loses its leader, and 100,000 messages.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from tests.running import DEADLINE
from tests.soak import announced, mistakes, scenarios
from tests.soak.arena import Plan
from tests.soak.ledger import Ledger
from tests.soak.memory import memory

pytestmark = pytest.mark.slow

_PLAN = replace(
    scenarios.SHORT, messages=200, rate=100, hostile=10, receivers=1, frozen=3.0, faults=1
)
_FROZEN = replace(_PLAN, pause=(0.5, 1.5))
_SABOTAGED = replace(_PLAN, receiver="tests.soak.sabotaged")
# Where no server is away, an answer that comes late is no fault.
_FULL = replace(_PLAN, timeout=DEADLINE, unproven=DEADLINE)
# A receiver that stands still for half of `ack_wait` asks for more time too late, and the other one
# is given its messages, too. A busy machine must not do that.
_SLOW = replace(_FULL, ack_wait=4.0)
_LEFT = replace(_FULL, ack_wait=10.0)

Scenario = Callable[[Plan, int], Coroutine[Any, Any, Ledger]]


async def run(scenario: Scenario, plan: Plan) -> Ledger:
    return await scenario(plan, secrets.randbelow(1 << 31))


async def test_nothing_is_lost_and_nothing_forged() -> None:
    """All at once: it is waiting that takes its time."""
    kills, (sender, late), (full, left), slow, frozen, (tampered, growth) = await asyncio.gather(
        run(scenarios.kills, scenarios.SHORT),
        asyncio.gather(
            run(scenarios.kills_daemons, _PLAN), run(scenarios.late_acknowledgements, _FULL)
        ),
        asyncio.gather(run(scenarios.full_disk, _FULL), run(scenarios.left_behind, _LEFT)),
        run(scenarios.slow_sink, _SLOW),
        run(scenarios.frozen_server, _FROZEN),
        asyncio.gather(run(scenarios.kills, _SABOTAGED), memory(5, rate=200)),
    )
    all_of_them = (kills, sender, late, left, full, slow, frozen)
    wrong = [each for each in all_of_them if each.errors()]
    assert not wrong, "\n".join(line for each in wrong for line in each.lines())
    assert len(kills.sent) == 1500
    assert kills.faults.total() >= 2
    assert kills.hostile.total() >= 10
    assert sender.faults.total() >= 1
    assert late.faults["answers held"] >= 1
    assert full.faults["disk full"] >= 1
    assert slow.duplicates <= slow.replayed
    assert frozen.faults["server frozen"] >= 1
    assert tampered.errors()[:2] == ["4 lost", "4 forged"]
    assert "hostile messages in no quarantine" in " ".join(tampered.errors())
    assert growth.peak < 80 << 20
    assert growth.delivered > 0


async def test_mistakes_and_outages_lose_nothing() -> None:
    """With few messages, and all at once."""
    plan = replace(mistakes.SHORT, messages=150, frozen=3.0)
    chosen = (mistakes.wrong_seed, mistakes.wrong_peers, mistakes.strangers, mistakes.no_room)
    books = await asyncio.gather(*(run(each, plan) for each in chosen))
    wrong = [each for each in books if each.errors()]
    assert not wrong, "\n".join(line for each in wrong for line in each.lines())
    assert all(each.faults.total() for each in books)


async def test_a_receiver_finds_the_live_server_among_dead_ones() -> None:
    books = await run(announced.dead_servers, announced.SHORT)
    assert not books.errors(), "\n".join(books.lines())
    assert books.waits
