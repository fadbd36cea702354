"""A receiver whose key moves from a file to a token and to a command while messages arrive."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from tests.daemons.receiver.conftest import OBSERVE, ROUTE, STDOUT
from tests.key_stores.test_pkcs11 import PIN
from tests.running import LONG, Program
from xkeymsg import Sealer, XKeyPair
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()
TEXT = (
    """
[key]
key_store = {store}
[trust]
peers = "peers.toml"
[nats]
servers = ["{url}"]
"""
    + OBSERVE
    + ROUTE
    + STDOUT
)


async def swap(folder: Path, env: Mapping[str, str], stores: list[str], each: int) -> list[str]:
    """Send 1,000 messages a second, `each` per store; return the faults.

    The messages travel outside of streams: nothing delivers one again.

    Args:
        folder: An empty folder, or that of a token.
        env: The environment of the receiver.
        stores: The stores, one after another, all with the key of `BOB`.
        each: How many messages arrive before, and after, each swap.
    """
    peers = f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["orders.>"]\n'
    (folder / "peers.toml").write_text(peers)
    config = folder / "receiver.toml"
    sealer, sent = Sealer(ALICE), 0
    with NATSServer() as server:

        def write(store: str) -> None:
            config.touch(0o600)
            config.write_text(TEXT.format(store=json.dumps(store), url=server.url))

        write(stores[0])
        options = ConnectOptions(servers=(server.url,), timeout=LONG)
        with Program("receiver", "--config", str(config), env=env) as receiver:
            receiver.wait_for("ready", "err")
            async with open_link(options) as link:

                async def send(count: int) -> None:
                    nonlocal sent
                    begun = time.monotonic()
                    for number in range(count):
                        envelope = sealer.seal(
                            str(sent).encode(), to=[BOB.public], subject="orders.new"
                        )
                        await link.publish("orders.new", envelope)
                        sent += 1
                        await asyncio.sleep(max(0.0, begun + number / 1000 - time.monotonic()))
                    await link.confirm()

                await send(each)
                for store in stores[1:]:
                    write(store)
                    sending = asyncio.create_task(send(each))
                    await asyncio.sleep(each / 4000)
                    receiver.process.send_signal(signal.SIGHUP)
                    line = await asyncio.to_thread(receiver.wait_for, "reload", "err")
                    while '"key"' not in line and "what=key" not in line:
                        line = await asyncio.to_thread(receiver.wait_for, "reload", "err")
                    await sending
                    if "fail" in line or "rue" not in line:
                        return [f"{store}: {line}"]
                got = {
                    int(json.loads(await asyncio.to_thread(receiver.next_line))["data"])
                    for _ in range(sent)
                }
    return [] if got == set(range(sent)) else [f"{sent - len(got)} of {sent} are missing"]


def three_stores(folder: Path) -> list[str]:
    """Return a file, a token and a command with the key of `BOB`; the file again at the end.

    The token needs its key imported, in a process of its own.
    """
    seed = folder / "bob.seed"
    FileProvider().put(str(seed), BOB.seed())
    (folder / "pin").write_text(PIN)
    return [
        f"file:{seed}",
        f"pkcs11:token=xk;object=bob?pin-source=file:{folder / 'pin'}",
        f"command:/bin/cat '{seed}'",
        f"file:{seed}",
    ]
