"""Where answers go: whoever resends a captured request does not choose the subject."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cases import for_each
from tests.running import DEADLINE
from tests.transport.raw import pub, publisher
from xkeymsg import DeliveryError, Message, Peers, SubjectMismatchError, XKeyPair, connect
from xkeymsg.client.client import Client
from xkeymsg.client.scope import check_reply
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link
from xkeymsg.transport.options import ConnectOptions

ALICE, BOB = XKeyPair.generate(), XKeyPair.generate()
PEERS = Peers.parse(
    f'peers.alice = {{ xkey = "{ALICE.public}", subjects = [">"] }}\n'
    f'peers.bob = {{ xkey = "{BOB.public}", subjects = [">"] }}\n'
)
EVIL = [
    b"$KV.users.alice", b"$JS.API.STREAM.PURGE.ORDERS", b"orders.new", b"_INBOX.of.another",
    b"_R_x.y", b"_GR.a.b._R_.c",
]  # fmt: skip
ACCOUNTS = """
    accounts {
        HERE:  { users: [{ user: bob, password: bob, permissions: {
                   publish: { deny: ">" }, subscribe: ["svc.>", "_INBOX.>"],
                   allow_responses: true } }],
                 exports: [{ service: "svc.>" }] }
        THERE: { users: [{ user: alice, password: alice }],
                 imports: [{ service: { account: HERE, subject: "svc.>" } }] }
    }
"""


class Service:
    """What a service was asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.asked: list[Message] = []
        self.called = asyncio.Event()

    async def handle(self, request: Message) -> bytes:
        self.asked.append(request)
        self.called.set()
        return b"12.50"


async def captured(server: NATSServer) -> tuple[bytes, bytes]:
    """A request of Alice that never reached the service: its payload and reply subject."""
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        taken = await link.subscribe("elsewhere.price")
        async with connect(server.url, key=ALICE, trust=PEERS) as alice:
            await link.confirm()
            asking = asyncio.create_task(
                alice.request("elsewhere.price", b"lamp", to="bob", timeout=DEADLINE)
            )
            raw = await taken.next(DEADLINE)
            asking.cancel()
            await asyncio.wait([asking])
    return raw.data, raw.reply


@pytest.mark.parametrize("reply", EVIL)
async def test_a_request_resent_with_another_reply_subject_is_refused_before_the_mark(
    reply: bytes, server: NATSServer
) -> None:
    refused: list[Exception] = []
    told = asyncio.Event()

    def tell(error: Exception, _: object) -> None:
        refused.append(error)
        told.set()

    data, inbox = await captured(server)
    async with (
        connect(server.url, key=BOB, trust=PEERS, on_error=tell) as bob,
        publisher(server.url) as attacker,
    ):
        one = Service(bob)
        async with bob.serve("elsewhere.price", one.handle):
            await bob.flush()
            await attacker.send(pub(b"elsewhere.price", data, reply))
            await asyncio.wait_for(told.wait(), DEADLINE)
            assert isinstance(refused[0], SubjectMismatchError)
            assert one.asked == []

            await attacker.send(pub(b"elsewhere.price", data, inbox))  # the honest copy opens
            await asyncio.wait_for(one.called.wait(), DEADLINE)
    assert len(refused) == 1


@for_each(
    ("reply", "is_accepted"),
    [
        (b"_INBOX.a.b", True),
        (b"_R_.x", True),
        (b"_GR_.hash.hash._INBOX.a.b", True),
        (b"_GR_.hash.hash._R_.x", True),
        (b"_GR_.hash.hash.$JS.API.STREAM.PURGE.ORDERS", False),
        (b"_GR_.hash._INBOX.a.b", False),
        (b"_INBOX.a", False),
        (b"_INBOX.a.b.c", False),
        (b"x._R_.y", False),
        (b"\xff", False),
        (b"_R_.\xff", False),
        (b"_GR_.\xff.hash._INBOX.a.b", False),
    ],
)
def test_only_the_inbox_and_subjects_of_the_server_are_accepted(
    reply: bytes, is_accepted: bool
) -> None:
    if is_accepted:
        check_reply(reply, "_INBOX.a.b")
    else:
        with pytest.raises(SubjectMismatchError):
            check_reply(reply, "_INBOX.a.b")
    check_reply(reply, None)  # no request


@pytest.mark.parametrize("reply", [b"_R_.abc", b"_R_.abc.def", b"_GR_.abc.def._INBOX.x"])
async def test_a_client_cannot_publish_with_a_reply_subject_of_the_server(
    reply: bytes, server: NATSServer
) -> None:
    async with open_link(ConnectOptions(servers=(server.url,))) as link:
        taken = await link.subscribe("a")
        await link.confirm()
        await link.publish("a", b"", reply=reply.decode())
        with pytest.raises(DeliveryError, match="permissions violation"):
            await link.confirm()
        await link.publish("a", b"next")
        assert (await taken.next(DEADLINE)).data == b"next"


async def test_a_service_of_another_account_answers_with_allow_responses_alone() -> None:
    with NATSServer(ACCOUNTS) as server:
        alice_url, bob_url = (
            server.url.replace("nats://", f"nats://{name}:{name}@") for name in ("alice", "bob")
        )
        async with (
            connect(alice_url, key=ALICE, trust=PEERS) as alice,
            connect(bob_url, key=BOB, trust=PEERS) as bob,
        ):
            one = Service(bob)
            async with bob.serve("svc.price", one.handle):
                await bob.flush()
                reply = await alice.request("svc.price", b"lamp", to="bob", timeout=DEADLINE)
    assert bytes(reply.data) == b"12.50"
    assert len(one.asked) == 1


DENIED = """
authorization { users = [
  { user: a, password: a, permissions: { publish: ["_INBOX.>"], subscribe: ["_INBOX.>"] } }
  { user: b, password: b, permissions: { publish: [">"], subscribe: ["x"] } }
] }
"""


@pytest.mark.parametrize(
    ("user", "said"), [("a", "publishing on Svc.Price"), ("b", "listening on")]
)
async def test_a_request_that_is_not_permitted_fails_at_once(user: str, said: str) -> None:
    with NATSServer(DENIED) as server:
        url = server.url.replace("nats://", f"nats://{user}:{user}@")
        async with connect(url, key=ALICE, trust=PEERS) as alice:
            for _ in range(2):
                with pytest.raises(DeliveryError, match=said):
                    await _within(alice.request("Svc.Price", b"", to="bob", timeout=3600))


async def _within(call: Any) -> Any:
    async with asyncio.timeout(DEADLINE):
        return await call
