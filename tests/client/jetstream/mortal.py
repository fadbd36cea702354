"""A worker that dies at the worst moment: its message is in quarantine, and not terminated."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.pending import Answers, PendingMessage
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.message import Message
from xkeymsg.keys import Keyring, XKeyPair
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

give = Answers.give


async def die(self: Answers, item: PendingMessage[Any], what: bytes) -> bool:
    """Answer, and die where that would terminate a message."""
    if what.startswith(b"+TERM"):
        os.kill(os.getpid(), signal.SIGKILL)
    return await give(self, item, what)


async def fail(message: Message) -> None:
    raise ValueError


async def main(url: str, seed: str, sender: str) -> None:
    async with open_link(ConnectOptions(servers=(url,))) as link:
        api, whom = API(link), ClientTrust({XKeyPair.from_seed(sender).public})
        keyring = Keyring(XKeyPair.from_seed(seed))
        Answers.give = die  # type: ignore[method-assign]
        await Consumer(
            api,
            "S",
            "d",
            fail,
            new_opening=lambda: OpeningScope(keyring, whom, subjects="h.>"),
            new_quarantine=lambda tell: Quarantine(api, b"k" * 32, on_blocked=tell),
            create=DurableOptions(ack_wait=0.5),
            policy=FailurePolicy(deliveries=2, backoff=0.05),
        ).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
