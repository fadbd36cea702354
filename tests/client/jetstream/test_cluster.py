"""Three servers: a leader that steps down, or dies, or stands alone, is nobody's loss."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.client.jetstream.conftest import BOB, Stage, options
from tests.client.jetstream.inside import puller_of
from tests.client.jetstream.test_publishing import of_alice
from tests.running import DEADLINE, unused_port
from tests.servers import needs_server
from xkeymsg.client.jetstream.acks import parse_ack
from xkeymsg.client.jetstream.api import API, parse_puback
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.errors import DeliveryError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

pytestmark = [
    pytest.mark.slow,  # elections take some ten seconds
    needs_server(2, 11, "a delivery that waits for a majority"),
]

CONFIG = """
server_name: n{number}
jetstream {{ store_dir: "{{dir}}/js" }}
cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


SHORT = 5.0
"""Seconds after which a cluster is asked again: of some requests nobody answers."""


async def insist(request: Callable[[], Awaitable[Any]]) -> Any:
    """Request something until servers that have only just found each other can do it."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(DeliveryError):
                return await request()
            await asyncio.sleep(0.1)


async def leader_of(servers: list[NATSServer], stage: Stage, durable: str) -> NATSServer:
    """Return the leader of a durable, once there is one."""
    async with asyncio.timeout(DEADLINE):
        while True:
            with contextlib.suppress(DeliveryError):
                cluster = (await stage.info(durable)).get("cluster", {})
                if name := cluster.get("leader"):
                    return servers[int(name[1:])]
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def three_servers() -> Iterator[list[NATSServer]]:
    """Context: a cluster, in which a server's name is `n` and its place in the list."""
    routes = [unused_port() for _ in range(3)]
    addresses = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                NATSServer(CONFIG.format(number=number, port=port, routes=addresses))
            )
            for number, port in enumerate(routes)
        ]


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[list[NATSServer], Stage]]:
    with three_servers() as servers:
        urls = tuple(server.url for server in servers)
        async with open_link(ConnectOptions(servers=urls, timeout=SHORT)) as link:
            api = API(link)
            config = {"name": "S", "subjects": ["h.>"], "num_replicas": 3}
            await insist(partial(api.request, "STREAM.CREATE.S", config))
            yield servers, Stage(servers[0], link, api)


async def test_a_change_of_leaders_and_the_death_of_one_cost_no_message(
    cluster: tuple[list[NATSServer], Stage],
) -> None:
    servers, stage = cluster
    js = of_alice(stage.link)
    futures = []
    # What a dying server had sent and we did not get comes again after `ack_wait`.
    config = DurableOptions(ack_wait=2)
    async with contextlib.AsyncExitStack() as stack:
        consumer = partial(stage.consumer, heartbeat=0.5, create=config)
        await insist(lambda: stack.enter_async_context(consumer()))
        for number in range(300):
            futures.append(
                await js.publish_async("h.a", b"%d" % number, to=[BOB.public], timeout=60)
            )
            if number == 100:
                for what in ("CONSUMER.LEADER.STEPDOWN.S.d", "STREAM.LEADER.STEPDOWN.S"):
                    await insist(partial(stage.api.request, what, {}))
            if number == 200:
                (await leader_of(servers, stage, "d")).kill()
            await asyncio.sleep(0.001)
        acks = await asyncio.wait_for(asyncio.gather(*futures), DEADLINE)
        await stage.until(lambda: len(set(stage.handled)) == 300)
    await js.close()

    assert len({ack.sequence for ack in acks}) == 300
    assert not stage.kinds("rewound")  # the count of deliveries is replicated before they are made


async def make(stage: Stage, durable: str) -> None:
    config = DurableOptions(ack_wait=0.5, deliver="new").config(durable)
    body = {"stream_name": "S", "config": config, "action": ""}
    await stage.api.request(f"CONSUMER.CREATE.S.{durable}", body)


async def publish(stage: Stage, data: bytes, name: str) -> None:
    """Have the stream store something, once."""
    envelope, headers = stage.seal(data), encode_block({"Nats-Msg-Id": name})

    async def ask() -> None:
        raw = await stage.link.request("h.a", envelope, headers=headers, timeout=SHORT)
        parse_puback(raw.data)

    await insist(ask)


async def waiting(api: API, durable: str) -> int:
    """How many requests of a durable are not fulfilled."""
    return int((await api.request(f"CONSUMER.INFO.S.{durable}"))["num_waiting"])


async def lonely(servers: list[NATSServer], stage: Stage, durable: str) -> list[int]:
    """Consume with a leader that stands alone at first; return the counts, as they come."""
    leader = await leader_of(servers, stage, durable)
    others = [each for each in servers if each is not leader]
    async with open_link(options(leader)) as link:
        for each in others:
            each.kill()
        consumer = stage.consumer(durable=durable, link=link, expires=60, heartbeat=30)
        puller = puller_of(consumer)
        puller.paused = True
        copies = await link.subscribe(f"{puller.inbox}.*")
        async with consumer:
            body = b'{"batch":12,"expires":60000000000}'
            request = f"$JS.API.CONSUMER.MSG.NEXT.S.{durable}"
            await link.publish(request, body, reply=f"{puller.inbox}.1")
            alone = API(link, timeout=DEADLINE)
            with contextlib.suppress(TimeoutError, DeliveryError):
                async with asyncio.timeout(5):
                    while await waiting(alone, durable):  # noqa: ASYNC110 - the server's
                        await asyncio.sleep(0.05)
            for each in others:
                await asyncio.to_thread(each.start)
            with contextlib.suppress(TimeoutError):
                await stage.until(lambda: copies.pending >= 8, 20)
            puller.paused = False  # it gave up, and another one leads
            await stage.until(lambda: len(set(stage.handled)) == 8)
            await insist(partial(stage.settled, durable))
    counts = []
    while copies.pending:
        delivery = parse_ack((await copies.next(DEADLINE)).reply)
        counts += [delivery.consumer_sequence] if delivery else []
    return counts


async def test_what_a_lonely_leader_delivers_again_comes_early_and_begins_no_scope(
    cluster: tuple[list[NATSServer], Stage],
) -> None:
    """It delivers eight messages, and four of them again, before any can be sent.

    When it is no longer alone, it sends the counts 9 to 12, and after them 5 to 8.
    """
    servers, stage = cluster
    await insist(partial(create_quarantine, stage.api))
    for attempt in range(5):  # one that is alone for ten seconds leads no more
        stage.handled.clear()
        await insist(partial(make, stage, f"d{attempt}"))
        for number in range(8):
            await publish(stage, b"%d" % number, f"{attempt}.{number}")
        counts = await lonely(servers, stage, f"d{attempt}")
        if counts[:8] == [9, 10, 11, 12, 5, 6, 7, 8]:
            break
    else:
        pytest.fail(f"the leader sent the counts in order: {counts}")

    assert Counter(stage.handled) == Counter(b"%d" % number for number in range(8))
    assert not stage.kinds("rewound")
