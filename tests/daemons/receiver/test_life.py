"""A receiver while it runs: what it loads again, what it tells systemd, and who asks after it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons.receiver.conftest import (
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
from tests.running import DEADLINE, Program, until
from tests.transport.authority import Nkey
from xkeymsg.errors import DeliveryError
from xkeymsg.keys import Recipient, XKeyPair
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

TEXT = OBSERVE + ROUTE + STDOUT


async def test_an_invalid_peers_file_is_not_ready_until_it_is_corrected(stage: Stage) -> None:
    """A peer that was removed from it is still admitted: somebody has to notice."""
    with stage.start(TEXT) as bob:
        where = ready(bob)
        peers = stage.folder / "peers.toml"
        valid = peers.read_text()
        assert "ok peers" in page(where, "/readyz")
        peers.write_text("bogus = 1\n")
        bob.wait_for("reload failed what=peers", "err")
        await until(lambda: "NO peers" in page(where, "/readyz"))
        peers.write_text(valid)
        bob.wait_for("reloaded what=peers changed=false", "err")
        await until(lambda: "ok peers" in page(where, "/readyz"))


async def test_a_stale_message_is_logged_with_its_cause(stage: Stage) -> None:
    old = stage.seal(b"old")
    await asyncio.sleep(0.01)
    text = TEXT.replace('sink = "out"', 'sink = "out"\nmax_age = 0.001')
    with stage.start(text) as bob:
        ready(bob)
        async with stage.link() as link:
            await link.publish("orders.new", old)
            await link.confirm()
        assert "why=" in bob.wait_for("code=stale", "err")


async def test_peers_and_keys_are_loaded_again_and_bad_ones_are_not(stage: Stage) -> None:
    with stage.start(TEXT) as bob:
        where = ready(bob)
        replayed = stage.seal(b"one")
        async with stage.link() as link:
            await link.publish("orders.new", replayed)
            await link.confirm()
        bob.wait_for("one")

        # A file that cannot be used leaves those of before, and says so.
        (stage.folder / "peers.toml").write_text("[peers")
        (stage.folder / "bob.seed").chmod(0o644)
        bob.process.send_signal(signal.SIGHUP)
        bob.wait_for("reload failed what=key", "err")
        await until(lambda: metric(where, 'xkeymsg_reloads_total{result="failed"}') >= 2)
        await stage.send(b"two")
        bob.wait_for("two")

        # Another key, with the old one retired by nobody: what is sealed to it opens no more.
        new = XKeyPair.generate()
        (stage.folder / "bob.seed").unlink()
        write_seed(stage.folder / "bob.seed", new)
        stage.write_peers("orders.>", "payments.>")
        bob.process.send_signal(signal.SIGHUP)
        assert str(new.public) in bob.wait_for("reloaded what=key changed=true", "err")
        async with stage.link() as link:
            await link.publish("orders.new", stage.seal(b"to the old key"))
            await link.publish(
                "orders.new", stage.sealer.seal(b"three", to=[new.public], subject="orders.new")
            )
            await link.publish("orders.new", replayed)
            await link.confirm()
        bob.wait_for("three")
        bob.process.send_signal(signal.SIGTERM)
        assert bob.wait() == 0
    assert [json.loads(line)["data"] for line in bob.output()] == ["one", "two", "three"]


async def test_a_hangup_while_it_reads_its_configuration_does_not_end_it(stage: Stage) -> None:
    path = stage.write(TEXT)
    command = stage.folder / "slow"
    command.write_text(
        f"#!/bin/sh\ntouch {stage.folder}/asked\n"
        f"until test -e {stage.folder}/go; do sleep 0.05; done\ncat {stage.folder}/bob.seed\n"
    )
    command.chmod(0o700)
    store = f'key_store = "command:{command}"'
    path.write_text(path.read_text().replace('seed_file = "bob.seed"', store))
    with Program("receiver", "--config", str(path)) as bob:
        await until((stage.folder / "asked").exists)
        bob.process.send_signal(signal.SIGHUP)
        (stage.folder / "go").touch()
        ready(bob)
        bob.wait_for("reloaded what=key", "err")


async def test_the_user_of_the_key_is_loaded_again_with_it(stage: Stage) -> None:
    """A sender's peers file names the user before the receiver's configuration does."""
    user = Nkey().public
    with stage.start(TEXT) as bob:
        ready(bob)
        async with stage.link() as link:

            async def send(data: bytes) -> None:
                to = Recipient(BOB.public, user)
                envelope = stage.sealer.seal(data, to=[to], subject="orders.new")
                await link.publish("orders.new", envelope)
                await link.confirm()

            await send(b"early")
            bob.wait_for("code=not_a_recipient", "err")
            path = stage.folder / "receiver.toml"
            before = path.read_text()
            path.write_text(before.replace("[trust]", f'user = "{user}"\n[trust]'))
            bob.process.send_signal(signal.SIGHUP)
            bob.wait_for("reloaded what=key changed=true", "err")
            await send(b"known")
            bob.wait_for("known")
            path.write_text(before)
            bob.process.send_signal(signal.SIGHUP)
            bob.wait_for("reloaded what=key changed=true", "err")
            await send(b"late")
            bob.wait_for("code=not_a_recipient", "err")


async def test_a_new_key_does_not_forget_what_was_opened(stage: Stage) -> None:
    old, new = stage.folder / "old.seed", XKeyPair.generate()
    write_seed(old, BOB)
    write_seed(stage.folder / "bob.seed", new)
    path = stage.write(TEXT)
    path.write_text(path.read_text().replace("[trust]", 'retired = ["old.seed"]\n[trust]'))
    with Program("receiver", "--config", str(path)) as bob:
        where = ready(bob)
        once = stage.seal(b"once")
        async with stage.link() as link:
            await link.publish("orders.new", once)
            await link.confirm()
            bob.wait_for("once")
            (stage.folder / "bob.seed").unlink()
            write_seed(stage.folder / "bob.seed", XKeyPair.generate())
            bob.process.send_signal(signal.SIGHUP)
            bob.wait_for("reloaded what=key changed=true", "err")
            await link.publish("orders.new", once)
            await link.publish("orders.new", stage.seal(b"twice"))
            await link.confirm()
        bob.wait_for("twice")
        assert metric(where, 'xkeymsg_refused_total{code="replay",route="orders"}') == 1


async def test_peers_that_are_taken_out_may_send_no_more_without_a_signal(stage: Stage) -> None:
    with stage.start(TEXT) as bob:
        where = ready(bob)
        stage.write_peers("payments.>")
        bob.wait_for("reloaded what=peers changed=true", "err")
        await stage.send(b"no")
        name = 'xkeymsg_refused_total{code="sender_not_admitted",route="orders"}'
        await until(lambda: metric(where, name) >= 1)
    assert bob.output() == []


@pytest.mark.parametrize("abstract", [False, True])
async def test_systemd_is_told_of_its_life(stage: Stage, abstract: bool) -> None:
    name = f"\0xkeymsg-{os.getpid()}-{id(stage)}" if abstract else str(stage.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(DEADLINE)
        with stage.start(
            TEXT, NOTIFY_SOCKET=name.replace("\0", "@"), WATCHDOG_USEC="300000"
        ) as bob:
            said: list[str] = []
            ready(bob)
            while said.count("WATCHDOG=1") < 3 or "READY=1" not in said:
                said.append(listener.recv(4096).decode())
            bob.process.send_signal(signal.SIGHUP)
            while not said[-1].startswith("RELOADING=1\nMONOTONIC_USEC="):
                said.append(listener.recv(4096).decode())
            while said[-1] != "READY=1":
                said.append(listener.recv(4096).decode())
            bob.process.send_signal(signal.SIGTERM)
            while said[-1] != "STOPPING=1":
                said.append(listener.recv(4096).decode())
            assert bob.wait() == 0
    assert said.index("READY=1") > 0  # it lived before, and the watchdog heard of it


async def test_micro_sees_it_with_what_it_did_codes_and_senders_alone(stage: Stage) -> None:
    with stage.start(TEXT) as bob:
        ready(bob)
        await stage.send(b"one")
        bob.wait_for("one")
        async with stage.link() as link:
            eve = Sealer(EVE).seal(b"c4n4ry", to=[BOB.public], subject="orders.new")
            await link.publish("orders.new", eve)
            async with asyncio.timeout(DEADLINE):
                while True:
                    raw = await link.request("$SRV.STATS.receiver", b"", timeout=DEADLINE)
                    [endpoint] = json.loads(raw.data)["endpoints"]
                    if endpoint["num_requests"] >= 2:
                        break  # a delivered message is counted after its sink has it
                    await asyncio.sleep(0.01)
    assert (endpoint["num_requests"], endpoint["num_errors"]) == (2, 1)
    assert endpoint["last_error"] == "sender_not_admitted"
    assert endpoint["data"]["refused_senders"] == {
        "authenticated": {},
        "stated": {str(EVE.public): {"sender_not_admitted": 1}},
    }
    assert b"c4n4ry" not in raw.data


async def test_it_can_keep_to_itself(stage: Stage) -> None:
    with stage.start(TEXT.replace("[observe]", "[observe]\nmicro = false")) as bob:
        ready(bob)
        async with stage.link() as link:
            with pytest.raises(DeliveryError, match="nobody listens"):
                await link.request("$SRV.PING", b"", timeout=DEADLINE)


def test_the_tutorial_loads_nothing_that_only_a_daemon_needs() -> None:
    code = "import sys, receiver.command; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "prometheus_client", "httpx"} & set(done.stdout.split())


async def test_a_subscription_that_is_permitted_no_more_is_no_readiness(tmp_path: Path) -> None:
    """Connected, and nothing comes: nobody could tell it from a quiet day."""
    config = """authorization {{ users = [{{ user: bob, password: x, permissions: {{
        publish: ["_INBOX.>"], subscribe: {{ deny: [{denied}] }} }} }}] }}"""
    with NATSServer(config.format(denied="other")) as server:
        stage = Stage(server, tmp_path)
        text = TEXT.replace("[observe]", 'user = "bob"\npassword = "x"\n[observe]')
        with stage.start(text) as bob:
            where = ready(bob)
            assert "ok subscribed" in page(where, "/readyz")
            server.reload(config.format(denied='"orders.>", "$SRV.>"'))
            await until(lambda: "NO subscribed" in page(where, "/readyz"))
            server.reload(config.format(denied='"$SRV.>"'))
            server.restart()
            await until(lambda: page(where, "/readyz").startswith("ok alive"))
            await asyncio.sleep(0.2)
            assert "NO" not in page(where, "/readyz")
