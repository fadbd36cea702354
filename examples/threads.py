"""A threaded program without `await`: the client runs in an event loop in another thread.

python examples/threads.py              # starts its own nats-server
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from anyio.from_thread import start_blocking_portal

import xkeymsg
from xkeymsg import Message, XKeyPair
from xkeymsg.testing import NATSServer

ALICE, SHOP = XKeyPair.generate(), XKeyPair.generate()


async def double(request: Message) -> bytes:
    return request.data * 2


def main(url: str) -> None:
    shop = xkeymsg.connect(url, key=SHOP, trust={ALICE.public})
    alice = xkeymsg.connect(url, key=ALICE, trust={SHOP.public})
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(shop) as server,
        portal.wrap_async_context_manager(alice) as client,
        portal.wrap_async_context_manager(server.serve("double", double)),
        ThreadPoolExecutor(4) as threads,
    ):
        portal.call(server.flush)
        ask = partial(client.request, "double", to=SHOP.public)
        for reply in threads.map(lambda data: portal.call(ask, data), [b"ab", b"cd", b"ef"]):
            print(reply.data.decode())


if __name__ == "__main__":
    with NATSServer() as nats:
        main(nats.url)
