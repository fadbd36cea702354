"""A sender while it runs: other keys, signatures, systemd; and one that is not to start."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.daemons.sender.conftest import ALICE, BOB, SECRET, Stage, make_stream, ready
from tests.envelope.cast import ALICE_USER
from tests.envelope.inside import seed_text
from tests.running import DEADLINE, until
from xkeymsg import AtRest
from xkeymsg.daemons.sender.config import load
from xkeymsg.envelope.inspect import inspect
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import XKeyPair
from xkeymsg.opener import Opener
from xkeymsg.trust.stores.file import write_seed

ROUTE = """
[observe]
listen = "127.0.0.1:0"
[[route]]
name = "ehr"
subject = "ehr.*"
to = "sealed.{1}"
recipients = ["bob"]
output = "core"
"""


async def test_another_key_and_a_signature_count_for_the_next_message(stage: Stage) -> None:
    (stage.folder / "alice.nk").write_text(seed_text(ALICE_USER))
    (stage.folder / "alice.nk").chmod(0o600)
    path = stage.write(ROUTE, source=True)
    path.write_text(path.read_text().replace("[trust]", 'signer = "alice.nk"\n[trust]'))
    new = XKeyPair.generate()
    async with stage.witness() as witness:
        with stage.start_file(path) as alice:
            ready(alice)
            await stage.publish("ehr.a", SECRET)
            await until(lambda: len(witness.raws) == 1)
            (stage.folder / "alice.seed").unlink()
            alice.process.send_signal(signal.SIGHUP)  # without a seed: the old key stays
            alice.wait_for("reload failed what=key", "err")
            await stage.publish("ehr.a", SECRET)
            await until(lambda: len(witness.raws) == 2)
            write_seed(stage.folder / "alice.seed", new)
            alice.process.send_signal(signal.SIGHUP)
            assert str(new.public) in alice.wait_for("reloaded what=key changed=true", "err")
            await stage.publish("ehr.a", SECRET)
            await until(lambda: len(witness.raws) == 3)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            assert SECRET.decode() not in "\n".join(alice.output("err"))
        senders = [inspect(raw.data).sender for raw in witness.raws]
        assert senders == [ALICE.public, ALICE.public, new.public]
        assert str(new.public).encode() in witness.raws[2].headers
        trusted = dict.fromkeys((ALICE.public, new.public), ALICE_USER.public)
        opener = Opener(BOB, trusted, require_signature=True, replay=AtRest())
        for raw in witness.raws:
            message = opener.open(raw.data, subject="sealed.a")
            assert (message.data, message.signer) == (SECRET, ALICE_USER.public)


async def test_systemd_is_told(stage: Stage) -> None:
    address = stage.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(DEADLINE)
        with stage.start(ROUTE, NOTIFY_SOCKET=str(address)) as alice:
            assert listener.recv(100) == b"READY=1"
            alice.process.send_signal(signal.SIGTERM)
            assert listener.recv(100) == b"STOPPING=1"
            assert alice.wait() == 0


async def test_a_source_that_is_not_there_is_said_and_nothing_starts_half(stage: Stage) -> None:
    stage.inside.kill()
    with stage.start(ROUTE.replace("[observe]", "timeout = 0.5\n[observe]")) as alice:
        assert alice.wait() == 1
        said = "\n".join(alice.output("err"))
        assert f"cannot connect to {stage.inside.url}" in said
        assert " ready " not in said


def test_what_a_seed_is_taken_for_is_said_without_it(paper: Stage) -> None:
    seed = ALICE.seed()
    for old in ('"alice.seed"', '"peers.toml"'):
        path = paper.write(ROUTE, source=True)
        path.write_text(path.read_text().replace(old, f'"{seed}"'))
        with pytest.raises(ConfigurationError, match="not a secret") as caught:
            load(path, {})
        assert seed not in str(caught.value)


async def test_nothing_unsealed_is_in_a_stream_that_takes_everything(stage: Stage) -> None:
    """All that goes wrong at once, and a stream outside that keeps whatever comes."""
    text = ROUTE.replace('"core"', '"jetstream"\nbackoff = 0.05')
    documents = text.split("[[route]]")[1].replace('"ehr"', '"docs"').replace("ehr.*", "docs.*")
    documents = documents.replace('recipients = ["bob"]', 'policy = "policy.toml"')
    async with stage.link() as outside:
        await make_stream(outside, "ALL", "sealed.*", "ehr.*", "docs.*")
        with stage.start(text + "[[route]]" + documents) as alice:
            ready(alice)
            bad = b'{"name": "x", "unknown": "' + SECRET + b'"}'
            await stage.publish("docs.a", bad, SECRET, b'{"' + SECRET + b'": 1}', b"\xff" + SECRET)
            await stage.publish("ehr.a", SECRET, SECRET * ((1 << 20) // len(SECRET)))
            stage.write_peers(bob='"nobody"')
            stage.reload(alice)
            await stage.publish("docs.b", b'{"notes": "' + SECRET + b'"}')
            stage.replace("peers.toml", "")
            alice.process.send_signal(signal.SIGHUP)
            alice.wait_for("what=peers", "err")
            await stage.publish("ehr.b", SECRET)
            stage.outside.restart()
            await stage.publish("ehr.c", SECRET)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
            said = "\n".join(alice.output("err"))
        # But for what somebody has made the name of a field: pointers are in the log.
        assert SECRET.decode() not in said.replace(f"no rule for /{SECRET.decode()}", "")
    assert not stage.is_on_disk(SECRET)
    assert stage.is_on_disk(b"xkm1")
