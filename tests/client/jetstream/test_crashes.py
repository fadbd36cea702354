"""A process that dies between quarantine and termination loses nothing, and keeps nothing twice.

TERM deletes on work-queue and interest streams: the other order would lose the message here.
"""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, Stage, on_stage
from tests.running import run
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.quarantine_records import parse_record
from xkeymsg.envelope.message import Message
from xkeymsg.testing import NATSServer


async def die(stage: Stage) -> None:
    """Run a worker until it has killed itself."""
    program = ("tests.client.jetstream.mortal", stage.server.url, BOB.seed(), ALICE.seed())
    done = await asyncio.to_thread(run, *program)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("retention", "kind", "deaths"),
    [
        ("limits", "proven", 1),
        ("workqueue", "proven", 2),
        ("interest", "proven", 1),
        ("workqueue", "unproven", 1),
        ("interest", "unproven", 1),
    ],
)
async def test_a_message_is_kept_once_though_the_worker_dies(
    jetstream_server: NATSServer, retention: str, kind: str, deaths: int
) -> None:
    async with on_stage(jetstream_server, retention=retention) as stage:
        async with stage.consumer(create=DurableOptions(ack_wait=0.5)):
            pass  # which makes the durable: an interest stream keeps nothing without one
        sealed = stage.seal(b"x", "h.a") if kind == "proven" else b"garbage"
        quarantine = f"XKM_{kind.upper()}"
        await stage.send(sealed)

        for _ in range(deaths):
            await die(stage)
            assert await stage.messages(quarantine) == 1
            assert await stage.messages() == 1

        async def fail(message: Message) -> None:
            raise ValueError

        async with stage.consumer(fail, policy=FailurePolicy(deliveries=2, backoff=0.05)):
            await stage.settled()
        stored = await stage.api.next_message(quarantine, 1, f"{quarantine}.>")
        assert stored is not None
        assert parse_record(stored).record.data == sealed
        assert await stage.messages(quarantine) == 1
        assert await stage.messages() == (1 if retention == "limits" else 0)
