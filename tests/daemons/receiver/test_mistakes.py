"""What a receiver says of mistakes and outages of its streams, and what it does not lose."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from tests.daemons.receiver.conftest import (
    ALICE,
    BOB,
    EVE,
    OBSERVE,
    Stage,
    make_stream,
    metric,
    page,
    ready,
    store,
)
from tests.daemons.receiver.test_streams import FILES, QUARANTINE, ROUTE, settled, taken
from tests.running import DEADLINE, Program, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.receiver.activity import Activity
from xkeymsg.keys import XKeyPair
from xkeymsg.opener import Opener
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.trust.stores.file import write_seed
from xkeymsg.trust.stores.peers_file import PeersFile

TEXT = ROUTE + "patience = 0.1\n" + FILES + QUARANTINE + OBSERVE


async def pour(stage: Stage, api: API, count: int) -> None:
    async with stage.link() as link:
        for number in range(count):
            await link.publish("orders.new", stage.seal(b"%03d" % number))
        await link.confirm()


async def test_a_wrong_seed_is_an_error_and_its_reload_ends_it(stream_stage: Stage) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    write_seed(stage.folder / "bob.seed", XKeyPair.generate())
    async with stage.link() as link:
        api = await make_stream(link)
        await pour(stage, api, 150)
        with stage.start(TEXT) as bob:
            where = ready(bob)
            await until(lambda: "NO opening" in page(where, "/readyz"))
            line = bob.wait_for("check the seed file", "err")
            assert " error " in line
            await settled(api)
            (stage.folder / "bob.seed").unlink()
            write_seed(stage.folder / "bob.seed", BOB)
            bob.process.send_signal(signal.SIGHUP)
            await until(lambda: "NO" not in page(where, "/readyz"))
            await store(link, stage.seal(b"late"))
            await until(lambda: taken(stage) == ["late"])
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == 0
        assert "".join(bob.output("err")).count("check the seed file") == 1
        state = (await api.request("STREAM.INFO.XKM_UNPROVEN"))["state"]
        assert state["messages"] == 150


async def test_peers_that_may_not_send_are_a_warning(stream_stage: Stage) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    path = stage.write(TEXT, peers="order.>")
    async with stage.link() as link:
        await make_stream(link)
        with Program("receiver", "--config", str(path)) as bob:
            line = bob.wait_for("no peer may send", "err")
            assert "no peer has `subjects` that include orders.>" in line


async def test_new_peers_without_an_active_sender_are_an_error(stream_stage: Stage) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    async with stage.link() as link:
        await make_stream(link)
        with stage.start(TEXT) as bob:
            ready(bob)
            await store(link, stage.seal(b"one"))
            await until(lambda: taken(stage) == ["one"])
            new = stage.folder / "peers.new"
            new.write_text(f'[peers.eve]\nxkey = "{EVE.public}"\nsubjects = [">"]\n')
            new.replace(stage.folder / "peers.toml")
            line = bob.wait_for("active sender not admitted", "err")
            assert f"sender={ALICE.public}" in line
            assert "subject=orders.new" in line


def test_a_sender_that_is_still_admitted_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["orders.>"]\n')
    path.chmod(0o600)
    peers = PeersFile(path)
    lines: list[tuple[str, object]] = []

    class Lines(Log):
        def error(self, event: str, **fields: object) -> None:
            lines.append((event, fields["sender"]))

    activity = Activity(Lines("receiver"))
    stage = Stage(None, tmp_path)  # type: ignore[arg-type]
    opener = Opener(BOB, peers)
    activity.note(peers, opener.open(stage.seal(b"x"), subject="orders.new"))
    activity.check()
    assert lines == []
    path.write_text(f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["other"]\n')
    peers.reload()
    activity.check()
    activity.check()
    assert lines == [("active sender not admitted", str(ALICE.public))]


async def test_without_the_right_to_acknowledge_it_is_not_ready_and_names_it(
    tmp_path: Path,
) -> None:
    config = """
    authorization { users = [ {user: admin, password: pw}
      {user: bob, password: pw, permissions: {publish: {deny: "$JS.ACK.>"}}} ] }
    """
    with NATSServer(config, jetstream=True) as server:
        stage = Stage(server, tmp_path)
        (stage.folder / "out").mkdir()
        text = 'user = "bob"\npassword = "pw"\n' + TEXT
        options = ConnectOptions(
            servers=(server.url,), user="admin", password="pw", timeout=DEADLINE
        )
        async with open_link(options) as link:
            await make_stream(link)
            await store(link, stage.seal(b"one"))
            with stage.start(text) as bob:
                where = ready(bob)
                await until(lambda: "NO acknowledging" in page(where, "/readyz"))
                bob.wait_for("permit publishing on $JS.ACK.ORDERS.workers.>", "err")
                assert taken(stage) == []


async def test_a_short_duplicate_window_of_the_sink_is_a_warning(stream_stage: Stage) -> None:
    stage = stream_stage
    sink = (
        f'[sinks.out]\nkind = "nats"\nservers = ["{stage.server.url}"]\njetstream = true\n'
        'subject = "out.{subject}"\n'
    )
    async with stage.link() as link:
        api = await make_stream(link)
        body = {"name": "OUT", "subjects": ["out.>"], "duplicate_window": 10**9}
        await api.request("STREAM.CREATE.OUT", body)
        with stage.start(ROUTE + sink + QUARANTINE + OBSERVE) as bob:
            line = bob.wait_for("short duplicate_window", "err")
            assert "ack_wait is 30 s" in line
            ready(bob)


async def test_one_poisoned_message_in_batches_stops_none_and_is_kept(
    stream_stage: Stage,
) -> None:
    """Its command is killed each time, and so the sink seems unavailable for its whole batch."""
    stage = stream_stage
    out = stage.folder / "lines"
    script = f'f=$(cat); case "$f" in *poison*) kill -9 $$;; esac; echo "$f" >> {out}'
    command = json.dumps(["/bin/sh", "-c", script])
    sink = f'[sinks.out]\nkind = "command"\ncommand = {command}\nbatch = 10\n'
    route = ROUTE + "attempts = 2\nbackoff_most = 0.1\n"
    async with stage.link() as link:
        api = await make_stream(link)
        await store(link, stage.seal(b"poison"))
        with stage.start(route + sink + QUARANTINE + OBSERVE) as bob:
            where = ready(bob)
            name = 'xkeymsg_quarantined_total{kind="kept",route="orders"}'
            sent = 0
            async with asyncio.timeout(DEADLINE):
                while metric(where, name) < 1:
                    await pour(stage, api, 10)
                    sent += 10
                    await asyncio.sleep(0.2)
            await settled(api)
        state = (await api.request("STREAM.INFO.XKM_PROVEN"))["state"]
        assert state["messages"] == 1
        lines = out.read_text().splitlines()
        assert len({json.loads(line)["id"] for line in lines}) == sent
