"""One document for a clinic and a billing office: each sees its part of the same message.

python examples/documents_nats.py       # starts its own nats-server
"""

import asyncio

import xkeymsg
from xkeymsg import Peers, Policy, XKeyPair
from xkeymsg.testing import NATSServer

WARD, CLINIC, BILLING = XKeyPair.generate(), XKeyPair.generate(), XKeyPair.generate()
POLICY = Policy([("/patient", ["clinic", "billing"]), ("/sum", ["billing"]), ("/**", ["clinic"])])
PEERS = Peers.parse(f"""
    peers.ward = {{ xkey = "{WARD.public}", subjects = ["ehr.>"] }}
    peers.clinic = {{ xkey = "{CLINIC.public}", permissions = ["clinic"] }}
    peers.office = {{ xkey = "{BILLING.public}", permissions = ["billing"] }}
""")


async def main(url: str) -> None:
    async with (
        xkeymsg.connect(url, key=WARD, trust=PEERS) as ward,
        xkeymsg.connect(url, key=CLINIC, trust=PEERS) as clinic,
        xkeymsg.connect(url, key=BILLING, trust=PEERS) as office,
        clinic.subscribe("ehr.>", documents=True) as treated,
        office.subscribe("ehr.>", documents=True) as billed,
    ):
        await clinic.flush()
        await office.flush()
        record = {"patient": "Ann", "finding": "a cold", "sum": 40}
        await ward.publish_document("ehr.visit", record, policy=POLICY)
        print("clinic:", (await anext(treated)).document)
        print("billing:", (await anext(billed)).document)


if __name__ == "__main__":
    with NATSServer() as server:
        asyncio.run(main(server.url))
