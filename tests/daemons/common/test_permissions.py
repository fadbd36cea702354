"""The permissions that a configuration needs: enough for the daemon, and no wildcard too many."""

from __future__ import annotations

from pathlib import Path

import pytest

from xkeymsg import XKeyPair
from xkeymsg.daemons.common.permissions import needed_permissions
from xkeymsg.daemons.receiver import config as receiver
from xkeymsg.daemons.sender import config as sender
from xkeymsg.trust.stores.file import write_seed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_seed(tmp_path / "own.seed", XKeyPair.generate())
    (tmp_path / "peers.toml").write_text(f'peers.bob = {{ xkey = "{XKeyPair.generate().public}" }}')
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "daemon.toml"
    path.write_text('[key]\nseed_file = "own.seed"\n[trust]\npeers = "peers.toml"\n' + text)
    path.chmod(0o600)
    return path


def test_a_receiver_consumes_acknowledges_and_writes_its_quarantine(folder: Path) -> None:
    text = """
[nats]
jetstream_domain = "leaf"
inbox_prefix = "_INBOX_bob"
[[route]]
name = "a"
stream = "ORDERS"
durable = "workers"
subjects = ["orders.>"]
sink = "out"
[[route]]
name = "b"
subject = "news.*"
sink = "out"
[sinks.out]
kind = "nats"
subject = "plain.{subject}"
"""
    found = needed_permissions(receiver.load(write(folder, text), {}))
    nats = found["nats"]
    assert set(nats.publish) == {
        "$JS.leaf.API.STREAM.INFO.ORDERS",
        "$JS.leaf.API.STREAM.MSG.GET.ORDERS",
        "$JS.leaf.API.CONSUMER.INFO.ORDERS.workers",
        "$JS.leaf.API.CONSUMER.MSG.NEXT.ORDERS.workers",
        "$JS.ACK.ORDERS.workers.>",
        "$JS.ACK.*.*.ORDERS.workers.>",
        "XKM_UNPROVEN.>",
        "XKM_PROVEN.>",
        "$JS.leaf.API.STREAM.INFO.XKM_UNPROVEN",
        "$JS.leaf.API.STREAM.INFO.XKM_PROVEN",
    }
    assert nats.subscribe == ("_INBOX_bob.>", "news.*", "$SRV.>")
    assert nats.allow_responses
    assert found["sinks.out"].publish == ("plain.>",)
    assert 'publish: ["' in nats.config()
    assert "allow_responses: true" in nats.config()


def test_a_sender_reads_its_source_and_publishes_to_its_targets(folder: Path) -> None:
    text = """
[observe]
micro = false
[source]
servers = ["nats://127.0.0.1:4223"]
[[route]]
name = "a"
subject = "orders.*.new"
to = "sealed.{1}.x"
recipients = ["bob"]
output = "core"
[[route]]
name = "b"
stream = "RAW"
durable = "seal"
create_durable = true
to = "stored.{subject}"
recipients = ["bob"]
output = "jetstream"
"""
    found = needed_permissions(sender.load(write(folder, text), {}))
    assert set(found["nats"].publish) == {
        "sealed.*.x", "stored.>", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO.*",
        "$JS.API.DIRECT.GET.*",
    }  # fmt: skip
    assert found["nats"].subscribe == ("_INBOX.>",)
    assert not found["nats"].allow_responses
    assert "$JS.API.CONSUMER.CREATE.RAW.seal" in found["source"].publish
    assert found["source"].subscribe == ("_INBOX.>", "orders.*.new")
