"""Python and the npm package talk through a nats-server, in Node and in Chromium."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import nats
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

import xkeymsg
from tests.browser import Visit
from tests.js.package import Package
from tests.running import DEADLINE, unused_port
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
    servers: Servers, program: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
) -> None:
    """Let a JavaScript program answer all kinds of messages."""
    bob = XKeyPair.generate()
    url = servers.server.url
    raw = HardenedClient()  # the PING of the stock client's flush overtakes what it confirms
    await raw.connect(url, connect_timeout=int(DEADLINE))
    js = raw.jetstream(timeout=DEADLINE)
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    await js.add_consumer(
        "JOBS",
        ConsumerConfig(durable_name="js", filter_subject="jobs.js", ack_policy=AckPolicy.EXPLICIT),
    )
    ready = await raw.subscribe("js_ready")
    overheard = await raw.subscribe("js.echo")
    await raw.flush(int(DEADLINE))
    options = {"seed": bob.seed(), "peer": str(ALICE.public), "jobs": True}
    running = asyncio.ensure_future(program(options))
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
            await raw.flush(int(DEADLINE))  # before the end, which takes another connection
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
            said = await asyncio.wait_for(running, DEADLINE)
            assert sorted(said["handled"]) == ["one", "two"]
            # A copy and a plaintext, on a subject and in a stream.
            assert said["refused"] == ["malformed", "malformed", "replay", "replay"]
            last = await js.get_last_msg("JOBS", "jobs.py")
            assert last.data is not None
            assert (last.headers or {})["sender"] == str(bob.public)
            opened = Opener(ALICE, {bob.public}, replay=AtRest()).open(last.data, subject="jobs.py")
            assert opened.data in (b"one", b"two")
            assert (await js.consumer_info("JOBS", "js")).num_ack_pending == 0
    finally:
        running.cancel()
        await asyncio.wait([running])
        await raw.close()


async def test_node_over_tcp(package: Package, servers: Servers) -> None:
    async def program(options: dict[str, Any]) -> dict[str, Any]:
        process = await asyncio.create_subprocess_exec(
            package.node,
            "test/live_node.mjs",
            json.dumps(options | {"url": servers.server.url}),
            cwd=package.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            said: dict[str, Any] = json.loads(out)
            return said
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    await converse(servers, program)


@pytest.mark.asyncio(loop_scope="session")
async def test_chromium_passes_every_vector_and_talks_over_a_websocket(
    package: Package, servers: Servers, visit: Visit
) -> None:
    async def program(options: dict[str, Any]) -> dict[str, Any]:
        visit.hide(options["seed"])
        talk = options | {"url": f"ws://127.0.0.1:{servers.websocket}"}
        said: dict[str, Any] = await visit.page.evaluate("talk => xkeymsg.converse(talk)", talk)
        return said

    with package.page() as site:
        await visit.page.goto(site.url)
        platform = await visit.page.evaluate("xkeymsg.platform()")
        assert platform["x25519"], "nothing was tried with keys of WebCrypto"
        vectors = await visit.page.evaluate("xkeymsg.vectors()")
        assert vectors["failures"] == []
        assert vectors["count"] >= 2_049
        await converse(servers, program)


async def test_the_example_of_the_readme_runs(package: Package, servers: Servers) -> None:
    raw = await nats.connect(servers.server.url, connect_timeout=int(DEADLINE))
    js = raw.jetstream(timeout=DEADLINE)
    await js.add_stream(name="JOBS", subjects=["jobs.>"])
    await js.add_consumer(
        "JOBS", ConsumerConfig(durable_name="printer", ack_policy=AckPolicy.EXPLICIT)
    )
    await raw.close()
    arguments = ("--test", "--test-reporter=tap", "test/example.test.mjs")
    said = await asyncio.to_thread(package.run, *arguments, XKEYMSG_URL=servers.server.url)
    assert "ok 3 - NATS" in said
