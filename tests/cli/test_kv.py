"""`xkeymsg kv`, as a process, against a real server; docs/guides/kv.md has the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import xkeymsg
from tests.kv.conftest import ALICE, BOB, PEERS
from tests.running import run
from xkeymsg.testing import NATSServer

CLI = "xkeymsg.cli"
Kv = Callable[..., Coroutine[Any, Any, tuple[int, str, str]]]


@pytest.fixture
def kv(jetstream_server: NATSServer, tmp_path: Path) -> Kv:
    """Run `xkeymsg kv` as Alice; `as_bob` as Bob."""
    for name, pair in (("alice", ALICE), ("bob", BOB)):
        xkeymsg.write_seed(tmp_path / name, pair)

    async def call(*words: str, who: str = "alice", data: str = "") -> tuple[int, str, str]:
        arguments = [*words, "-s", jetstream_server.url]
        if who:
            arguments += ["--seed", str(tmp_path / who)]
        done = await asyncio.to_thread(run, CLI, "kv", *arguments, data=data.encode())
        return done.returncode, done.stdout.decode(), " ".join(done.stderr.decode().split())

    return call


FROM = ("--from", str(ALICE.public))
TO = ("--to", str(BOB.public), "--to", str(ALICE.public))


async def test_a_value_with_its_attributes_as_json(kv: Kv, tmp_path: Path) -> None:
    assert (await kv("init", "C"))[:2] == (0, "C ready\n")
    code, output, _ = await kv("put", "C", "k", *TO, "--content-type", "text/plain", data="on")
    assert (code, output) == (0, "1\n")
    code, output, _ = await kv("get", "C", "k", "--json", *FROM, who="bob")
    fields = json.loads(output)
    assert code == 0
    assert (fields["key"], fields["operation"], fields["data"]) == ("k", "put", "on")
    assert (fields["sender"], fields["content_type"]) == (str(ALICE.public), "text/plain")
    out = tmp_path / "out"
    assert (await kv("get", "C", "k", "-o", str(out), *FROM, who="bob"))[0] == 0
    assert (out.read_text(), out.stat().st_mode & 0o777) == ("on", 0o600)


async def test_a_document_by_policy(kv: Kv, tmp_path: Path) -> None:
    peers, policy = tmp_path / "peers.toml", tmp_path / "policy.toml"
    peers.write_text(
        f'[peers.alice]\nxkey = "{ALICE.public}"\npermissions = ["a"]\nsubjects = ["$KV.>"]\n'
        f'[peers.bob]\nxkey = "{BOB.public}"\npermissions = ["b"]\n'
    )
    policy.write_text(
        '[[rule]]\npattern = "/name"\nreaders = ["a", "b"]\n'
        '[[rule]]\npattern = "/price"\nreaders = ["a"]\n'
    )
    rules = ("--policy", str(policy), "--peers", str(peers))
    await kv("init", "C")
    code, output, said = await kv("put", "C", "k", *rules, data='{"name": "lamp", "price": 7}')
    assert (code, output) == (0, "1\n"), said
    code, output, _ = await kv("get", "C", "k", "--documents", "--peers", str(peers), who="bob")
    assert (code, json.loads(output)) == (0, {"name": "lamp"})


async def test_status_and_purge(kv: Kv) -> None:
    assert (await kv("init", "C", "--history", "3", "--purge", "--ttl", "1h"))[0] == 0
    for _ in range(2):
        await kv("put", "C", "k", *TO)
    assert (await kv("purge", "C", "k", *TO))[:2] == (0, "3\n")
    code, output, _ = await kv("status", "C", "--json", who="")
    fields = json.loads(output)
    assert code == 0
    assert (fields["history"], fields["ttl"], fields["values"]) == (3, 3600, 1)
    code, output, _ = await kv("status", "C", who="")
    assert "rollups: True" in output
    assert (await kv("get", "C", "k", *FROM))[0] == 1
    code, _, said = await kv("get", "missing", "k", *FROM)
    assert code == 1
    assert "xkeymsg kv init missing" in said
    code, _, said = await kv("put", "missing", "k", *TO)
    assert code == 1
    assert "xkeymsg kv init missing" in said


async def test_refused_entries_exit_with_3_and_are_shown(
    kv: Kv, jetstream_server: NATSServer
) -> None:
    await kv("init", "C")
    async with xkeymsg.connect(jetstream_server.url, key=ALICE, trust=PEERS) as client:
        await client.js.api.link.request("$KV.C.plain", b"\x1b[31mhello", timeout=30)
    code, output, said = await kv("get", "C", "plain", *FROM)
    assert (code, output) == (3, "")
    assert "not_sealed" in said
    for words in (("watch", "C", "--once"), ("history", "C", "plain")):
        code, output, said = await kv(*words, *FROM)
        assert code == 0
        assert json.loads(output) == {
            "key": "plain", "revision": 1, "operation": "refused", "code": "not_sealed",
        }  # fmt: skip
        assert "\x1b" not in said
    code, output, said = await kv("keys", "C", *FROM)
    assert (code, output) == (3, "")
    assert "not_sealed" in said


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("put", "C", "k"), "--to"),
        (("init", "C", "--blind"), "--blind requires"),
        (("put", "C", "k", *TO, "--policy", "x.toml"), "either --to"),
        (("keys", "C"), "give --from or --peers"),
        (("keys", "C", *FROM, "--from", "anyone"), "cannot be combined"),
        (("update", "C", "k", *TO), "--last"),
        (("get", "C"), "KEY"),
    ],
    ids=["recipients", "blind", "policy", "senders", "anyone", "last", "key"],
)
async def test_wrong_usage(kv: Kv, words: tuple[str, ...], hint: str, tmp_path: Path) -> None:
    (tmp_path / "peers.toml").write_text("")
    words = tuple(str(tmp_path / each) if each == "peers.toml" else each for each in words)
    code, output, said = await kv(*words)
    assert (code, output) == (2, "")
    assert hint in said
