"""Routes that listen on a subject, as processes, against whoever publishes there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.daemons.receiver.conftest import (
    ALICE,
    BOB,
    EVE,
    OBSERVE,
    ROUTE,
    STDOUT,
    Stage,
    metric,
    page,
    ready,
)
from tests.running import Program, until
from xkeymsg import Policy, xkv1
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block


def lines(receiver: Program) -> list[dict[str, object]]:
    return [json.loads(line) for line in receiver.output()]


async def test_what_opens_is_a_line_and_what_does_not_is_counted_by_its_code(stage: Stage) -> None:
    with stage.start(ROUTE + STDOUT + OBSERVE) as bob:
        where = ready(bob)
        assert page(where, "/readyz").count("ok") == 13
        replay = stage.seal(b"once")
        async with stage.link() as link:
            for data in (
                b"junk",
                replay,
                replay,
                Sealer(EVE).seal(b"eve", to=[BOB.public], subject="orders.new"),
                stage.sealer.seal(b"not for us", to=[EVE.public], subject="orders.new"),
                stage.seal(b"elsewhere", "payments.new"),
                xkv1.seal(b"xkv1", key=ALICE, to=BOB.public),
            ):
                await link.publish("orders.new", data)
            await link.publish("orders.\xff", b"", headers=encode_block({"sender": "x"}))
            await link.publish("orders.raw", stage.seal(bytes([255, 0]), "orders.raw"))
            await link.confirm()
        bob.wait_for("orders.raw")
        text = page(where, "/metrics")
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() == 0
    first, second = lines(bob)
    assert first == {
        "id": first["id"],
        "subject": "orders.new",
        "sender": str(ALICE.public),
        "admitted": True,
        "created": first["created"],
        "data": "once",
    }
    assert second["data_base64"] == "/wA="
    refused = {
        line.partition('code="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("xkeymsg_refused_total") and not line.endswith(" 0.0")
    }
    assert refused == {
        "malformed": 2,
        "unsupported_version": 1,  # xkv1 is not taken unless a route says so
        "replay": 1,
        # Nobody may send on payments: it is not a question of what we expect.
        "sender_not_admitted": 2,
        "not_a_recipient": 1,
    }


async def test_documents_show_what_this_reader_may_see(stage: Stage) -> None:
    policy = Policy([("/name", ["clinic"]), ("/iban", ["billing"])])
    envelope = stage.sealer.seal_document(
        {"name": "Ada", "iban": "XX"},
        policy=policy,
        readers={"clinic": [BOB.public], "billing": [EVE.public]},
        subject="orders.doc",
        headers={"Trace": "1"},
        content_type="application/json",
    )
    with stage.start(ROUTE + "documents = true\n" + STDOUT + OBSERVE) as bob:
        ready(bob)
        async with stage.link() as link:
            await link.publish("orders.doc", envelope)
            await link.confirm()
        line = json.loads(bob.wait_for("document"))
    assert line["document"] == {"name": "Ada"}
    assert line["withheld"] == 1
    assert line["headers"] == [["Trace", "1"]]
    assert line["content_type"] == "application/json"


async def test_xkv1_is_opened_where_a_route_says_so_and_only_from_peers(stage: Stage) -> None:
    route = ROUTE + 'formats = ["xkm1", "xkv1"]\n'
    with stage.start(route + STDOUT + OBSERVE) as bob:
        where = ready(bob)
        async with stage.link() as link:
            for pair in (EVE, ALICE):
                block = encode_block({"sender": str(pair.public)})
                sealed = xkv1.seal(f"{pair is ALICE}".encode(), key=pair, to=BOB.public)
                await link.publish("orders.new", sealed, headers=block)
            await link.confirm()
        line = json.loads(bob.wait_for("data"))
        assert (line["data"], line["format"]) == ("True", "xkv1")
        assert "created" not in line
        name = 'xkeymsg_refused_total{code="sender_not_admitted",route="orders"}'
        assert metric(where, name) == 1


async def test_a_queue_group_shares_the_messages(stage: Stage) -> None:
    text = ROUTE + 'queue = "workers"\n' + STDOUT + OBSERVE
    with stage.start(text) as one, stage.start(text) as two:
        ready(one)
        ready(two)
        await stage.send(*(b"%d" % number for number in range(200)))
        for each in (one, two):
            each.process.send_signal(signal.SIGTERM)
            assert each.wait() == 0
    counts = [len(lines(one)), len(lines(two))]
    assert sum(counts) == 200
    assert min(counts) > 20


async def test_all_that_was_accepted_under_load_is_delivered_before_the_end(
    stage: Stage, tmp_path: Path
) -> None:
    # A sink that takes its time: when the signal comes, most of it waits.
    taken = tmp_path / "taken"
    sink = (
        f'[sinks.out]\nkind = "command"\ncommand = ["/bin/sh", "-c", "sleep 0.05; cat >>{taken}"]\n'
    )
    text = ROUTE + "max_in_flight = 200\n" + sink + "batch = 50\nlinger = 0.01\n" + OBSERVE
    with stage.start(text) as bob:
        ready(bob)
        await stage.send(*(b"%d" % number for number in range(1000)))
        [memory] = re.findall(
            r"VmRSS:\s+(\d+) kB", Path(f"/proc/{bob.process.pid}/status").read_text()
        )
        assert int(memory) < 80 * 1024
        bob.process.send_signal(signal.SIGTERM)
        await stage.send(b"too late")  # the subscription has ended, or this is delivered too
        assert bob.wait() == 0, bob.output("err")
    data = [json.loads(line)["data"] for line in taken.read_text().splitlines()]
    assert [each for each in data if each != "too late"] == [str(n) for n in range(1000)]
    assert "stopped" in bob.output("err")[-1]


async def test_what_is_not_finished_in_time_is_given_up_and_said(stage: Stage) -> None:
    sink = '[sinks.out]\nkind = "command"\ncommand = ["/bin/sleep", "60"]\n'
    route = ROUTE + "max_in_flight = 2\n"
    with stage.start(route + sink + "[drain]\nseconds = 0.3\n" + OBSERVE) as bob:
        ready(bob)
        await stage.send(b"one", b"two", b"waits for room", b"waits in the buffer", b"too")
        await until(lambda: bool(children(bob.process.pid)))
        [child] = children(bob.process.pid)
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() == 1
        assert not Path(f"/proc/{child}").exists()
    assert any("not finished in time" in line for line in bob.output("err"))
    assert any("no time to deliver route=orders messages=5" in line for line in bob.output("err"))


def children(pid: int) -> list[int]:
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(each) for each in done.stdout.split()]


async def test_a_second_signal_ends_it_at_once(stage: Stage) -> None:
    sink = '[sinks.out]\nkind = "command"\ncommand = ["/bin/sleep", "60"]\n'
    with stage.start(ROUTE + sink + OBSERVE) as bob:
        ready(bob)
        await stage.send(b"one")
        bob.process.send_signal(signal.SIGTERM)
        bob.wait_for("stopping", "err")
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() == -signal.SIGTERM


async def test_when_nobody_reads_its_stdout_any_more_it_ends_with_a_failure(stage: Stage) -> None:
    reading, writing = os.pipe()
    path = stage.write(ROUTE + STDOUT + OBSERVE)
    with Program("receiver", "--config", str(path), stdout=writing) as bob:
        os.close(writing)
        ready(bob)
        os.close(reading)
        await stage.send(b"one")
        assert bob.wait() == 1
    assert "the reader of stdout is gone" in bob.output("err")[-1]


async def test_a_reader_of_stdout_that_waits_makes_it_wait_and_its_pages_work(
    stage: Stage,
) -> None:
    reading, writing = os.pipe()
    path = stage.write(ROUTE + STDOUT + OBSERVE + "[drain]\nseconds = 0.5\n")
    with Program("receiver", "--config", str(path), stdout=writing) as bob:
        os.close(writing)
        where = ready(bob)
        await stage.send(*(bytes(10_000) for _ in range(300)))
        await until(lambda: metric(where, 'xkeymsg_in_flight{route="orders"}') >= 64)
        assert page(where, "/healthz") == "ok\n"
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() == 1
    os.close(reading)


async def test_without_a_connection_it_is_not_ready_and_then_again(stage: Stage) -> None:
    with stage.start(ROUTE + STDOUT + OBSERVE) as bob:
        where = ready(bob)
        port = stage.server.port
        stage.server.kill()
        bob.wait_for("connection disconnected", "err")
        await until(lambda: "NO connected" in page(where, "/readyz"))
        stage.server.port = port
        stage.server.start()
        bob.wait_for("connection connected", "err")
        await stage.send(b"again")
        assert json.loads(bob.wait_for("again"))["data"] == "again"
        await until(lambda: "NO" not in page(where, "/readyz"))
        await until(lambda: metric(where, "xkeymsg_reconnects_total") == 1)


async def test_it_ends_well_also_while_the_server_is_away(stage: Stage) -> None:
    with stage.start(ROUTE + STDOUT + OBSERVE) as bob:
        ready(bob)
        await stage.send(b"one")
        bob.wait_for("one")
        stage.server.kill()
        bob.wait_for("connection disconnected", "err")
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() == 0


async def test_a_signal_while_it_begins_ends_it(stage: Stage) -> None:
    path = stage.write("timeout = 60.0\n" + ROUTE + STDOUT)
    stage.server.kill()
    with Program("receiver", "--config", str(path), fresh=True) as bob:
        while b"receiver" not in Path(f"/proc/{bob.process.pid}/cmdline").read_bytes():
            pass
        await asyncio.sleep(0.8)  # it tries to connect; it says nothing meanwhile
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() in (0, -signal.SIGTERM)


async def test_a_subscription_that_the_server_refuses_is_a_failure(tmp_path: Path) -> None:
    config = """
    authorization { users = [
      {user: bob, password: pw, permissions: {subscribe: ["_INBOX.>", "$SRV.>"]}} ] }
    """
    with NATSServer(config) as server:
        stage = Stage(server, tmp_path)
        path = stage.write(ROUTE + STDOUT)
        env = os.environ | {
            "XKEYMSG_RECEIVER__NATS__USER": "bob",
            "XKEYMSG_RECEIVER__NATS__PASSWORD": "pw",
        }
        with Program("receiver", "--config", str(path), env=env) as bob:
            assert bob.wait() == 1
    assert "permissions violation" in bob.output("err")[-1].lower()
