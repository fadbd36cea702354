"""A receiver whose key is on a token: it opens messages, and neither seed nor PIN can be found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.daemons.receiver.conftest import (
    OBSERVE,
    ROUTE,
    STDOUT,
    ready,
)
from tests.key_stores.test_cli import run
from tests.key_stores.test_pkcs11 import PIN
from tests.key_stores.test_pkcs11 import token as token  # noqa: PLC0414 - a fixture
from tests.running import Program
from xkeymsg import XKey, XKeyPair, connect
from xkeymsg.nkey import Prefix, decode_seed
from xkeymsg.testing import NATSServer

ALICE = XKeyPair.generate()
TEXT = (
    """
[key]
key_store = "pkcs11:token=xk;object=bob?pin-source=descriptor:0"
[trust]
peers = "peers.toml"
[nats]
servers = ["{url}"]
"""
    + OBSERVE
    + ROUTE
    + STDOUT
)


def exposed(pid: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """What other programs of the user can read: arguments, variables, and the files in a folder."""
    for name in ("cmdline", "environ"):
        yield name, Path(f"/proc/{pid}/{name}").read_bytes()
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()


async def test_a_receiver_opens_messages_with_a_key_on_a_token(
    token: tuple[Path, Mapping[str, str]],
) -> None:
    folder, env = token
    seed = XKeyPair.generate().seed()  # imported, so that we know what to search
    secrets = (seed.encode(), decode_seed(Prefix.CURVE, seed), PIN.encode())
    read, write = os.pipe()
    os.write(write, PIN.encode())
    os.close(write)
    store = f"pkcs11:token=xk;object=bob?pin-source=file:{folder / 'pin'}"
    bob = run("key", "import", "--store", store, "-", env=env, data=seed.encode()).strip()
    (folder / "pin").unlink()
    with NATSServer() as server:
        (folder / "peers.toml").write_text(
            f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["orders.>"]\n'
        )
        config = folder / "receiver.toml"
        config.write_text(TEXT.format(url=server.url))
        config.chmod(0o600)
        with Program(
            "receiver", "--config", str(config), env=env, stdin=read, fresh=True
        ) as receiver:
            os.close(read)
            ready(receiver)
            async with connect(server.url, key=ALICE, trust={ALICE.public}) as client:
                await client.publish("orders.new", b"7 lamps", to=XKey.parse(bob))
                await client.flush()
            assert json.loads(receiver.wait_for("orders.new"))["subject"] == "orders.new"
            for where, content in exposed(receiver.process.pid, folder):
                assert not any(secret in content for secret in secrets), where
