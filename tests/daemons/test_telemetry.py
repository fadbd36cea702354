"""A trace through both daemons, as processes in which a provider is configured from outside."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.running import DEADLINE, ROOT, Process, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.keys import XKeyPair
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block, parse_block
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed

ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()
SECRET = "Jane Doe"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

PROVIDER = """
import os
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

exporter = ConsoleSpanExporter(
    out=open(os.environ["SPANS"], "a"), formatter=lambda span: span.to_json(indent=None) + "\\n"
)
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
"""

SENDER = """
[[route]]
name = "core"
subject = "plain.core.>"
to = "sealed.core"
recipients = ["bob"]
output = "core"
[[route]]
name = "stream"
subject = "plain.stream.>"
to = "sealed.stream"
recipients = ["bob"]
output = "jetstream"
"""

RECEIVER = """
[[route]]
name = "core"
subject = "sealed.core"
sink = "out"
[[route]]
name = "stream"
stream = "SEALED"
durable = "bob"
create_durable = true
subjects = ["sealed.stream"]
sink = "out"
[sinks.out]
kind = "stdout"
[quarantine]
create = true
"""


class Folder:
    """The configurations of both daemons, and the spans of each."""

    def __init__(self, path: Path, server: NATSServer) -> None:
        self.path, self.server = path, server
        (path / "sitecustomize.py").write_text(PROVIDER)
        for name, pair in (("alice", ALICE), ("bob", BOB)):
            write_seed(path / f"{name}.seed", pair)
        (path / "peers.toml").write_text(
            "\n".join(
                f'peers.{name} = {{ xkey = "{pair.public}", subjects = ["sealed.>"] }}'
                for name, pair in (("alice", ALICE), ("bob", BOB))
            )
        )

    def start(self, program: str, owner: str, text: str, telemetry: str) -> Process:
        path = self.path / f"{program}.toml"
        source = f'[source]\nservers = ["{self.server.url}"]\n' if program == "sender" else ""
        path.write_text(
            f'[key]\nseed_file = "{owner}.seed"\n[trust]\npeers = "peers.toml"\n'
            f'[nats]\nservers = ["{self.server.url}"]\n{source}'
            f'[observe]\nlisten = "127.0.0.1:0"\ntelemetry = "{telemetry}"\n{text}'
        )
        path.chmod(0o600)
        environ = {"PYTHONPATH": str(self.path), "SPANS": str(self.path / f"{program}.spans")}
        command = (sys.executable, "-m", program, "--config", path)
        return Process(*command, env=os.environ | environ, cwd=ROOT)

    def spans(self, program: str) -> list[dict[str, Any]]:
        path = self.path / f"{program}.spans"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    async def until(self, program: str, count: int) -> list[dict[str, Any]]:
        await until(lambda: len(self.spans(program)) >= count)
        return self.spans(program)


def ids(span: dict[str, Any]) -> tuple[str, str]:
    context = span["context"]
    return context["trace_id"].removeprefix("0x"), context["span_id"].removeprefix("0x")


def links(span: dict[str, Any]) -> list[tuple[str, str]]:
    return [ids(each) for each in span["links"]]


@pytest.mark.parametrize("telemetry", ["sealed", "clear"])
async def test_a_trace_through_both_daemons(tmp_path: Path, telemetry: str) -> None:
    with NATSServer(jetstream=True) as server:
        folder = Folder(tmp_path, server)
        async with open_link(ConnectOptions(servers=(server.url,), timeout=DEADLINE)) as link:
            api = API(link, timeout=DEADLINE)
            await api.request(
                "STREAM.CREATE.SEALED", {"name": "SEALED", "subjects": ["sealed.stream"]}
            )
            witness = await link.subscribe("sealed.*")
            with (
                folder.start("receiver", "bob", RECEIVER, telemetry) as bob,
                folder.start("sender", "alice", SENDER, telemetry) as alice,
            ):
                bob.wait_for("ready", "err")
                alice.wait_for("ready", "err")
                block = encode_block({"traceparent": f"00-{TRACE}-{SPAN}-01"})
                for kind, headers in (("core", block), ("stream", b"")):
                    await link.publish(f"plain.{kind}.smith", SECRET.encode(), headers=headers)
                    await link.confirm()
                    bob.wait_for(SECRET)
                sealed = [await anext(witness) for _ in range(2)]
                made = await folder.until("sender", 4)
                read = await folder.until("receiver", 4)
    seen = [dict(parse_block(raw.headers)).get("traceparent") for raw in sealed]
    for kind, source, clear in zip(
        ("core", "stream"), ("sealed.core", "SEALED"), seen, strict=True
    ):
        [seal] = [each for each in made if each["name"] == f"seal sealed.{kind}"]
        [publish] = [each for each in made if each["name"] == f"publish sealed.{kind}"]
        [opened] = [each for each in read if each["name"] == f"open {source}"]
        [handled] = [each for each in read if each["name"] == f"process {source}"]
        # The context of a source's message is sealed as it is, as by any intermediary.
        above = [(TRACE, SPAN)] if kind == "core" else []
        assert links(seal) == above
        assert publish["parent_id"].removeprefix("0x") == ids(seal)[1]
        assert links(opened) == links(handled) == (above or [ids(seal)])
        assert opened["parent_id"] is handled["parent_id"] is None
        if telemetry == "sealed":
            assert clear is None
        else:
            assert (clear or "").split("-")[1:3] == [*ids(seal)]
    text = json.dumps([made, read])
    assert not any(each in text for each in (SECRET, "smith", ALICE.seed(), BOB.seed()))
