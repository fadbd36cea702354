"""Clients that trust chains of NATS JWTs, in operator mode and in memory."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import xkeymsg
from tests.running import ROOT, until
from tests.trust.store import Person, Store
from xkeymsg import Keyring, Trust, UnknownKeyError, XKeyPair
from xkeymsg.client import client as module
from xkeymsg.client.client import Client
from xkeymsg.errors import ConfigurationError, SenderRevokedError
from xkeymsg.testing import MemoryNATS, NATSServer

from .conftest import Told


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(module, "RELOAD", 0.01)
    return Store(tmp_path / "HOSPITAL")


@pytest.fixture
def server(store: Store) -> Iterator[NATSServer]:
    operator, account = (
        (store.folder / path).read_text() for path in ("HOSPITAL.jwt", "accounts/CLINIC/CLINIC.jwt")
    )
    config = (
        f"operator: {operator}\nresolver: MEMORY\n"
        f"resolver_preload: {{ {store.account.public}: {account} }}\n"
    )
    with NATSServer(config) as running:
        yield running


@asynccontextmanager
async def client(server: NATSServer, store: Store, person: Person) -> AsyncIterator[Client]:
    """Connect with the credentials of a person, who needs no other setting."""
    creds = store.creds(person)
    trust = Trust.load(store.folder, anchor=store.operator.public, creds=creds)
    async with xkeymsg.connect(server.url, key=person.pair, trust=trust, creds=creds) as connected:
        yield connected


async def test_users_of_an_account_exchange_messages_by_name(
    store: Store, server: NATSServer
) -> None:
    alice, bob = store.add("alice", "clinic"), store.add("bob", "clinic")
    async with (
        client(server, store, alice) as at_alice,
        client(server, store, bob) as at_bob,
        at_bob.subscribe("ehr.>") as messages,
    ):
        await at_bob.flush()
        taker = asyncio.create_task(anext(messages))
        await at_alice.publish("ehr.new", b"secret", to=["bob", "perm:clinic"])
        message = await taker
        assert message.data == b"secret"
        assert message.sender == alice.pair.public


async def test_the_program_of_the_page_on_trust_runs(
    store: Store, server: NATSServer, tmp_path: Path
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/trust.md").read_text(), re.DOTALL)
    alice, ward = store.add("alice"), store.add("ward-a", "billing")
    for text, value in {
        "stores/HOSPITAL": store.folder,
        "O…": store.operator.public,
        "alice.creds": store.creds(alice),
        "/var/lib/app/marks.json": tmp_path / "marks.json",
    }.items():
        assert f'"{text}"' in program
        program = program.replace(f'"{text}"', f'"{value}"')
    names = {"Trust": Trust, "connect": xkeymsg.connect, "url": server.url, "alice": alice.pair}
    async with client(server, store, ward) as at_ward, at_ward.subscribe("ehr.>") as messages:
        await at_ward.flush()
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        await eval(compile(program, "docs/trust.md", "exec", flags=flags), names)
        assert (await anext(messages)).signer is None


async def test_a_request_and_its_reply(store: Store, server: NATSServer) -> None:
    alice, bob = store.add("alice"), store.add("bob")
    async with client(server, store, alice) as at_alice, client(server, store, bob) as at_bob:

        async def answer(message: xkeymsg.Message) -> bytes:
            return message.data.upper()

        async with at_bob.serve("ask", answer):
            await at_bob.flush()
            reply = await at_alice.request("ask", b"hello", to="bob")
        assert reply.data == b"HELLO"
        assert reply.sender == bob.pair.public


@pytest.mark.parametrize("given", ["keyring", "signer", "identity", "creds of trust", "nothing"])
async def test_the_own_user_is_named_in_every_message(store: Store, given: str) -> None:
    alice, bob = store.add("alice"), store.add("bob")
    trust, nats = store.load(), MemoryNATS()
    more: dict[str, object] = {}
    key: XKeyPair | Keyring = alice.pair
    if given == "keyring":
        key = alice.keyring
    elif given == "signer":
        more["signer"] = alice.signer
    elif given == "identity":
        more["identity"] = alice.user
    elif given == "creds of trust":
        trust = Trust.load(store.folder, anchor=store.operator.public, creds=store.creds(alice))
    async with (
        nats.connect(key=key, trust=trust, **more) as sender,  # type: ignore[arg-type]
        nats.connect(key=bob.pair, trust=store.load()) as reader,
        reader.subscribe("a") as messages,
    ):
        await sender.publish("a", b"1", to="bob")
        message = await anext(messages)  # admitted, so it names alice
        assert message.signer == (alice.user if given == "signer" else None)


async def test_an_unknown_own_user_is_an_error_before_anything_is_connected(store: Store) -> None:
    store.add("alice")
    with pytest.raises(ConfigurationError, match="own user is unknown"):
        xkeymsg.connect("nats://127.0.0.1:1", key=XKeyPair.generate(), trust=store.load())


async def test_a_change_of_the_folder_counts_for_the_next_message(store: Store, told: Told) -> None:
    alice, bob = store.add("alice"), store.add("bob")
    trust, nats = store.load(), MemoryNATS()
    async with (
        nats.connect(key=alice.pair, trust=store.load()) as at_alice,
        nats.connect(key=bob.pair, trust=trust, on_error=told) as at_bob,
        at_bob.subscribe("a") as messages,
    ):
        taker = asyncio.create_task(anext(messages))
        await at_alice.publish("a", b"1", to="bob")
        assert (await taker).data == b"1"
        store.write_account(age=5, revocations={alice.user: store.now - 10})
        await until(lambda: trust.generation > 1)
        taker = asyncio.create_task(anext(messages))
        await at_alice.publish("a", b"2", to=bob.pair.public)
        await until(lambda: at_bob.stats.refused == {"sender_revoked": 1})
        with pytest.raises(UnknownKeyError):
            await at_bob.publish("a", b"", to="alice")
        taker.cancel()
        await asyncio.gather(taker, return_exceptions=True)
    assert told.codes == ["sender_revoked"]


async def test_a_damaged_folder_is_reported_once_while_messages_flow(
    store: Store, told: Told
) -> None:
    alice = store.add("alice")
    trust, nats = store.load(), MemoryNATS()
    async with (
        nats.connect(key=alice.pair, trust=trust, on_error=told) as client,
        client.subscribe("a") as messages,
    ):
        (store.folder / "accounts/CLINIC/CLINIC.jwt").write_text("garbage")
        await until(lambda: told.codes)
        await client.publish("a", b"1", to="alice")
        assert (await anext(messages)).data == b"1"
        where = told[0][1]
    assert told.codes == ["malformed_claim"]
    assert (where.what, where.subject) == ("trust", str(store.folder))


async def test_a_reply_by_a_key_revoked_meanwhile_is_refused(store: Store) -> None:
    alice, bob = store.add("alice"), store.add("bob")
    trust, nats = store.load(), MemoryNATS()
    async with (
        nats.connect(key=alice.pair, trust=trust) as at_alice,
        nats.connect(key=bob.pair, trust=store.load()) as at_bob,
        at_bob.subscribe("ask") as questions,
    ):
        asking = asyncio.create_task(at_alice.request("ask", b"?", to="bob", timeout=60))
        question = await anext(questions)
        store.write_account(age=5, revocations={bob.user: store.now - 10})
        await until(lambda: trust.generation > 1)
        await at_bob.respond(question, b"!")
        await until(lambda: at_alice.stats.refused == {"sender_revoked": 1})
        assert not asking.done()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def test_a_revoked_sender_is_an_error_of_admission() -> None:
    assert issubclass(SenderRevokedError, xkeymsg.SenderNotAdmittedError)
    assert not SenderRevokedError.retryable
