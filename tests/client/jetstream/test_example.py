"""The example is a whole program, and it works."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from tests.client.jetstream.conftest import ALICE, BOB, options
from tests.client.jetstream.test_publishing import of_alice
from tests.running import DEADLINE
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.trust.stores.file import write_seed

EXAMPLE = Path(__file__).parents[3] / "examples" / "jetstream_worker.py"
PEERS = f"""
[peers.alice]
xkey = "{ALICE.public}"
subjects = ["orders.>"]

[peers.bob]
xkey = "{BOB.public}"
"""


async def test_a_worker_prints_what_is_published_and_ends_when_it_is_told_to(
    jetstream_server: NATSServer, tmp_path: Path
) -> None:
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) < 40
    write_seed(tmp_path / "bob.seed", BOB)
    (tmp_path / "peers.toml").write_text(PEERS)
    async with open_link(options(jetstream_server)) as link:
        await API(link).request(
            "STREAM.CREATE.ORDERS", {"name": "ORDERS", "subjects": ["orders.>"]}
        )
        await create_quarantine(API(link))
        js = of_alice(link)
        await link.request("orders.new", b"garbage", timeout=DEADLINE)
        await js.publish("orders.new", b"one", to=[BOB.public])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(EXAMPLE), jetstream_server.url, "bob.seed", "peers.toml"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"orders.new one\n"
            await js.publish("orders.new", b"two", to=[BOB.public])
            assert await process.stdout.readline() == b"orders.new two\n"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
        info = await API(link).request("CONSUMER.INFO.ORDERS.printer")
        assert info["num_ack_pending"] == info["num_pending"] == 0
        await js.close()
