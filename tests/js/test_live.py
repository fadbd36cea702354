"""Python and the npm package talk through a nats-server, in Node and in Chromium."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

import xkeymsg
from tests.js.package import Package, find_chromium
from tests.running import DEADLINE, ROOT, unused_port
from xkeymsg import AtRest, Opener, Policy, XKeyPair
from xkeymsg.testing import NATSServer
from xkeymsg.transport.client import HardenedClient

pytestmark = pytest.mark.slow

ALICE = XKeyPair.generate()
DOCUMENT = {"a": [1, 1.5, None], "b": "both", "c": {"d": b"x"}}
POLICY = Policy([("/b", ["q"]), ("/**", ["p"])])


class Servers:
    """A nats-server with JetStream and a WebSocket."""

    def __init__(self) -> None:
        self.websocket = unused_port()
        config = f'websocket {{ listen: "127.0.0.1:{self.websocket}", no_tls: true }}'
        self.server = NATSServer(config, jetstream=True)


@pytest.fixture
def servers() -> Iterator[Servers]:
    servers = Servers()
    with servers.server:
        yield servers


async def converse(
    servers: Servers, start: Callable[[dict[str, Any]], list[str | Path]], folder: Path
) -> list[Any]:
    """Let a JavaScript program answer all kinds of messages, and return what it prints."""
    bob = XKeyPair.generate()
    url = servers.server.url
    raw = HardenedClient()  # the PING of the stock client's flush overtakes what it confirms
    await raw.connect(url)
    js = raw.jetstream()
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    await js.add_consumer(
        "JOBS",
        ConsumerConfig(durable_name="js", filter_subject="jobs.js", ack_policy=AckPolicy.EXPLICIT),
    )
    ready = await raw.subscribe("js_ready")
    overheard = await raw.subscribe("js.echo")
    await raw.flush()
    command = start({"seed": bob.seed(), "peer": str(ALICE.public), "jobs": True})
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with (
            xkeymsg.connect(url, key=ALICE, trust={bob.public}) as alice,
            alice.subscribe("py.echo") as echoes,
            alice.subscribe("py.document", documents=True) as documents,
        ):
            await alice.flush()
            await ready.next_msg(DEADLINE)
            to = [bob.public]
            await alice.publish(
                "js.echo", b"7 lamps", to=to, headers={"A": "b"}, content_type="text/plain"
            )
            echo = await anext(echoes)
            assert (echo.data, echo.sender, echo.content_type) == (
                b"7 lamps",
                bob.public,
                "text/plain",
            )
            assert echo.headers.pairs == (("A", "b"),)
            copy = (await overheard.next_msg(DEADLINE)).data
            await raw.publish("js.echo", copy)
            await raw.publish("js.echo", b"plaintext")
            await raw.flush()  # before the end, which takes another connection
            await alice.publish("js.other", b"end", to=to)

            readers = {"p": to, "q": [ALICE.public]}
            await alice.publish_document("js.document.a", DOCUMENT, policy=POLICY, readers=readers)
            view = (await anext(documents)).document
            assert view == {"a": [1, 1.5, None], "c": {"d": b"x"}}
            assert [type(each) for each in view["a"]] == [int, float, type(None)]

            for text in (b"one", b"two"):
                await alice.js.publish("jobs.js", text, to=to)
            stored = await js.get_msg("JOBS", 1)
            assert stored.data is not None
            await js.publish("jobs.js", stored.data)  # a copy
            await js.publish("jobs.js", b"plaintext")
            await alice.js.publish("jobs.js", b"end", to=to)
            out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
            assert process.returncode == 0, err.decode()
            results: list[Any] = json.loads(out)
            said = results[-1]
            assert sorted(said["handled"]) == ["one", "two"]
            # A copy and a plaintext, on a subject and in a stream.
            assert said["refused"] == ["malformed", "malformed", "replay", "replay"]
            last = await js.get_last_msg("JOBS", "jobs.py")
            assert last.data is not None
            assert (last.headers or {})["sender"] == str(bob.public)
            opened = Opener(ALICE, {bob.public}, replay=AtRest()).open(last.data, subject="jobs.py")
            assert opened.data in (b"one", b"two")
            assert (await js.consumer_info("JOBS", "js")).num_ack_pending == 0
            return results
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await raw.close()


async def test_node_over_tcp(package: Package, servers: Servers) -> None:
    def start(options: dict[str, Any]) -> list[str | Path]:
        return [
            package.node,
            "test/live_node.mjs",
            json.dumps(options | {"url": servers.server.url}),
        ]

    await converse(servers, start, package.folder)


async def test_chromium_passes_every_vector_and_talks_over_a_websocket(
    package: Package, servers: Servers
) -> None:
    chromium = find_chromium()

    def start(options: dict[str, Any]) -> list[str | Path]:
        talk = options | {"url": f"ws://127.0.0.1:{servers.websocket}"}
        calls = [["platform"], ["vectors"], ["converse", talk]]
        return [package.node, "test/browser.mjs", chromium, ROOT / "vectors", json.dumps(calls)]

    platform, vectors, _ = await converse(servers, start, package.folder)
    assert vectors["failures"] == []
    assert vectors["count"] >= 2_049
    assert platform["x25519"], "nothing was tried with keys of WebCrypto"


async def test_the_example_of_the_readme_runs(package: Package, servers: Servers) -> None:
    raw = await nats.connect(servers.server.url)
    js = raw.jetstream()
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    await js.add_consumer(
        "JOBS", ConsumerConfig(durable_name="printer", ack_policy=AckPolicy.EXPLICIT)
    )
    await raw.close()
    arguments = ("--test", "--test-reporter=tap", "test/example.test.mjs")
    said = await asyncio.to_thread(package.run, *arguments, XKEYMSG_URL=servers.server.url)
    assert "ok 3 - NATS" in said
