"""Publish and subscribe: Bob reads a message sealed to him; Eve gets the same bytes and cannot.

python examples/pubsub.py               # starts its own nats-server
"""

import asyncio

import xkeymsg
from xkeymsg import ANYONE, Peers, XKeyPair
from xkeymsg.testing import NATSServer

ALICE, BOB, EVE = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
PEERS = Peers.parse(f"""
    peers.alice = {{ xkey = "{ALICE.public}", subjects = ["orders.>"] }}
    peers.bob = {{ xkey = "{BOB.public}" }}
""")


async def main(url: str) -> None:
    async with (
        xkeymsg.connect(url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(url, key=BOB, trust=PEERS) as bob,
        xkeymsg.connect(url, key=EVE, trust=ANYONE, on_error=lambda e, _: print("eve:", e)) as eve,
        bob.subscribe("orders.*") as orders,
        eve.subscribe("orders.*") as overheard,
    ):
        await bob.flush()
        await eve.flush()
        await alice.publish("orders.new", b"7 lamps", to="bob", headers={"Trace": "4bf9"})
        order = await anext(orders)
        print("bob:", order.subject, order.data.decode(), order.headers["Trace"])
        await alice.publish("orders.new", b"for all", to=["bob", EVE.public])
        print("eve:", (await anext(overheard)).data.decode())


if __name__ == "__main__":
    with NATSServer() as server:
        asyncio.run(main(server.url))
