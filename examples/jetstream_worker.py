"""A worker of a stream: opens what comes, prints it, and acknowledges it after that.

    python examples/jetstream_worker.py nats://127.0.0.1:4222 bob.seed peers.toml

What it cannot open goes to the quarantine (`xkeymsg quarantine init` makes it), and does not stop
it. Ctrl-C, or SIGTERM, ends it when what has come is handled.
"""

import asyncio
import signal
import sys

import xkeymsg
from xkeymsg import DurableOptions, Message, PeersFile, read_seed


async def handle(message: Message) -> None:
    """Print a message: when this returns, it is acknowledged."""
    print(message.subject, message.data.decode(errors="replace"), flush=True)


async def main(server: str, seed: str, peers: str) -> None:
    """Consume until a signal comes."""
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
