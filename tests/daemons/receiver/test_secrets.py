"""A whole run at the level debug with hostile messages: no plaintext and no secret leaves sideways.

What is marked: payloads, documents, sealed headers, content types, subjects, wire headers, a
password, a token, seeds; and what sinks answer, who repeat what they were sent.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.daemons.receiver.conftest import ALICE, BOB, EVE, Stage, make_stream, metric, page, store
from tests.daemons.receiver.test_sinks import endpoint
from tests.running import DEADLINE, Program, until
from xkeymsg import Policy, xkv1
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

CANARY = "c4n4ry"
CONFIG = f'authorization {{ user: bob, password: "{CANARY}-password" }}'

TEXT = """
[observe]
listen = "127.0.0.1:0"
level = "debug"
log = "{form}"
[quarantine]
create = true
[[route]]
name = "stdout"
subject = "a.>"
formats = ["xkm1", "xkv1"]
sink = "stdout"
[[route]]
name = "documents"
subject = "d.>"
documents = true
sink = "stdout"
[[route]]
name = "command"
subject = "b.>"
attempts = 2
backoff = 0.05
sink = "command"
[[route]]
name = "http"
subject = "c.>"
attempts = 2
backoff = 0.05
sink = "http"
[[route]]
name = "stream"
stream = "S"
durable = "d"
create_durable = true
subjects = ["s.>"]
attempts = 2
backoff = 0.05
sink = "command"
[sinks.stdout]
kind = "stdout"
[sinks.command]
kind = "command"
command = ["/bin/sh", "-c", "tee /dev/stderr; exit 3"]
[sinks.http]
kind = "http"
url = "http://127.0.0.1:{port}/in"
bearer_file = "token"
"""


def sealed(sealer: Sealer, subject: str) -> bytes:
    return sealer.seal(
        f"{CANARY} payload \n".encode(),
        to=[BOB.public],
        subject=subject,
        headers={f"{CANARY}-name": f"{CANARY} value"},
        content_type=f"{CANARY}/type",
    )


async def publish_everything(link: Link, stage: Stage) -> None:
    alice, eve, mallory = stage.sealer, Sealer(EVE), Sealer(ALICE)
    policy = Policy([("/**", ["all"])])
    for first in "abcd":
        for sealer in (alice, eve):
            for inside in (f"{first}.{CANARY}", f"other.{CANARY}"):
                data = sealed(sealer, inside)
                await link.publish(f"{first}.{CANARY}", data)
                await link.publish(f"{first}.{CANARY}", data)  # a replay
                await link.publish(f"{first}.{CANARY}", data[:-1] + b"x")
        for data in (CANARY.encode(), b"xkm1" + CANARY.encode() * 20, b""):
            block = encode_block({"sender": CANARY, CANARY: CANARY})
            await link.publish(f"{first}.x", data, headers=block)
    box = xkv1.seal(CANARY.encode(), key=ALICE, to=BOB.public)
    for hint in (str(ALICE.public), str(EVE.public), f"{CANARY}\x1b[31m"):
        await link.publish("a.xkv1", box, headers=encode_block({"sender": hint}))
    for document in ({CANARY: CANARY}, {CANARY: [{}, "\x00\u202e"]}):
        envelope = mallory.seal_document(
            document, policy=policy, readers={"all": [BOB.public]}, subject="d.doc"
        )
        await link.publish("d.doc", envelope)
    for sealer in (alice, eve):
        await store(link, sealed(sealer, f"s.{CANARY}"), f"s.{CANARY}")
        await store(link, sealed(sealer, f"other.{CANARY}"), "s.x")
    await store(link, CANARY.encode(), "s.x", **{CANARY: CANARY})
    await link.publish("a.end", alice.seal(b"the end", to=[BOB.public], subject="a.end"))
    await link.confirm()


async def collect(receiver: Program, link: Link, where: str) -> str:
    """Wait until everything was tried, and return all that others may see."""
    receiver.wait_for("the end")
    kept = 'xkeymsg_quarantined_total{kind="kept",route="stream"}'
    await until(lambda: metric(where, kept) == 2)  # the others wait for a key
    await until(lambda: metric(where, 'xkeymsg_lost_total{route="http"}') == 1)
    text = page(where, "/metrics")
    for path in ("/readyz", "/healthz", "/", f"/{CANARY}"):
        text += page(where, path)
    for verb in ("PING", "INFO", "STATS"):
        text += (await link.request(f"$SRV.{verb}", b"", timeout=DEADLINE)).data.decode()
    return text


async def test_nothing_of_a_message_and_no_secret_is_seen_from_outside(tmp_path: Path) -> None:
    for form in ("text", "json"):
        folder = tmp_path / form
        folder.mkdir()
        with NATSServer(CONFIG, jetstream=True) as server:
            await _run(Stage(server, folder), form)


async def _run(stage: Stage, form: str) -> None:
    token = stage.folder / "token"
    token.write_text(f"{CANARY}-token")
    token.chmod(0o600)
    login = {"user": "bob", "password": f"{CANARY}-password"}
    options = ConnectOptions(servers=(stage.server.url,), **login)  # type: ignore[arg-type]
    async with endpoint() as echo, open_link(options) as link:
        body = f"{CANARY} answer".encode()
        echo.answer = (
            b"HTTP/1.1 500 "
            + CANARY.encode()
            + b"\r\nContent-Length: %d\r\n\r\n%b"
            % (
                len(body),
                body,
            )
        )
        await make_stream(link, "S", "s.>")
        path = stage.write(TEXT.format(form=form, port=echo.port))
        stage.write_peers("a.>", "b.>", "c.>", "d.>", "s.>")
        env = {
            "XKEYMSG_RECEIVER__NATS__USER": "bob",
            "XKEYMSG_RECEIVER__NATS__PASSWORD": f"{CANARY}-password",
        }
        with Program("receiver", "--config", str(path), env=_environment(env), fresh=True) as bob:
            line = bob.wait_for("ready", "err")
            where = json.loads(line)["health"] if form == "json" else line.split("health=")[1]
            await publish_everything(link, stage)
            seen = await collect(bob, link, where)
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == 0
    errors = bob.output("err")
    assert len(errors) > 10
    for text in (seen, "\n".join(errors)):
        assert CANARY not in text
        for pair in (ALICE, BOB, EVE):
            assert pair.seed()[4:] not in text
    assert not any("Traceback" in line for line in errors)
    assert any(CANARY in line for line in bob.output())  # it is there where it should be
    assert all(line.isprintable() for line in errors)


def _environment(more: dict[str, str]) -> dict[str, str]:

    return os.environ | more
