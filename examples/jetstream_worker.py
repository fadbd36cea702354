"""A stream worker: opens each message, prints it, then acknowledges it.

    python examples/jetstream_worker.py nats://127.0.0.1:4222 bob.seed peers.toml

Undecryptable messages go to quarantine (`xkeymsg quarantine init` creates it) and do not stop the
worker. Ctrl-C or SIGTERM stops it after it has handled the messages already delivered.
"""

import asyncio
import signal
import sys

import xkeymsg
from xkeymsg import DurableOptions, Message, PeersFile, read_seed


async def handle(message: Message) -> None:
    """Print a message, which is acknowledged when this returns."""
    print(message.subject, message.data.decode(errors="replace"), flush=True)


async def main(server: str, seed: str, peers: str) -> None:
    """Consume until a signal arrives."""
    key, trust = read_seed(seed), PeersFile(peers)
    async with xkeymsg.connect(server, key=key, trust=trust) as client:
        worker = client.js.consume(
            "ORDERS", "printer", handle, subjects="orders.>", create=DurableOptions()
        )
        for each in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(each, worker.stop)
        await worker.run()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
