"""Stores are read at the start and on SIGHUP, not for each connection."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.daemons.receiver.conftest import ready
from tests.running import Program, until
from xkeymsg import XKeyPair, connect
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.sender.config import SenderKeySection
from xkeymsg.key_stores.file import FileProvider
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.testing import NATSServer

PAIR, OTHER = XKeyPair.generate(), XKeyPair.generate()
USERS = [encode_seed(Prefix.USER, bytes([number]) * 32) for number in (1, 2)]
PUBLICS = [SigningKey(seed, Prefix.USER).public for seed in USERS]
CONFIG = f"authorization: {{users: [{', '.join(f'{{nkey: {each}}}' for each in PUBLICS)}]}}"


class Counted:
    """A `command:` store that counts how often its program runs."""

    def __init__(self, folder: Path, name: str, seed: str) -> None:
        self._runs = folder / f"{name}.runs"
        self._seed = folder / f"{name}.seed"
        self.put(seed)
        program = folder / name
        program.write_text(f"#!/bin/sh\necho x >> '{self._runs}'\ncat '{self._seed}'\n")
        program.chmod(0o755)
        self.store = f"command:'{program}'"

    def put(self, seed: str) -> None:
        self._seed.write_text(seed)

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines()) if self._runs.exists() else 0


@pytest.fixture
def user(tmp_path: Path) -> Counted:
    return Counted(tmp_path, "user", USERS[0])


async def test_a_client_reads_its_store_once_for_all_connections(user: Counted) -> None:
    options: dict[str, Any] = {"key": PAIR, "trust": {PAIR.public}, "nkey_store": user.store}
    with NATSServer(CONFIG) as server:
        events: list[str] = []
        async with connect(server.url, on_event=lambda event: events.append(event.kind), **options):
            user.put("not a seed")
            for number in (1, 2):
                await asyncio.to_thread(server.restart)
                await until(lambda number=number: events.count("connected") == number)  # type: ignore[misc]
        assert user.runs == 1
        user.put(USERS[1])
        async with connect(server.url, **options):
            assert user.runs == 2


TEXT = """
[key]
key_store = {key}
{more}
[trust]
peers = "peers.toml"
[nats]
servers = ["{url}"]
nkey_store = {user}
[observe]
listen = "127.0.0.1:0"
{route}
"""
RECEIVE = """
[[route]]
name = "orders"
subject = "orders.>"
sink = "out"
[sinks.out]
kind = "nats"
servers = ["{url}"]
nkey_store = {other}
subject = "plain.{{subject}}"
"""
SEND = """
[source]
servers = ["{url}"]
nkey_store = {other}
[[route]]
name = "lines"
subject = "lines.new"
to = "orders.new"
output = "core"
recipients = ["other"]
"""


@pytest.mark.parametrize("program", ["receiver", "sender"])
async def test_a_daemon_runs_each_command_at_the_start_and_on_sighup_only(
    program: str, user: Counted, tmp_path: Path
) -> None:
    stores = {
        "key": Counted(tmp_path, "key", PAIR.seed()),
        "user": user,
        "other": Counted(tmp_path, "other", USERS[1]),
        "signer": Counted(tmp_path, "signer", USERS[0]),
    }
    if program == "receiver":
        del stores["signer"]
    quoted = {name: json.dumps(each.store) for name, each in stores.items()}
    more = f"signer_store = {quoted['signer']}" if "signer" in quoted else ""
    (tmp_path / "peers.toml").write_text(
        f'[peers.other]\nxkey = "{OTHER.public}"\nsubjects = ["orders.>"]\n'
    )
    config = tmp_path / "config.toml"
    with NATSServer(CONFIG, jetstream=True) as server:
        route = RECEIVE if program == "receiver" else SEND
        route = route.format(url=server.url, **quoted)
        config.write_text(TEXT.format(route=route, more=more, url=server.url, **quoted))
        config.chmod(0o600)
        with Program(program, "--config", str(config)) as daemon:
            ready(daemon)
            assert {name: each.runs for name, each in stores.items()} == dict.fromkeys(stores, 1)
            user.put(USERS[1])
            await asyncio.to_thread(server.restart)
            daemon.wait_for("connection connected", "err")
            assert user.runs == 1
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("what=login", "err")
            await until(lambda: all(each.runs == 2 for each in stores.values()))
            user.put("not a seed")
            daemon.process.send_signal(signal.SIGHUP)
            assert "what=login" in await asyncio.to_thread(daemon.wait_for, "reload failed", "err")
            await asyncio.to_thread(server.restart)
            daemon.wait_for("connection connected", "err")


def test_a_section_reads_each_store_once(tmp_path: Path) -> None:
    key, signer = Counted(tmp_path, "key", PAIR.seed()), Counted(tmp_path, "signer", USERS[0])
    section = SenderKeySection.model_validate(
        {"key_store": key.store, "signer_store": signer.store}
    )
    for _ in range(2):
        assert section.open()[0].public == PAIR.public
        assert (opened := section.open_signer()) is not None
        assert opened.public_key.decode() == PUBLICS[0]
    assert (key.runs, signer.runs) == (1, 1)


def test_all_keys_of_a_folder_open_messages_and_the_first_one_seals(tmp_path: Path) -> None:
    """Otherwise a second key could make messages to the other one unreadable."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    publics = sorted(FileProvider().create(str(folder), Prefix.CURVE).public() for _ in range(3))
    with pytest.warns(RuntimeWarning, match=f"3 keys match in the key store; {publics[0]} seals"):
        opened = KeySection(key_store=f"file:{folder}").open()
    assert [str(pair.public) for pair in opened] == publics
    [only] = KeySection(
        key_store=f"file:{folder}", key_match_by="PublicKey", key_match=publics[1]
    ).open()
    assert str(only.public) == publics[1]
