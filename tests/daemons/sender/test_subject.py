"""A subject inside, a sealed one outside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

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
    stored,
    viewed,
)
from tests.running import until
from xkeymsg import AtRest
from xkeymsg.envelope.inspect import inspect
from xkeymsg.errors import DeliveryError
from xkeymsg.opener import Opener
from xkeymsg.transport.headers import encode_block

ROUTE = """
[observe]
listen = "127.0.0.1:0"
[[route]]
name = "ehr"
subject = "ehr.*"
to = "sealed.ehr.{1}"
recipients = ["bob", "perm:billing"]
output = "core"
"""
DOCUMENTS = ROUTE.replace('recipients = ["bob", "perm:billing"]', 'policy = "policy.toml"')


async def test_what_is_said_inside_is_sealed_outside(stage: Stage) -> None:
    async with stage.witness() as witness:
        with stage.start(ROUTE) as alice:
            where = ready(alice)
            headers = encode_block({"Patient": SECRET.decode(), "Nats-Msg-Id": "order-43"})
            await stage.publish("ehr.new", SECRET, headers=headers)
            await stage.publish("ehr.old", SECRET)
            await stage.publish("ehr.not.this", SECRET)
            await stage.publish("other", SECRET)
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 2)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            said = "\n".join(alice.output("err"))
        await until(lambda: len(witness.raws) == 2)
        assert {raw.subject for raw in witness.raws} == {b"sealed.ehr.new", b"sealed.ehr.old"}
        [envelope] = witness.on("sealed.ehr.new")
        assert inspect(envelope).subject == "sealed.ehr.new"
        for reader in (BOB, CAROL):
            assert opened(witness.on("sealed.ehr.old"), reader) == [SECRET]
        assert not witness.saw(SECRET)
        assert not witness.saw(b"order-43")
        assert SECRET.decode() not in said
    assert not stage.is_on_disk(SECRET)


async def test_headers_that_cannot_be_sealed_are_counted_and_told(stage: Stage) -> None:
    async with stage.witness() as witness:
        with stage.start(ROUTE) as alice:
            where = ready(alice)
            block = b"NATS/1.0\r\nPlace: K\xf6ln\r\nOther: x\r\n\r\n"
            await stage.publish("ehr.new", *[b"x"] * 20, headers=block)
            counted = 'xkeymsg_headers_left_out_total{route="ehr"}'
            await until(lambda: metric(where, counted) == 20)
            await until(lambda: len(witness.raws) == 20)
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 20)
            line = alice.wait_for("headers left out", "err")
            assert "route=ehr headers=1 first=Place subject=ehr.new" in line
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        lines = [line for line in alice.output("err") if "left out" in line]
        assert len(lines) < 20
        message = Opener(BOB, {ALICE.public}, replay=AtRest()).open(
            witness.raws[0].data, subject="sealed.>"
        )
        assert message.headers.pairs == (("Other", "x"),)


async def test_one_of_a_queue_group_takes_each_message(stage: Stage) -> None:
    text = ROUTE.replace("output", 'queue = "sealers"\noutput')
    async with stage.witness() as witness:
        with stage.start(text) as one, stage.start(text) as two:
            ready(one)
            ready(two)
            await stage.publish("ehr.new", *(b"%d" % n for n in range(50)))
            await until(lambda: len(witness.raws) >= 50)
            for each in (one, two):
                each.process.send_signal(signal.SIGTERM)
                assert each.wait() == 0
        assert sorted(map(int, opened(witness.on("sealed.ehr.new")))) == list(range(50))


async def test_a_stream_outside_keeps_what_is_sealed_and_nothing_else(stage: Stage) -> None:
    text = DOCUMENTS.replace('"core"', '"jetstream"')
    async with stage.link() as link:
        await make_stream(link, "OUT", "sealed.>", "ehr.>")
        with stage.start(text) as alice:
            where = ready(alice)
            await stage.publish(
                "ehr.new",
                b'{"name": "%b"}' % SECRET,
                b'{"name": "%b", "unknown": "%b"}' % (SECRET, SECRET),
                SECRET,
                b'{"name": "%b"}' % SECRET,
            )
            await until(lambda: metric(where, 'xkeymsg_delivered_total{route="ehr"}') == 2)
            counted = 'xkeymsg_refused_total{code="%s",route="ehr"}'
            for code in ("field_denied", "malformed"):
                await until(lambda code=code: metric(where, counted % code) == 1)  # type: ignore[misc]
            assert "/unknown" in alice.wait_for("code=field_denied", "err")
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0  # it is no job: others decide what comes
            assert SECRET.decode() not in "\n".join(alice.output("err"))
        kept = await stored(link, "OUT")
        assert [each.subject for each in kept] == ["sealed.ehr.new"] * 2
        documents = viewed([each.data for each in kept], BOB)
        assert documents == [{"name": SECRET.decode()}] * 2
    assert not stage.is_on_disk(SECRET)


async def test_files_that_break_in_the_middle_change_nothing(stage: Stage) -> None:
    """Peers, policy and key go bad one after another: what was in use goes on, or nothing goes."""
    async with stage.witness() as witness:
        with stage.start(DOCUMENTS) as alice:
            where = ready(alice)

            async def sent(count: int, document: bytes = b'{"name": "%b"}' % SECRET) -> None:
                await stage.publish("ehr.new", document)
                await until(lambda: len(witness.raws) == count)

            await sent(1)
            stage.replace("peers.toml", "[peers.bob]\nxkey = ")
            stage.replace("policy.toml", "[[rule]]")
            (stage.folder / "alice.seed").chmod(0o644)
            alice.process.send_signal(signal.SIGHUP)
            alice.wait_for("reload failed what=policy", "err")
            await until(lambda: "NO peers" in page(where, "/readyz"))
            assert page(where, "/readyz").startswith("503")
            await sent(2)
            # Mended, with another reader: counts for the next message.
            stage.write_peers(f'[peers.dave]\nxkey = "{DAVE.public}"\npermissions = ["clinic"]\n')
            alice.wait_for("reloaded what=peers changed=true", "err")  # by itself
            await until(lambda: "NO peers" not in page(where, "/readyz"))
            await sent(3)
            # Nobody of the clinic is left: nothing goes, and it is counted.
            stage.write_peers(bob='"cleaning"')
            stage.reload(alice)
            await stage.publish("ehr.new", b'{"name": "%b"}' % SECRET)
            assert "perm" not in alice.wait_for("code=unknown_key", "err").split("why=")[0]
            stage.write_peers()
            stage.reload(alice)
            await sent(4)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            assert SECRET.decode() not in "\n".join(alice.output("err"))
        assert not witness.saw(SECRET)
        assert len(viewed(witness.on("sealed.ehr.new"), BOB)) == 4
        dave = Opener(DAVE, {inspect(witness.raws[0].data).sender}, replay=AtRest())
        view = dave.open_document(witness.raws[2].data, subject=">")
        assert view.document == {"name": SECRET.decode()}


async def test_what_was_taken_is_sent_before_the_end(stage: Stage) -> None:
    """SIGTERM while the server outside stands still: what was taken waits for it."""
    async with stage.link() as link:
        await make_stream(link, "OUT", "sealed.>")
    with stage.start(ROUTE.replace('"core"', '"jetstream"')) as alice:
        where = ready(alice)
        assert stage.outside.process is not None
        os.kill(stage.outside.process.pid, signal.SIGSTOP)
        await stage.publish("ehr.new", *(b"%d" % n for n in range(100)))
        await until(lambda: metric(where, 'xkeymsg_sealed_total{route="ehr"}') == 100)
        alice.process.send_signal(signal.SIGTERM)
        alice.wait_for("stopping", "err")
        os.kill(stage.outside.process.pid, signal.SIGCONT)
        assert alice.wait() == 0
    async with stage.link() as link:
        kept = await stored(link, "OUT")
        assert sorted(map(int, opened([each.data for each in kept]))) == list(range(100))


async def test_a_server_that_does_not_come_back_is_an_end_with_an_error(stage: Stage) -> None:
    with stage.start(ROUTE + "[drain]\nseconds = 1.0\n") as alice:
        where = ready(alice)
        stage.outside.kill()
        await stage.publish("ehr.new", SECRET, SECRET)
        await until(lambda: metric(where, 'xkeymsg_in_flight{route="ehr"}') == 2)
        await until(lambda: page(where, "/readyz").startswith("503"))
        alice.process.send_signal(signal.SIGTERM)
        assert alice.wait() == 1
        said = "\n".join(alice.output("err"))
        assert "no time to send route=ehr messages=2" in said
        assert SECRET.decode() not in said


async def test_a_flood_is_held_back_and_counted(stage: Stage) -> None:
    text = ROUTE.replace('"core"', '"jetstream"\nmax_in_flight = 4')
    with stage.start(text) as alice:
        where = ready(alice)
        async with stage.link(stage.inside) as link:
            for number in range(20_000):
                await link.publish("ehr.new", b"%d" % number)
            await link.confirm()
        # There is no stream: four wait, 8,192 more are held, and the others find no room.
        await until(lambda: metric(where, 'xkeymsg_dropped_total{route="ehr"}') > 0)
        assert metric(where, 'xkeymsg_in_flight{route="ehr"}') <= 4
        alice.process.kill()


async def test_the_fleet_is_seen(stage: Stage) -> None:
    with stage.start(ROUTE) as alice:
        ready(alice)
        async with stage.link() as link:
            inbox = await link.subscribe("_INBOX.fleet")
            raw = None
            while raw is None:  # its subscriptions are on their way when it is ready
                await link.publish("$SRV.INFO.sender", b"", reply="_INBOX.fleet")
                with contextlib.suppress(DeliveryError):
                    raw = await inbox.next(0.5)
                raw = raw if raw is not None and raw.data else None
            assert b'"sealed.ehr.{1}"' in raw.data
            assert str(stage.inside.port).encode() not in raw.data
        alice.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(alice.wait) == 0
