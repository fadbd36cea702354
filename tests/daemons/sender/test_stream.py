"""A stream inside, a sealed one outside: each message once, whatever is killed in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from tests.daemons.inside import attempt
from tests.daemons.sender.conftest import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    SECRET,
    Stage,
    make_stream,
    metric,
    opened,
    page,
    ready,
    store,
    stored,
    viewed,
)
from tests.daemons.sender.proxy import way_to
from tests.running import DEADLINE, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.sender.message_ids import LABEL, Names
from xkeymsg.daemons.sender.sources.stream import StreamSource
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.raw import Raw

ROUTE = """
[observe]
listen = "127.0.0.1:0"
[[route]]
name = "ehr"
stream = "IN"
durable = "seal"
subject = "ehr.*"
to = "sealed.ehr.{1}"
recipients = ["bob"]
output = "jetstream"
backoff = 0.05
backoff_most = 0.2
"""
DOCUMENTS = ROUTE.replace('recipients = ["bob"]', 'policy = "policy.toml"')


async def make_durable(link: Link, **more: object) -> API:
    """Make the stream and the durable inside."""
    api = await make_stream(link, "IN", "ehr.>")
    config = {
        "durable_name": "seal",
        "ack_policy": "explicit",
        "ack_wait": 500_000_000,
        "max_ack_pending": 1000,
        "max_deliver": -1,
    } | more
    body = {"stream_name": "IN", "config": config}
    await api.request("CONSUMER.DURABLE.CREATE.IN.seal", body)
    return api


async def pending(api: API) -> tuple[int, int]:
    """What is out, and what is still to be delivered."""
    info = await api.request("CONSUMER.INFO.IN.seal")
    return info["num_ack_pending"], info["num_pending"]


async def is_pending(api: API, *expected: int) -> bool:
    return await pending(api) == expected


async def settled(api: API) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if await pending(api) == (0, 0):
                return
            await asyncio.sleep(0.02)


async def test_a_message_is_let_go_when_another_stream_has_it(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        for number in range(20):
            await store(inside, SECRET + b"%d" % number, "ehr.new", Trace="1")
        with stage.start(ROUTE) as alice:
            ready(alice)
            await settled(api)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            assert SECRET.decode() not in "\n".join(alice.output("err"))
        kept = await stored(outside, "OUT")
        assert opened([each.data for each in kept]) == [SECRET + b"%d" % n for n in range(20)]
        assert {each.subject for each in kept} == {"sealed.ehr.new"}
        headers = [dict(each.headers) for each in kept]
        assert all(each.keys() == {"sender", "Nats-Msg-Id"} for each in headers)
        assert len({each["Nats-Msg-Id"] for each in headers}) == 20
    assert not stage.is_on_disk(SECRET)


async def test_while_nobody_takes_it_outside_nothing_is_let_go_inside(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        api = await make_durable(inside)
        await store(inside, SECRET, "ehr.new")
        with stage.start(ROUTE) as alice:
            where = ready(alice)
            await until(lambda: metric(where, 'xkeymsg_delivery_failures_total{route="ehr"}') > 0)
            assert await pending(api) == (1, 0)
            await until(lambda: "NO sending" in page(where, "/readyz"))
            await make_stream(outside, "OUT", "sealed.>")
            await settled(api)
            await until(lambda: "ok sending" in page(where, "/readyz"))
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        [kept] = await stored(outside, "OUT")
        assert opened([kept.data]) == [SECRET]


async def test_who_is_killed_after_publishing_does_not_publish_twice(stage: Stage) -> None:
    """Killed between the two, again and again: outside has each message, inside none let go."""
    async with (
        stage.link() as outside,
        stage.link(stage.inside) as inside,
        way_to(stage.inside.port) as way,
    ):
        out = await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        way.deaf = True

        async def kept() -> int:
            number = (await out.request("STREAM.INFO.OUT"))["state"]["messages"]
            assert isinstance(number, int)
            return number

        for step in range(1, 4):
            for number in range(25):
                await store(inside, b"%d" % (25 * (step - 1) + number), "ehr.new")
            with stage.start(ROUTE, inside=way.url) as alice:
                async with asyncio.timeout(DEADLINE):
                    while True:
                        if await kept() >= 25 * step:
                            break
                        assert alice.process.poll() is None
                        await asyncio.sleep(0.005)
                alice.process.kill()  # all of it is outside, and the source knows nothing of it
            assert sum(await pending(api)) == 25 * step

        way.deaf = False
        with stage.start(ROUTE, inside=way.url) as alice:
            where = await asyncio.to_thread(ready, alice)  # the way needs this thread
            await settled(api)
            # After a stall of `ack_wait` the server delivers again, and the ids drop the copies.
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') >= 75)
            alice.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(alice.wait) == 0
        messages = await stored(outside, "OUT")
        assert sorted(map(int, opened([each.data for each in messages]))) == list(range(75))


async def test_who_is_killed_at_any_time_loses_nothing(stage: Stage) -> None:
    count = 900
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        out = await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        for number in range(count):
            await inside.publish("ehr.new", b"%d" % number)
        await inside.confirm()
        for step in (100, 600):
            with stage.start(ROUTE) as alice:
                async with asyncio.timeout(DEADLINE):
                    while True:
                        state = (await out.request("STREAM.INFO.OUT"))["state"]
                        if state["messages"] >= step:
                            break
                        await asyncio.sleep(0.005)
                alice.process.kill()
        with stage.start(ROUTE) as alice:
            ready(alice)
            await settled(api)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        messages = await stored(outside, "OUT")
        assert sorted(map(int, opened([each.data for each in messages]))) == list(range(count))


async def test_a_stream_that_forgets_ids_too_soon_is_said(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        config = {"name": "OUT", "subjects": ["sealed.>"], "duplicate_window": 200_000_000}
        await API(outside).request("STREAM.CREATE.OUT", config)
        await make_durable(inside)
    with stage.start(ROUTE) as alice:
        line = alice.wait_for("duplicate_window is short", "err")
        assert "stream=OUT seconds=0.2 ack_wait=0.5" in line


def test_names_are_of_the_place_and_of_the_key() -> None:
    key = ALICE.derive(LABEL)
    assert key == ALICE.derive(LABEL)
    assert key not in (BOB.derive(LABEL), ALICE.derive(b"xkm1/other"))
    where = StreamPosition("IN", 7, 1_700_000_000_000)
    names = {
        Names(of, route).of_stream(place)
        for of in (key, BOB.derive(LABEL))
        for route in ("a", "b")
        for place in (
            where,
            where._replace(sequence=8),
            where._replace(stream="IN2"),
            where._replace(stored_ms=where.stored_ms + 1),  # a stream that was made anew
        )
    }
    assert len(names) == 16
    assert Names(key, "a").of_stream(where) == Names(key, "a").of_stream(where)
    assert Names(key, "a").of_line("IN", 7, b"1700000000000") not in names


async def test_a_stream_that_was_made_anew_is_not_taken_for_the_old_one(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        for content in (b"old", b"new"):
            api = await make_durable(inside)
            await store(inside, content, "ehr.new")
            with stage.start(ROUTE) as alice:
                ready(alice)
                await settled(api)
                alice.process.send_signal(signal.SIGTERM)
                assert alice.wait() == 0
            await api.request("STREAM.DELETE.IN")
        messages = await stored(outside, "OUT")
        assert opened([each.data for each in messages]) == [b"old", b"new"]


# --- what cannot be sealed ------------------------------------------------------------------------


BAD = b'{"name": "x", "unknown": "%b"}' % SECRET


async def test_what_has_no_rule_is_kept_and_goes_when_there_is_one(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        await store(inside, BAD, "ehr.new")
        await store(inside, b'{"name": "good"}', "ehr.new")
        with stage.start(DOCUMENTS) as alice:
            where = ready(alice)
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 1)
            line = alice.wait_for("code=field_denied", "err")
            assert "/unknown" in line
            assert "sequence=1" in line
            # Delivered is counted before the server has taken the acknowledgement.
            await until(lambda: is_pending(api, 1, 0))  # it is offered again, and counted once
            assert metric(where, 'xkeymsg_refused_total{code="field_denied",route="ehr"}') == 1
            policy = (stage.folder / "policy.toml").read_text()
            stage.replace(
                "policy.toml", policy + '[[rule]]\npattern = "/unknown"\nreaders = ["billing"]\n'
            )
            alice.process.send_signal(signal.SIGHUP)
            await settled(api)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            assert SECRET.decode() not in "\n".join(alice.output("err"))
        kept = [each.data for each in await stored(outside, "OUT")]
        assert viewed(kept, BOB) == [{"name": "good"}, {"name": "x"}]
        assert viewed(kept, CAROL)[1] == {"name": "x", "unknown": SECRET.decode()}
        assert len(await stored(inside, "IN")) == 2
    assert not stage.is_on_disk(SECRET)


async def test_what_has_no_rule_is_terminated_where_that_is_wanted_and_stays(stage: Stage) -> None:
    text = DOCUMENTS + 'on_refused = "terminate"\nattempts = 3\n'
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        advisories = await inside.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.IN.seal")
        await store(inside, BAD, "ehr.new")
        with stage.start(text) as alice:
            advisory = json.loads((await advisories.next(DEADLINE)).data)
            assert advisory["reason"] == "field_denied"
            assert advisory["deliveries"] == 3
            await settled(api)
            alice.wait_for("terminated", "err")
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        assert [each.data for each in await stored(inside, "IN")] == [BAD]
        assert await stored(outside, "OUT") == []


async def test_nothing_is_terminated_where_that_would_delete_it(stage: Stage) -> None:
    async with stage.link(stage.inside) as inside:
        api = API(inside)
        config = {"name": "IN", "subjects": ["ehr.>"], "retention": "workqueue"}
        await api.request("STREAM.CREATE.IN", config)
    text = DOCUMENTS + 'on_refused = "terminate"\ncreate_durable = true\n'
    with stage.start(text) as alice:
        assert alice.wait() == 1
        assert any(
            "would delete terminated messages unsent" in line for line in alice.output("err")
        )


async def test_a_durable_that_gives_up_by_itself_is_refused(stage: Stage) -> None:
    async with stage.link(stage.inside) as inside:
        await make_durable(inside, max_deliver=5)
    with stage.start(ROUTE) as alice:
        assert alice.wait() == 1
        assert any("set it to -1" in line for line in alice.output("err"))


async def test_a_header_that_cannot_be_sealed_is_told_once_and_its_message_sent(
    stage: Stage,
) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        source = await make_durable(inside)
        block = b"NATS/1.0\r\nPlace: K\xf6ln\r\n\r\n"
        await inside.request("ehr.new", b"x", headers=block, timeout=DEADLINE)
        with stage.start(ROUTE) as alice:
            where = ready(alice)
            await settled(source)
            await until(lambda: metric(where, 'xkeymsg_headers_left_out_total{route="ehr"}') == 1)
            line = alice.wait_for("headers left out", "err")
            assert "first=Place sequence=1 subject=ehr.new" in line
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        assert opened([each.data for each in await stored(outside, "OUT")]) == [b"x"]


async def test_a_message_that_the_target_never_takes_is_named_and_holds_up_no_other(
    stage: Stage,
) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        api = API(outside)
        config = {"name": "OUT", "subjects": ["sealed.>"], "max_msg_size": 2000}
        await api.request("STREAM.CREATE.OUT", config)
        source = await make_durable(inside)
        for number in range(6):
            await store(inside, bytes(3000), f"ehr.large-{number}")
        await store(inside, b"small", "ehr.small")
        with stage.start(ROUTE + "max_in_flight = 2\n") as alice:
            where = ready(alice)
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 1)
            line = alice.wait_for(" refused ", "err")
            assert "code=payload_too_large" in line
            assert "sequence=1 subject=ehr.large-0" in line
            assert "max_msg_size" in line
            counted = 'xkeymsg_refused_total{code="payload_too_large",route="ehr"}'
            await until(lambda: metric(where, counted) == 6)
            await until(lambda: "ok sending" in page(where, "/readyz"))
            await until(lambda: is_pending(source, 6, 0))
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        assert opened([each.data for each in await stored(outside, "OUT")]) == [b"small"]
        assert len(await stored(inside, "IN")) == 7


async def test_a_full_subject_holds_up_no_other_and_nothing_of_it_is_terminated(
    stage: Stage,
) -> None:
    text = ROUTE + 'on_refused = "terminate"\nattempts = 2\nmax_in_flight = 2\n'
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        api = API(outside)
        config = {
            "name": "OUT", "subjects": ["sealed.>"], "discard": "new",
            "max_msgs_per_subject": 1, "discard_new_per_subject": True,
        }  # fmt: skip
        await api.request("STREAM.CREATE.OUT", config)
        source = await make_durable(inside)
        for number in range(5):
            await store(inside, b"full %d" % number, "ehr.full")
        await store(inside, b"other", "ehr.other")
        with stage.start(text) as alice:
            where = ready(alice)
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 2)
            await until(lambda: metric(where, 'xkeymsg_delivery_failures_total{route="ehr"}') > 15)
            await until(lambda: is_pending(source, 4, 0))
            assert metric(where, 'xkeymsg_quarantined_total{kind="kept",route="ehr"}') == 0
            await api.request("STREAM.UPDATE.OUT", config | {"max_msgs_per_subject": 10})
            await settled(source)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        sent = opened([each.data for each in await stored(outside, "OUT")])
        assert sorted(sent) == sorted([b"other", *(b"full %d" % number for number in range(5))])


async def test_when_all_that_may_be_out_cannot_be_sealed_it_says_so(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        await make_durable(inside, max_ack_pending=3)
        for _ in range(5):
            await store(inside, BAD, "ehr.new")
        with stage.start(DOCUMENTS) as alice:
            where = ready(alice)
            await until(lambda: "NO sending" in page(where, "/readyz"))
            await until(lambda: metric(where, 'xkeymsg_blocked{route="ehr"}') == 1)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        assert await stored(outside, "OUT") == []


async def test_while_a_name_stands_for_nobody_all_of_it_waits(stage: Stage) -> None:
    """Peers that lose their readers in the middle: the route stands still, and goes on after."""
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        text = ROUTE.replace('"bob"', '"perm:clinic"').replace("_most = 0.2", "_most = 30.0")
        with stage.start(text) as alice:
            where = ready(alice)
            await store(inside, b"one", "ehr.new")
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 1)
            await settled(api)
            stage.write_peers(bob='"cleaning"')
            stage.reload(alice)
            for number in range(5):
                await store(inside, SECRET + b"%d" % number, "ehr.new")
            alice.wait_for("standing still", "err")
            await until(lambda: "NO sending" in page(where, "/readyz"))
            await until(lambda: is_pending(api, 5, 0))
            stage.write_peers(
                f'[peers.dave]\nxkey = "{DAVE.public}"\npermissions = ["clinic"]\n',
                bob='"cleaning"',
            )
            await settled(api)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            assert SECRET.decode() not in "\n".join(alice.output("err"))
        kept = [each.data for each in await stored(outside, "OUT")]
        assert len(opened(kept[1:], DAVE)) == 5
    assert not stage.is_on_disk(SECRET)


async def test_a_message_that_is_too_large_outside_is_kept_inside(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        await store(inside, os.urandom((1 << 20) - 10), "ehr.new")
        await store(inside, b"small", "ehr.new")
        with stage.start(ROUTE) as alice:
            where = ready(alice)
            alice.wait_for("code=payload_too_large", "err")
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 1)
            # Delivered is counted before the server has taken the acknowledgement.
            await until(lambda: is_pending(api, 1, 0))
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        [kept] = await stored(outside, "OUT")
        assert opened([kept.data]) == [b"small"]


async def test_servers_that_restart_cost_time_alone(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        with stage.start(ROUTE) as alice:
            ready(alice)
            for number, server in enumerate((stage.outside, stage.inside)):
                await store(inside, b"%d" % (2 * number), "ehr.new")
                server.restart()
                await until(lambda: inside.state == outside.state == "connected")
                await store(inside, b"%d" % (2 * number + 1), "ehr.new")
            async with asyncio.timeout(DEADLINE):
                while True:
                    if len(await stored(outside, "OUT")) == 4:
                        break
                    await asyncio.sleep(0.02)
            await settled(api)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        kept = await stored(outside, "OUT")
        assert sorted(opened([each.data for each in kept])) == [b"0", b"1", b"2", b"3"]


async def test_the_durable_is_made_where_that_is_wanted(stage: Stage) -> None:
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_stream(inside, "IN", "ehr.>")
        await store(inside, b"1", "ehr.new")
        await store(inside, b"2", "ehr.not.this")
        with stage.start(ROUTE) as alice:
            assert alice.wait() == 1  # it is not there
        with stage.start(ROUTE + "create_durable = true\n") as alice:
            ready(alice)
            await settled(api)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        kept = await stored(outside, "OUT")
        assert opened([each.data for each in kept]) == [b"1"]


async def test_it_is_not_ready_while_the_durable_gives_nothing(stage: Stage) -> None:
    """Nobody could tell that from a quiet day."""
    async with stage.link() as outside, stage.link(stage.inside) as inside:
        await make_stream(outside, "OUT", "sealed.>")
        api = await make_durable(inside)
        with stage.start(ROUTE) as alice:
            where = ready(alice)
            await until(lambda: "ok served" in page(where, "/readyz"))
            await make_durable(inside, max_batch=1)  # now it refuses what is asked for
            for number in range(250):
                await store(inside, b"%d" % number, "ehr.new")
            await until(lambda: "NO served" in page(where, "/readyz"))
            await make_durable(inside)
            await store(inside, b"last", "ehr.new")
            await until(lambda: page(where, "/readyz").startswith("ok"))
            await settled(api)
        assert len(await stored(outside, "OUT")) == 251


async def test_without_the_right_to_acknowledge_it_is_not_ready_and_names_it(
    jetstream_server: NATSServer, tmp_path: Path
) -> None:
    config = """
    authorization { users = [ {user: admin, password: pw}
      {user: alice, password: pw, permissions: {publish: {deny: "$JS.ACK.>"}}} ] }
    """
    with NATSServer(config, jetstream=True) as server:
        stage = Stage(jetstream_server, server, tmp_path)
        admin = ConnectOptions(servers=(server.url,), user="admin", password="pw", timeout=DEADLINE)
        async with stage.link() as outside, open_link(admin) as inside:
            await make_stream(outside, "OUT", "sealed.>")
            await make_durable(inside)
            await store(inside, SECRET, "ehr.new")
            with stage.start('user = "alice"\npassword = "pw"\n' + ROUTE) as alice:
                where = ready(alice)
                await until(lambda: "NO sending" in page(where, "/readyz"))
                alice.wait_for("permit publishing on $JS.ACK.IN.seal.>", "err")
            assert await stored(outside, "OUT") == []


async def test_without_the_right_to_publish_it_is_not_ready_and_resumes_with_it(
    jetstream_server: NATSServer, tmp_path: Path
) -> None:
    config = """
    authorization { users = [ {user: admin, password: pw}
      {user: alice, password: pw, permissions: {publish: {deny: "%s"}}} ] }
    """
    with NATSServer(config % "sealed.>", jetstream=True) as server:
        stage = Stage(server, jetstream_server, tmp_path)
        admin = ConnectOptions(servers=(server.url,), user="admin", password="pw", timeout=DEADLINE)
        async with open_link(admin) as outside, stage.link(jetstream_server) as inside:
            await make_stream(outside, "OUT", "sealed.>")
            await make_durable(inside)
            await store(inside, SECRET, "ehr.new")
            with stage.start(
                ROUTE, XKEYMSG_SENDER__NATS__USER="alice", XKEYMSG_SENDER__NATS__PASSWORD="pw"
            ) as alice:
                where = ready(alice)
                await until(lambda: "NO sending" in page(where, "/readyz"))
                # And not after its timeout, whose text is another one.
                said = alice.wait_for("not delivered", "err")
                assert 'why="the server does not permit publishing on sealed.ehr.new"' in said
                server.reload(config % "other.>")
                await until(lambda: page(where, "/readyz").startswith("ok"))
            assert opened([each.data for each in await stored(outside, "OUT")]) == [SECRET]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
async def test_no_message_is_terminated_because_threads_or_memory_are_short(
    error: Exception,
) -> None:
    class Short:
        route = SimpleNamespace(name="ehr", on_refused="terminate", attempts=1)
        report = None

        async def seal(self, *_: object) -> NoReturn:
            raise error

    source = StreamSource(cast(Any, Short()), Names(bytes(32), "ehr"), drain=1.0)
    raw = Raw(b"ehr.new", b"", b"", SECRET)
    with pytest.raises(type(error)):  # for which the consumer holds the message
        await attempt(source, raw, StreamPosition("IN", 1, 1))
