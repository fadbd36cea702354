"""A worker that takes messages and never answers: `python -m tests.scale.worker`.

Standard input has one line of JSON: the server's URL, the reader's seed, the sender's public key,
the stream, the durable, and how many messages to hold.
"""

from __future__ import annotations

import asyncio
import json
import sys

import xkeymsg
from tests.running import DEADLINE
from xkeymsg import Message, XKey, XKeyPair


async def hold(message: Message) -> None:
    """Never return."""
    await asyncio.Event().wait()


async def main(url: str, seed: str, sender: str, stream: str, durable: str, held: int) -> None:
    """Consume until killed."""
    key, trust = XKeyPair.from_seed(seed), {XKey.parse(sender)}
    async with xkeymsg.connect(url, key=key, trust=trust, timeout=DEADLINE) as client:
        consumer = client.js.consume(stream, durable, hold, workers=held, prefetch=held)
        await consumer.run()


if __name__ == "__main__":
    asyncio.run(main(*json.loads(sys.stdin.readline())))
