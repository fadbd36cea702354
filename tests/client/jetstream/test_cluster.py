"""Three servers: a leader that steps down, or dies, is nobody's loss.

Elections take some ten seconds, so this runs where it is asked for: XKEYMSG_CLUSTER=1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from tests.client.jetstream.conftest import BOB, Stage
from tests.client.jetstream.test_publishing import of_alice
from tests.running import DEADLINE, unused_port
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.errors import DeliveryError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

CONFIG = """
server_name: n{number}
jetstream {{ store_dir: "{{dir}}/js" }}
cluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{routes}] }}
"""


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[list[NATSServer], Stage]]:
    routes = [unused_port() for _ in range(3)]
    addresses = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(
                NATSServer(CONFIG.format(number=number, port=port, routes=addresses))
            )
            for number, port in enumerate(routes)
        ]
        urls = tuple(server.url for server in servers)
        async with open_link(ConnectOptions(servers=urls)) as link:
            api = API(link)
            config = {"name": "S", "subjects": ["h.>"], "num_replicas": 3}
            async with asyncio.timeout(DEADLINE):
                while True:  # until the servers have found each other
                    with contextlib.suppress(DeliveryError):
                        await api.request("STREAM.CREATE.S", config)
                        break
                    await asyncio.sleep(0.1)
            yield servers, Stage(servers[0], link, api)


@pytest.mark.skipif("XKEYMSG_CLUSTER" not in os.environ, reason="XKEYMSG_CLUSTER is not set")
async def test_a_change_of_leaders_and_the_death_of_one_cost_no_message(
    cluster: tuple[list[NATSServer], Stage],
) -> None:
    servers, stage = cluster
    js = of_alice(stage.link)
    futures = []
    # What a dying server had sent and we did not get comes again after `ack_wait`.
    async with stage.consumer(heartbeat=0.5, create=DurableOptions(ack_wait=2)):
        for number in range(300):
            futures.append(
                await js.publish_async("h.a", b"%d" % number, to=[BOB.public], timeout=30)
            )
            if number == 100:
                for what in ("CONSUMER.LEADER.STEPDOWN.S.d", "STREAM.LEADER.STEPDOWN.S"):
                    await stage.api.request(what, {})
            if number == 200:
                leader = (await stage.info())["cluster"]["leader"]
                servers[int(leader[1:])].kill()
            await asyncio.sleep(0.001)
        acks = await asyncio.wait_for(asyncio.gather(*futures), DEADLINE)
        await stage.until(lambda: len(set(stage.handled)) == 300)
    await js.close()

    assert len({ack.sequence for ack in acks}) == 300
    assert not stage.kinds("rewound")  # the count of deliveries is replicated before they are made
