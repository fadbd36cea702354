"""`xkeymsg reseal`, as a process, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import xkeymsg
from tests.reseal.conftest import ALICE, CAROL, DAVE, PAIRS, PEERS, RITA, Place, opened
from tests.running import run
from xkeymsg import NotARecipientError, RollbackMemory, Sealer, XKeyPair
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

CLI = "xkeymsg.cli"


@pytest.fixture
async def place(
    jetstream_server: NATSServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    monkeypatch.chdir(tmp_path)
    write_seed(tmp_path / "rita.seed", RITA)
    lines = [
        f'[peers.{name}]\nxkey = "{pair.public}"\nsubjects = [">"]\npermissions = ["audit"]\n'
        for name, pair in PAIRS.items()
    ]
    (tmp_path / "peers.toml").write_text("".join(lines))
    async with xkeymsg.connect(jetstream_server.url, key=RITA, trust=PEERS) as client:
        await client.js.add_stream("ORDERS", "orders.>")
        yield Place(jetstream_server, client, tmp_path)


async def call(place: Place, *arguments: str) -> tuple[int, str, str]:
    given = ("--seed", "rita.seed", "--peers", "peers.toml", "-s", place.server.url)
    done = await asyncio.to_thread(run, CLI, "reseal", *arguments, *given)
    return done.returncode, done.stdout.decode(), " ".join(done.stderr.decode().split())


async def test_copies_for_an_added_recipient(place: Place) -> None:
    await place.fill(2)
    adding = ("ORDERS", "--add", "carol", "--into", "COPIES")
    assert await call(place, *adding, "--create") == (0, "read 2, resealed 2\n", "")
    assert [opened(each.data).data for each in await place.stored()] == [b"0", b"1"]
    await place.store(Sealer(XKeyPair.generate()).seal(b"x", to=[RITA.public], subject="orders.a"))
    code, output, said = await call(place, *adding)
    assert code == 3
    assert output == "read 3, resealed 2\nrefused 1: sender_not_admitted\n"
    assert said.startswith("xkeymsg: message 3: sender_not_admitted")
    assert (place.folder / "ORDERS.COPIES.ledger").exists()


async def test_only_the_first_refused_messages_are_named(place: Place) -> None:
    for _ in range(21):
        await place.store(b"plain")
    code, output, said = await call(
        place, "ORDERS", "--add", "carol", "--into", "COPIES", "--create"
    )
    assert (code, output) == (3, "read 21, resealed 0\nrefused 21: malformed\n")
    assert said.count("malformed") == 20


async def test_a_bucket_is_checked_against_a_memory(place: Place) -> None:
    await place.add_bucket(history=5)
    await place.put("a", b"old")
    [old] = await place.stored("KV_config")
    await place.put("a", b"new")
    with RollbackMemory(place.folder / "marks") as memory:
        await place.client.kv("config", memory=memory).get("a")
    await place.store(old.data, old.subject)
    given = ("config", "--kv", "--to", "carol", "--memory", "marks")
    code, output, said = await call(place, *given)
    assert (code, output) == (3, "read 1, resealed 0\nrefused 1: value_rollback\n")
    assert said.startswith("xkeymsg: revision 3: value_rollback")


async def test_copies_without_a_removed_recipient(place: Place) -> None:
    await place.fill(1)
    code, _, _ = await call(
        place, "ORDERS", "--to", "perm:audit", "--remove", "dave", "--into", "COPIES", "--create"
    )
    assert code == 0
    [copy] = await place.stored()
    assert opened(copy.data, CAROL).data == opened(copy.data, ALICE).data
    with pytest.raises(NotARecipientError):
        opened(copy.data, DAVE)


async def test_a_bucket_in_place(place: Place) -> None:
    await place.add_bucket()
    await place.put("a", b"1")
    done = await call(place, "config", "--kv", "--to", "carol")
    assert done == (0, "read 1, resealed 1\n", "")
    [value] = await place.stored("KV_config")
    assert opened(value.data).data == b"1"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ORDERS", "--to", "carol"], "--into names the stream"),
        (["ORDERS", "--into", "C"], "no recipients"),
        (["ORDERS", "--into", "C", "--remove", "dave"], "no recipients"),
        (["ORDERS", "--into", "C", "--to", "carol", "--remove", "dave"], "not among"),
        (["ORDERS", "--into", "C", "--to", "carol", "--remove", "carol"], "leaves no recipient"),
        (["b", "--kv", "--add", "carol"], "--kv requires --to"),
        (["b", "--kv", "--to", "carol", "--into", "C"], "leave out --into"),
        (["b", "--kv", "--to", "carol", "--create"], "--create is for streams"),
        (["b", "--kv", "--to", "carol", "--since", "1h"], "--since is for streams"),
        (["ORDERS", "--into", "C", "--to", "carol", "--memory", "m"], "--memory is for --kv"),
        (["b", "--kv", "--to", "carol", "--from", "anyone"], "cannot be combined"),
    ],
)
async def test_usage_errors_say_what_is_missing(
    place: Place, arguments: list[str], text: str
) -> None:
    code, output, said = await call(place, *arguments)
    assert (code, output) == (2, "")
    assert text in said
