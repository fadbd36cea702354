"""A source of trust that changes while a client runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.running import DEADLINE, until
from xkeymsg import (
    Keyring,
    MalformedError,
    Peers,
    PeersFile,
    Policy,
    Recipient,
    UnknownKeyError,
    UserKey,
    XKeyPair,
    nkey,
)
from xkeymsg.client import client as module
from xkeymsg.client.outgoing import Outgoing
from xkeymsg.client.stats import Where
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.inspect import inspect

from .conftest import ALICE, BOB, CAROL, Told, Town


def entry(name: str, pair: XKeyPair, more: str = 'subjects = [">"]') -> str:
    return f'[peers.{name}]\nxkey = "{pair.public}"\n{more}\n'


def write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    os.replace(new, path)  # noqa: PTH105 - as a tool would


@pytest.fixture
def peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "RELOAD", 0.01)
    path = tmp_path / "peers.toml"
    write(path, entry("alice", ALICE) + entry("bob", BOB))
    return path


async def test_peers_that_change_count_for_the_next_message(peers: Path, town: Town) -> None:
    trust = PeersFile(peers)
    async with (
        town.connect(CAROL) as carol,
        town.connect(BOB, trust) as bob,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        with pytest.raises(UnknownKeyError):
            await bob.publish("b", b"", to="carol")
        taker = asyncio.create_task(anext(messages))
        await carol.publish("a", b"1", to="bob")
        await until(lambda: bob.stats.refused == {"sender_not_admitted": 1})
        write(peers, entry("alice", ALICE) + entry("bob", BOB) + entry("carol", CAROL))
        await until(lambda: "carol" in trust.current.peers)
        await carol.publish("a", b"2", to="bob")
        assert (await taker).data == b"2"
        await bob.publish("b", b"", to="carol")
        # And away again: what is kept of her session admits nobody.
        write(peers, entry("alice", ALICE) + entry("bob", BOB))
        await until(lambda: "carol" not in trust.current.peers)
        taker = asyncio.create_task(anext(messages))
        await carol.publish("a", b"3", to="bob")
        await until(lambda: bob.stats.refused == {"sender_not_admitted": 2})
        taker.cancel()


async def test_a_file_that_is_broken_is_told_of_once_and_the_last_good_one_stays(
    peers: Path, town: Town, told: Told
) -> None:
    trust = PeersFile(peers)
    async with (
        town.connect() as alice,
        town.connect(BOB, trust, on_error=told) as bob,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        write(peers, "[peers.alice]\nxkey = 5\n")
        await until(lambda: told)
        await asyncio.sleep(0.05)
        assert told == [("configuration", Where("trust", str(peers)))]
        await alice.publish("a", b"1", to="bob")
        assert (await anext(messages)).data == b"1"
        write(peers, entry("carol", CAROL))
        await until(lambda: trust.error is None)


class Bad:
    """Trust whose source fails in a way of its own."""

    revision = None
    calls = 0

    def reload(self) -> bool:
        self.calls += 1
        raise OSError("a disk")

    def admit(self, *_: object) -> None:
        return None


async def test_a_source_that_fails_is_looked_at_again(
    town: Town, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RELOAD", 0.01)
    trust = Bad()
    async with town.connect(BOB, trust, on_error=told):
        await until(lambda: trust.calls > 2)
    assert set(told) == {("OSError", Where("trust", ""))}


async def test_a_keyring_opens_by_retired_keys_and_names_its_user(town: Town) -> None:
    user = UserKey(nkey.encode_seed(nkey.Prefix.USER, bytes(range(32))))
    new = XKeyPair.generate()
    ring = Keyring(new, retired=[BOB], user=user.public)
    async with (
        town.connect() as alice,
        town.connect(ring) as bob,
        town.link() as link,
        bob.subscribe("a") as messages,
    ):
        raw = await link.subscribe("b")
        await link.confirm()
        await bob.flush()
        await alice.publish("a", b"old", to="bob")
        assert (await anext(messages)).data == b"old"
        await alice.publish("a", b"new", to=new.public)
        assert (await anext(messages)).data == b"new"
        assert bob.public == new.public
        await bob.publish("b", b"", to="alice")
        assert inspect((await raw.next(DEADLINE)).data).identity == user.public


def test_holders_of_permissions_follow_trust_and_the_given_readers() -> None:
    def source(bob: XKeyPair, carol: XKeyPair) -> Peers:
        return Peers.parse(entry("bob", bob) + entry("carol", carol))

    def held(*names: str) -> object:
        found = trust.holders({name: (name, ALICE.public) for name in names})
        assert found == {
            name: (*source(*pairs).resolve(name), Recipient(ALICE.public)) for name in names
        }
        return found

    pairs = BOB, CAROL
    trust = ClientTrust(source(*pairs))
    assert held("bob", "carol") is held("bob", "carol")
    trust.resolver = source(*(pairs := (CAROL, BOB)))
    held("carol", "bob")  # in another order, while trust changes too
    held("bob", "carol")
    held("bob")
    trust.resolver = Peers.parse(entry("carol", CAROL))
    with pytest.raises(UnknownKeyError):
        held("bob")
    with pytest.raises(UnknownKeyError):
        held("bob")
    for _ in range(2):
        with pytest.raises(MalformedError):
            trust.holders({"bob": ()})
        with pytest.raises(TypeError):
            trust.holders({"bob": (b"carol",)})  # type: ignore[dict-item]


def test_readers_of_a_document_that_change_in_place_count_for_the_next() -> None:
    outgoing = Outgoing(ALICE, ClientTrust({ALICE.public}))
    policy = Policy([("/**", ["clinic"])])
    readers = {"clinic": [BOB.public]}
    assert outgoing.holders(policy, readers) == {"clinic": (Recipient(BOB.public),)}
    readers["clinic"].append(CAROL.public)
    both = Recipient(BOB.public), Recipient(CAROL.public)
    assert outgoing.holders(policy, readers) == {"clinic": both}
    readers["clinic"].clear()
    assert outgoing.holders(policy, readers) == {}
