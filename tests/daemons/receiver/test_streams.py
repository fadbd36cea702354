"""Routes that consume a stream: nothing is acknowledged that the sink has not taken."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

from tests.daemons.receiver.conftest import (
    ALICE,
    BOB,
    EVE,
    OBSERVE,
    STDOUT,
    Stage,
    make_stream,
    metric,
    page,
    ready,
    store,
)
from tests.running import DEADLINE, Program, run, until
from tests.servers import needs_server
from xkeymsg.client.jetstream.api import API
from xkeymsg.keys import XKeyPair
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

ROUTE = """
[[route]]
name = "orders"
stream = "ORDERS"
durable = "workers"
create_durable = true
subjects = ["orders.>"]
backoff = 0.05
sink = "out"
"""
QUARANTINE = "[quarantine]\ncreate = true\n"
FILES = '[sinks.out]\nkind = "files"\nfolder = "out"\n'


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().split()[2] != "Z"
    except OSError:
        return False


def taken(stage: Stage) -> list[str]:
    files = (stage.folder / "out").glob("*.json")
    return sorted(json.loads(each.read_text())["data"] for each in files)


async def settled(api: API) -> None:
    """Wait until every message of the durable is answered for."""
    async with asyncio.timeout(DEADLINE):
        while True:
            info = await api.request("CONSUMER.INFO.ORDERS.workers")
            if info["num_pending"] == info["num_ack_pending"] == 0:
                return
            await asyncio.sleep(0.05)


async def test_a_receiver_that_is_killed_loses_nothing_and_files_come_once(
    stream_stage: Stage,
) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    text = ROUTE + FILES + QUARANTINE + OBSERVE
    async with stage.link() as link:
        api = await make_stream(link)
        with stage.start(text) as bob:
            ready(bob)
            for number in range(300):
                await store(link, stage.seal(b"%03d" % number))
                if number == 150:
                    bob.process.kill()
        async with asyncio.timeout(DEADLINE):
            await api.request("CONSUMER.INFO.ORDERS.workers")
        with stage.start(text) as bob:
            ready(bob)
            # What the first one held comes again when its time is over, here at once.
            await api.request(
                "CONSUMER.CREATE.ORDERS.workers",
                {
                    "stream_name": "ORDERS",
                    "config": {
                        "durable_name": "workers",
                        "name": "workers",
                        "ack_policy": "explicit",
                        "ack_wait": 500_000_000,
                        "max_ack_pending": 1000,
                        "max_deliver": -1,
                        "deliver_policy": "all",
                        "replay_policy": "instant",
                    },
                },
            )
            await settled(api)
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == 0
    assert taken(stage) == [f"{number:03d}" for number in range(300)]


async def test_what_cannot_be_opened_or_taken_is_in_quarantine(stream_stage: Stage) -> None:
    stage = stream_stage
    command = ["/bin/sh", "-c", "! grep -q poison"]
    sink = f'[sinks.out]\nkind = "command"\ncommand = {json.dumps(command)}\n'
    with_batches = sink + "batch = 10\nlinger = 0.2\n"
    text = ROUTE + "attempts = 2\n" + with_batches + QUARANTINE + OBSERVE
    async with stage.link() as link:
        api = await make_stream(link)
        for data in (
            stage.seal(b"good"),
            stage.seal(b"poison"),
            stage.seal(b"fine"),
            b"junk",
            stage.sealer.seal(b"x", to=[BOB.public], subject="payments.new"),
        ):
            await store(link, data)
        with stage.start(text) as bob:
            where = ready(bob)
            await until(
                lambda: metric(where, 'xkeymsg_quarantined_total{kind="kept",route="orders"}') >= 2
            )
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="orders"}') == 2)
            # payments may yet be admitted: it waits for its key
            name = 'xkeymsg_refused_total{code="sender_not_admitted",route="orders"}'
            await until(lambda: metric(where, name) >= 1)
        state = (await api.request("STREAM.INFO.XKM_PROVEN"))["state"]
        assert state["messages"] == 1
        assert (await api.request("STREAM.INFO.XKM_UNPROVEN"))["state"]["messages"] == 1


async def test_copies_are_told_in_few_lines_with_their_number(stream_stage: Stage) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    copies = 500
    async with stage.link() as link:
        api = await make_stream(link)
        with stage.start(ROUTE + FILES + QUARANTINE + OBSERVE) as bob:
            where = ready(bob)
            sealed = stage.seal(b"x")
            for _ in range(copies + 1):
                await link.publish("orders.new", sealed)
            await link.confirm()
            name = 'xkeymsg_refused_total{code="replay",route="orders"}'
            await until(lambda: metric(where, name) >= copies)
            await settled(api)
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == 0
            lines = [line for line in bob.output("err") if "replay" in line]
        refused = [line for line in lines if " refused " in line]
        assert "route=orders code=replay why=" in refused[-1]
        assert re.search(r" sequence=\d+", refused[-1])
        stand_for = sum(int(re.findall(r"repeated=(\d+)|$", line)[0] or 1) for line in refused)
        assert stand_for >= copies
        assert len(lines) < copies / 5
    assert taken(stage) == ["x"]


async def test_a_second_sigterm_ends_the_command_too(stream_stage: Stage) -> None:
    stage = stream_stage
    command = ["/bin/sh", "-c", "echo $$ > pid; exec sleep 600"]
    sink = f'[sinks.out]\nkind = "command"\ncommand = {json.dumps(command)}\ntimeout = 600.0\n'
    pid = stage.folder / "pid"
    sink = sink.replace("> pid", f"> {pid}")
    async with stage.link() as link:
        await make_stream(link)
        await store(link, stage.seal(b"x"))
        with stage.start(ROUTE + sink + QUARANTINE + OBSERVE) as bob:
            ready(bob)
            await until(lambda: pid.exists() and pid.read_text().endswith("\n"))
            bob.process.send_signal(signal.SIGTERM)
            bob.wait_for("stopping", "err")
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == -signal.SIGTERM
    await until(lambda: not is_running(int(pid.read_text())))


async def test_all_that_was_delivered_under_load_is_acknowledged_at_the_end(
    stream_stage: Stage,
) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    async with stage.link() as link:
        api = await make_stream(link)
        for number in range(500):
            await store(link, stage.seal(b"%03d" % number))
        with stage.start(ROUTE + FILES + QUARANTINE + OBSERVE) as bob:
            where = ready(bob)
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="orders"}') >= 50)
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == 0, bob.output("err")
        info = await api.request("CONSUMER.INFO.ORDERS.workers")
    files = len(taken(stage))
    assert info["num_ack_pending"] == 0
    assert info["delivered"]["stream_seq"] >= info["ack_floor"]["stream_seq"]
    assert files == info["ack_floor"]["stream_seq"]


async def test_without_its_stream_or_quarantine_it_does_not_begin(stream_stage: Stage) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    for text, expected in (
        (ROUTE + FILES, "quarantine stream XKM_UNPROVEN: "),
        (ROUTE + FILES + QUARANTINE, "stream ORDERS does not exist"),
    ):
        path = stage.write(text)
        with Program("receiver", "--config", str(path)) as bob:
            assert bob.wait() == 1
        assert expected in bob.output("err")[-1]
    async with stage.link() as link:
        await make_stream(link)
    path = stage.write(ROUTE.replace("create_durable = true\n", "") + FILES + QUARANTINE)
    with Program("receiver", "--config", str(path)) as bob:
        assert bob.wait() == 1
    assert (
        "stream ORDERS has no durable workers: set create_durable = true" in bob.output("err")[-1]
    )


async def test_what_it_may_not_do_is_said_as_such_and_at_once(tmp_path: Path) -> None:
    config = """
    authorization { users = [
      {user: bob, password: pw, permissions: {publish: {deny: "$JS.API.>"}}} ] }
    """
    with NATSServer(config, jetstream=True) as server:
        stage = Stage(server, tmp_path)
        (stage.folder / "out").mkdir()
        path = stage.write('user = "bob"\npassword = "pw"\ntimeout = 60.0\n' + ROUTE + FILES)
        with Program("receiver", "--config", str(path)) as bob:
            assert bob.wait() == 1
        said = bob.output("err")
    refused = "the server does not permit publishing on $JS.API.STREAM.INFO.XKM_UNPROVEN"
    assert f'why="{refused}"' in said[-2]
    assert "permit publishing on $JS.API" in said[-1]


async def test_a_sink_that_is_down_leaves_everything_in_the_stream(stream_stage: Stage) -> None:
    stage = stream_stage
    sink = '[sinks.out]\nkind = "http"\nurl = "http://127.0.0.1:9/in"\n'
    text = ROUTE + "attempts = 1\nbackoff_most = 0.1\n" + sink + QUARANTINE + OBSERVE
    async with stage.link() as link:
        api = await make_stream(link)
        for number in range(20):
            await store(link, stage.seal(b"%d" % number))
        with stage.start(text) as bob:
            where = ready(bob)
            failures = 'xkeymsg_delivery_failures_total{route="orders"}'
            await until(lambda: metric(where, failures) >= 5)
            await until(lambda: "NO sinks" in page(where, "/readyz"))
            line = bob.wait_for("nothing can be handled (no response from 127.0.0.1:", "err")
            assert "error trouble route=orders code=outage" in line
            bob.process.send_signal(signal.SIGTERM)
            bob.wait()
        info = await api.request("CONSUMER.INFO.ORDERS.workers")
        assert info["ack_floor"]["stream_seq"] == 0
        assert (await api.request("STREAM.INFO.XKM_PROVEN"))["state"]["messages"] == 0


async def test_a_key_that_arrives_late_opens_what_waited(stream_stage: Stage) -> None:
    stage = stream_stage
    (stage.folder / "out").mkdir()
    async with stage.link() as link:
        api = await make_stream(link)
        with stage.start(ROUTE + FILES + QUARANTINE + OBSERVE) as bob:
            ready(bob)
            await store(link, Sealer(EVE).seal(b"hello", to=[BOB.public], subject="orders.new"))
            bob.wait_for("code=sender_not_admitted", "err")
            path = Path(stage.folder / "peers.toml")
            new = stage.folder / "peers.new"
            new.write_text(
                path.read_text() + f'[peers.eve]\nxkey = "{EVE.public}"\nsubjects = [">"]\n'
            )
            new.replace(path)  # seen without a signal
            bob.wait_for("reloaded", "err")
            await settled(api)
    assert taken(stage) == ["hello"]


def data(bob: Program) -> list[str]:
    return [json.loads(line)["data"] for line in bob.output()]


@needs_server(2, 14, "resetting a consumer")
async def test_a_durable_that_is_reset_delivers_everything_again_also_to_another_key(
    stream_stage: Stage,
) -> None:
    stage, new = stream_stage, XKeyPair.generate()
    async with stage.link() as link:
        api = await make_stream(link)
        with stage.start(ROUTE + STDOUT + QUARANTINE + OBSERVE) as bob:
            where = ready(bob)
            for number in range(20):
                await store(link, stage.seal(b"%d" % number))
            await until(lambda: len(bob.output()) == 20)
            await settled(api)
            await api.request("CONSUMER.RESET.ORDERS.workers", {"seq": 1})
            await until(lambda: len(bob.output()) == 40)
            await settled(api)
            bob.wait_for("rewound", "err")
            assert metric(where, 'xkeymsg_replays_total{route="orders"}') == 0

            # The new scope takes the new key, too, and remembers across the change.
            (stage.folder / "bob.seed").unlink()
            write_seed(stage.folder / "bob.seed", new)
            bob.process.send_signal(signal.SIGHUP)
            bob.wait_for("reloaded what=key changed=true", "err")
            sealed = stage.sealer.seal(b"new", to=[new.public], subject="orders.new")
            await store(link, sealed)
            await store(link, sealed)
            await until(lambda: len(bob.output()) == 41)
            await settled(api)
            await until(lambda: metric(where, 'xkeymsg_replays_total{route="orders"}') == 1)
            bob.process.send_signal(signal.SIGTERM)
            assert bob.wait() == 0
    assert data(bob) == [f"{number}" for number in range(20)] * 2 + ["new"]


async def test_a_replay_memory_that_is_too_small_is_told_everywhere(stream_stage: Stage) -> None:
    stage = stream_stage
    small = ROUTE + "replay_bytes = 65536\n"
    async with stage.link() as link:
        api = await make_stream(link)
        with stage.start(small + STDOUT + QUARANTINE + OBSERVE) as bob:
            where = ready(bob)
            assert 'replay_covers_seconds{route="orders"} +Inf' in page(where, "/metrics")
            assert metric(where, 'xkeymsg_max_age_seconds{route="orders"}') == 300
            status, said, _ = await asyncio.to_thread(doctor, stage, where)
            assert status == 0
            assert re.search(r"^ok +replay +orders: every mark is kept", said, re.MULTILINE)

            for _ in range(120):  # a session for each: some 90 of them fit
                sealer = Sealer(ALICE)
                await store(link, sealer.seal(b"x", to=[BOB.public], subject="orders.new"))
            await settled(api)
            name = 'xkeymsg_replay_covers_seconds{route="orders"}'
            await until(lambda: metric(where, name) < 300)
            dropped = 'xkeymsg_replay_pages_dropped_total{route="orders"}'
            await until(lambda: metric(where, dropped) > 0)
            pending = 'xkeymsg_replay_pending{route="orders"}'
            await until(lambda: metric(where, pending) == 0)  # as of the last tick
            await until(lambda: metric(where, 'xkeymsg_replay_bytes{route="orders"}') > 0)
            assert metric(where, 'xkeymsg_replay_bytes{route="orders"}') <= 65536 + 1024
            line = bob.wait_for("replay memory is short", "err")
            assert "route=orders" in line
            assert "max_age=300" in line

            status, said, _ = await asyncio.to_thread(doctor, stage, where)
            assert status == 0
            assert re.search(
                r"^warn +replay +orders: covers .* raise the route's replay_bytes",
                said,
                re.MULTILINE,
            )


def doctor(stage: Stage, where: str) -> tuple[int, str, str]:
    done = run("xkeymsg.cli", "doctor", "-s", stage.server.url, "--daemon", where)
    return done.returncode, done.stdout.decode(), done.stderr.decode()
