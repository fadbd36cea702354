"""`xkeymsg stream add`, as a process, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.jetstream.conftest import Stage, on_stage
from tests.running import run
from xkeymsg.testing import NATSServer

CLI = "xkeymsg.cli"


async def add(url: str, *arguments: str) -> tuple[int, str, str]:
    done = await asyncio.to_thread(run, CLI, "stream", "add", *arguments, "-s", url)
    return done.returncode, done.stdout.decode(), " ".join(done.stderr.decode().split())


async def config_of(stage: Stage, name: str) -> dict[str, object]:
    config: dict[str, object] = (await stage.api.request(f"STREAM.INFO.{name}"))["config"]
    return config


async def test_a_new_stream_has_what_sealed_messages_need(jetstream_server: NATSServer) -> None:
    async with on_stage(jetstream_server, quarantine=False) as stage:
        url = jetstream_server.url
        code, output, said = await add(url, "ORDERS", "--subject", "o.>", "--subject", "p")
        assert (code, output) == (0, "ORDERS created\n")
        assert "xkeymsg quarantine init" in said
        expected = {
            "subjects": ["o.>", "p"], "retention": "limits", "max_age": 0, "max_bytes": -1,
            "discard": "new", "duplicate_window": 120 * 10**9, "storage": "file",
            "num_replicas": 1, "allow_direct": True,
        }  # fmt: skip
        assert (await config_of(stage, "ORDERS")).items() >= expected.items()
        code, _, _ = await add(
            url, "JOBS", "--subject", "jobs.*", "--retention", "workqueue", "--max-age", "30d",
            "--max-bytes", "64MiB", "--discard", "old", "--duplicate-window", "1h",
            "--storage", "memory",
        )  # fmt: skip
        assert code == 0
        expected = {
            "subjects": ["jobs.*"], "retention": "workqueue", "max_age": 30 * 86_400 * 10**9,
            "max_bytes": 64 << 20, "discard": "old", "duplicate_window": 3600 * 10**9,
            "storage": "memory",
        }  # fmt: skip
        assert (await config_of(stage, "JOBS")).items() >= expected.items()
        assert (await add(url, "SHORT", "--subject", "s", "--max-age", "60s"))[0] == 0
        assert (await config_of(stage, "SHORT"))["duplicate_window"] == 60 * 10**9


async def test_an_existing_stream_is_never_changed(jetstream_server: NATSServer) -> None:
    async with on_stage(jetstream_server, quarantine=False) as stage:
        url = jetstream_server.url
        assert (await add(url, "ORDERS", "--subject", "o.>"))[0] == 0
        before = await config_of(stage, "ORDERS")
        for arguments in (("--subject", "o.>"), ("--subject", "o.>", "--max-age", "1d")):
            code, output, said = await add(url, "ORDERS", *arguments)
            assert (code, output) == (1, "")
            assert "ORDERS exists and is not changed" in said
        assert await config_of(stage, "ORDERS") == before
        code, output, said = await add(url, "OTHER", "--subject", "o.new")
        assert (code, output) == (1, "")
        assert "subjects overlap with an existing stream" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("ORDERS",), 2, "Missing option '--subject'"),
        (("A.B", "--subject", "o"), 2, "invalid stream name"),
        (("A", "--subject", "o..p"), 2, "is not a NATS subject"),
        (("A", "--subject", "_XKM.>"), 2, "_XKM is reserved for replies"),
        (("A", "--subject", "o", "--duplicate-window", "5s"), 2, "must be at least 20s"),
        (("A", "--subject", "o", "--max-age", "5s"), 2, "must be at least 20s"),
        (("A", "--subject", "o", "--max-age", "1m", "--duplicate-window", "2m"), 2,
         "duplicate_window must not exceed max_age"),
        (("A", "--subject", "o", "--max-bytes", "64MB"), 2, "'64MB' is not a size like 64MiB"),
        (("A", "--subject", "o", "--max-bytes", "0"), 2, "is not a size"),
        (("A", "--subject", "o"), 1, "connection"),
    ],
)  # fmt: skip
async def test_an_error_is_reported_before_anything_is_created(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = await add("nats://127.0.0.1:1", "--timeout", "1s", *arguments)
    assert done[:2] == (code, "")
    assert said in done[2]
