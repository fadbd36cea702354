"""`xkeymsg object`, as a process, against a real server; docs/objects.md has a whole session."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.objects.conftest import ALICE, BOB, BUCKET, EVE, Scene, scene_on
from tests.running import run
from xkeymsg.ambient import random_bytes
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

DATA = random_bytes(300_000)


@pytest.fixture(autouse=True)
def seeds(tmp_path: Path) -> None:
    for name, pair in (("alice", ALICE), ("bob", BOB)):
        write_seed(tmp_path / name, pair)
    (tmp_path / "peers.toml").write_text(
        f'peers.alice = {{ xkey = "{ALICE.public}", subjects = ["$O.{BUCKET}.>"] }}\n'
        f'peers.bob = {{ xkey = "{BOB.public}" }}\n'
    )
    (tmp_path / "data").write_bytes(DATA)


async def call(server: NATSServer, folder: Path, *words: str) -> tuple[int, str, str]:
    environment = os.environ | {"NATS_URL": server.url}
    given = [str(folder / word[1:]) if word.startswith("@") else word for word in words]
    done = await asyncio.to_thread(run, "xkeymsg.cli", "object", *given, env=environment)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


WRITING = ("--seed", "@alice", "--peers", "@peers.toml", "--to", "bob")
READING = ("--seed", "@bob", "--peers", "@peers.toml")


async def test_an_object_goes_from_a_file_into_a_file(
    jetstream_server: NATSServer, tmp_path: Path
) -> None:
    server, at = jetstream_server, tmp_path
    assert await call(server, at, "init", BUCKET) == (0, f"{BUCKET} ready\n", "")
    assert (await call(server, at, "init", BUCKET))[0] == 0
    words = ("put", BUCKET, "a", "@data", "--content-type", "image/tiff", *WRITING)
    assert await call(server, at, *words) == (0, "300000 bytes in 3 chunks\n", "")
    code, out, _ = await call(server, at, "info", BUCKET, "a", "--json", *READING)
    assert code == 0
    info = json.loads(out)
    assert (info["size"], info["content_type"], info["sender"]) == (
        300_000, "image/tiff", str(ALICE.public),
    )  # fmt: skip
    for trust in (READING, (*READING, "--from", "alice"), ("--seed", "@bob", "--from", "anyone")):
        (at / "out").unlink(missing_ok=True)
        assert await call(server, at, "get", BUCKET, "a", "-o", "@out", *trust) == (0, "", "")
        assert (at / "out").read_bytes() == DATA
        assert (at / "out").stat().st_mode & 0o777 == 0o600
    assert "size" in (await call(server, at, "info", BUCKET, "a", *READING))[1]
    assert json.loads((await call(server, at, "status", BUCKET, "--json"))[1])["sealed"] is False
    assert (await call(server, at, "delete", BUCKET, "a", *WRITING))[0] == 0
    code, _, said = await call(server, at, "get", BUCKET, "a", "-o", "@out", *READING)
    assert code == 1
    assert "object_not_found" in said
    assert await call(server, at, "seal", BUCKET) == (0, "", "")


async def test_a_pipe_of_objects(jetstream_server: NATSServer, tmp_path: Path) -> None:
    async with scene_on(jetstream_server):
        environment = os.environ | {"NATS_URL": jetstream_server.url}
        keys = ("--seed", str(tmp_path / "alice"), "--to", str(BOB.public))
        words = ("xkeymsg.cli", "object", "put", BUCKET, "a", *keys)
        done = await asyncio.to_thread(run, *words, data=DATA, env=environment)
        assert done.returncode == 0, done.stderr
        keys = ("--seed", str(tmp_path / "bob"), "--from", str(ALICE.public))
        words = ("xkeymsg.cli", "object", "get", BUCKET, "a", *keys)
        done = await asyncio.to_thread(run, *words, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout == DATA


async def test_a_refused_object_writes_no_file(
    jetstream_server: NATSServer, tmp_path: Path
) -> None:
    async with scene_on(jetstream_server) as scene:
        await scene.writer.put("a", DATA)
        await scene.replace_chunks("a", (await scene.chunks("a"))[:1])
        (tmp_path / "out").write_bytes(b"before")
        words = ("get", BUCKET, "a", "-o", "@out", *READING)
        code, _, said = await call(jetstream_server, tmp_path, *words)
        assert code == 3
        assert "object_truncated" in said
        assert (tmp_path / "out").read_bytes() == b"before"
        assert {path.name for path in tmp_path.iterdir()} >= {"out", "data"}
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


async def test_a_list_reports_what_is_refused(jetstream_server: NATSServer, tmp_path: Path) -> None:
    async with scene_on(jetstream_server) as scene:
        await scene.writer.put("a\x1b[31m", DATA)
        assert (await call_list(scene, tmp_path))[0] == 0
        await scene.replace_entry("b", b"junk")
        code, out, said = await call_list(scene, tmp_path)
        assert code == 3
        assert "\x1b" not in out
        assert "malformed" in said
        code, out, _ = await call_list(scene, tmp_path, "--json")
        assert json.loads(out)["name"] == "a\x1b[31m"
        words = ("list", BUCKET, "--seed", "@bob", "--from", str(EVE.public))
        code, out, said = await call(jetstream_server, tmp_path, *words)
        assert (code, out) == (3, "")
        assert "sender_not_admitted" in said


async def test_a_missing_bucket_is_named(jetstream_server: NATSServer, tmp_path: Path) -> None:
    for words in (
        ("put", "missing", "a", "@data", *WRITING),
        ("delete", "missing", "a", *WRITING),
        ("get", "missing", "a", *READING),
        ("list", "missing", *READING),
        ("status", "missing"),
    ):
        code, _, said = await call(jetstream_server, tmp_path, *words)
        assert code == 1
        assert "xkeymsg object init missing" in said


async def test_the_memory_outlasts_a_run(jetstream_server: NATSServer, tmp_path: Path) -> None:
    async with scene_on(jetstream_server) as scene:
        await scene.writer.put("a", b"old")
        old = await scene.entry("a")
        await scene.writer.put("a", b"new")
        words = ("get", BUCKET, "a", *READING, "--memory", "@marks")
        assert await call(jetstream_server, tmp_path, *words) == (0, "new", "")
        await scene.replace_entry("a", old)
        code, out, said = await call(jetstream_server, tmp_path, *words)
        assert (code, out) == (3, "")
        assert "value_rollback" in said


async def call_list(scene: Scene, folder: Path, *more: str) -> tuple[int, str, str]:
    return await call(scene.server, folder, "list", BUCKET, *READING, *more)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "b", "a", "--seed", "@bob"), "give --from or --peers"),
        (("get", "b", "a", "--seed", "@bob", "--from", "anyone", "--from", "x"), "anyone"),
        (("get", "b", "a", "--from", "anyone"), "--seed"),
        (("put", "b", "a", "@data", "--seed", "@alice"), "--to"),
        (("init", "b.c"), "bucket"),
    ],
)
async def test_a_wrong_use_is_explained(
    words: tuple[str, ...], said: str, jetstream_server: NATSServer, tmp_path: Path
) -> None:
    code, _, error = await call(jetstream_server, tmp_path, *words)
    assert code in (1, 2)
    assert said in error
    assert "Traceback" not in error
