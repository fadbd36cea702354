"""Request and reply: a service that answers a request, or says why it does not.

python examples/request_reply.py        # starts its own nats-server
"""

import asyncio

import xkeymsg
from xkeymsg import Message, ServiceError, XKeyPair
from xkeymsg.testing import NATSServer

ALICE, SHOP = XKeyPair.generate(), XKeyPair.generate()
PRICES = {b"lamp": b"12.50"}


async def price(request: Message) -> bytes:
    if request.data not in PRICES:
        raise ServiceError("not_found", "we do not sell that")
    return PRICES[request.data]


async def main(url: str) -> None:
    async with (
        xkeymsg.connect(url, key=SHOP, trust={ALICE.public}) as shop,
        xkeymsg.connect(url, key=ALICE, trust={SHOP.public}) as alice,
        shop.serve("shop.price", price, queue="shop"),
    ):
        await shop.flush()
        for item in (b"lamp", b"moon"):
            try:
                reply = await alice.request("shop.price", item, to=SHOP.public, timeout=2)
            except ServiceError as error:
                print(item.decode(), error)
            else:
                print(item.decode(), reply.data.decode())


if __name__ == "__main__":
    with NATSServer() as server:
        asyncio.run(main(server.url))
