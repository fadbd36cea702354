"""`xkeymsg quarantine`, as a process, against a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, EVE, Stage, on_stage
from tests.client.jetstream.test_failures import records
from tests.running import DEADLINE, run
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.inspect import sender_of
from xkeymsg.fields.policy import Policy
from xkeymsg.keys import XKey
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.trust.stores.file import write_seed

CLI = "xkeymsg.cli"
SECRET = "the cargo leaves at nine"  # what must not be seen before it is opened


@pytest.fixture
async def stage(jetstream_server: NATSServer) -> AsyncIterator[Stage]:
    async with on_stage(jetstream_server, quarantine=False) as stage:
        yield stage


@pytest.fixture
def seed(tmp_path: Path) -> str:
    write_seed(tmp_path / "bob", BOB)
    return str(tmp_path / "bob")


async def call(stage: Stage, *arguments: str) -> tuple[int, str, str]:
    done = await asyncio.to_thread(run, CLI, "quarantine", *arguments, "-s", stage.server.url)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def give_up(stage: Stage, *envelopes: bytes) -> None:
    """Have a consumer, to whom nobody is known, give messages up."""
    assert (await call(stage, "init"))[0] == 0
    for envelope in envelopes:
        await stage.send(envelope)
    async with stage.consumer(senders={EVE.public}, policy=FailurePolicy(patience=0)):
        await stage.until(lambda: len(stage.kinds("quarantined")) == len(envelopes))


async def raising(message: object) -> None:
    raise ValueError


def opening(seed: str) -> tuple[str, ...]:
    return ("--seed", seed, "--from", str(ALICE.public), "--subject", "h.>")


async def test_init_creates_both_streams_once(stage: Stage) -> None:
    assert await call(stage, "init") == (0, "XKM_UNPROVEN created\nXKM_PROVEN created\n", "")
    assert await call(stage, "init") == (0, "XKM_UNPROVEN exists\nXKM_PROVEN exists\n", "")
    proven = (await stage.api.request("STREAM.INFO.XKM_PROVEN"))["config"]
    unproven = (await stage.api.request("STREAM.INFO.XKM_UNPROVEN"))["config"]
    assert proven["discard"] == "new"
    assert proven["max_age"] == 0
    assert unproven["discard"] == "old"


async def test_init_creates_streams_with_the_given_names(stage: Stage) -> None:
    created = "LATE created\nKEPT created\n"
    assert await call(stage, "init", "--unproven", "LATE", "--proven", "KEPT") == (0, created, "")


async def test_where_there_is_none_it_says_what_makes_it(stage: Stage) -> None:
    for arguments in (("list",), ("show", "proven", "1"), ("drop", "unproven", "--all")):
        code, _, said = await call(stage, *arguments)
        assert code == 1
        assert "`xkeymsg quarantine init` creates it" in said


async def test_what_is_there_is_listed_and_shown_and_stays_sealed(stage: Stage) -> None:
    envelope = stage.seal(SECRET.encode(), "elsewhere")
    assert (await call(stage, "init"))[0] == 0
    await stage.send(envelope)
    await stage.send(b"garbage", "h.\u202ex")
    async with stage.consumer():
        await stage.until(lambda: len(stage.kinds("quarantined")) == 2)
    await stage.link.request("XKM_PROVEN.S.d.forged", b"no record", timeout=DEADLINE)

    code, table, _ = await call(stage, "list")
    assert code == 0
    assert [line.split()[:2] for line in table.splitlines()] == [
        ["WHICH", "NUMBER"], ["unproven", "1"], ["proven", "1"], ["proven", "2"],
    ]  # fmt: skip
    assert "no whole record" in table
    assert "\u202e" not in table
    code, lines, _ = await call(stage, "list", "--json")
    first, second, third = map(json.loads, lines.splitlines())
    assert (first["reason"], first["sequence"]) == ("undecryptable", 2)
    assert (second["reason"], second["sequence"]) == ("refused", 1)
    assert second["stream"] == "S"
    assert third["reason"] == "no whole record"

    code, shown, _ = await call(stage, "show", "proven", "1")
    assert code == 0
    assert "reason" in shown
    assert str(ALICE.public) in shown
    code, as_json, _ = await call(stage, "show", "proven", "1", "--json")
    assert json.loads(as_json)["subject"] == "elsewhere"
    assert json.loads(as_json)["wire subject"] == "h.a"
    code, garbage, _ = await call(stage, "show", "unproven", "1")
    assert code == 0
    assert "format        unknown: " in garbage
    for text in (table, lines, shown, as_json):
        assert SECRET not in text
        assert base64.b64encode(SECRET.encode()).decode() not in text


async def test_what_is_replayed_is_printed_deleted_and_published_nowhere(
    stage: Stage, seed: str
) -> None:
    document = stage.sealer.seal_document(
        {"name": "Ann", "sum": 3},
        policy=Policy([("/name", ["a"]), ("/**", ["b"])]),
        readers={"a": [BOB.public], "b": [EVE.public]},
        subject="h.a",
    )
    envelopes = [stage.seal(SECRET.encode()), stage.seal(b"\xff\x00"), document]
    await give_up(stage, *envelopes, stage.seal(b"", to=EVE))
    code, out, err = await call(stage, "replay", "unproven", "--all", *opening(seed))

    first, second, third = map(json.loads, out.splitlines())
    assert first["data"] == SECRET
    assert first["sender"] == str(ALICE.public)
    assert set(first) == {"id", "subject", "sender", "admitted", "created", "data"}  # as of a sink
    assert base64.b64decode(second["data_base64"]) == b"\xff\x00"
    assert (third["document"], third["withheld"]) == ({"name": "Ann"}, 1)
    assert code == 3  # one was for somebody else
    assert "unproven 4: not_a_recipient" in err
    assert await stage.messages("XKM_UNPROVEN") == 1
    assert await stage.messages() == 4


async def test_a_replay_opens_what_is_older_than_a_live_message_may_be(
    stage: Stage, seed: str
) -> None:
    # Its place and time are those of the record, not of now: the time of storing counts.
    await give_up(stage, stage.seal(b"x"))
    entry = await stage.api.message("XKM_UNPROVEN", 1)
    headers = dict(entry.headers) | {"Nats-Msg-Id": "other"}
    long_ago = str(int(headers["Xkm-Stored"]) - 3_600_000)
    await stage.send(entry.data, "XKM_UNPROVEN.S.d.b", headers | {"Xkm-Stored": long_ago})

    code, out, err = await call(stage, "replay", "unproven", "--all", *opening(seed))
    assert code == 3
    assert len(out.splitlines()) == 1
    assert "unproven 2: stale" in err


async def test_the_same_message_twice_is_printed_once(stage: Stage, seed: str) -> None:
    envelope = stage.seal(b"pay 100")
    await give_up(stage, envelope, envelope)
    code, out, err = await call(stage, "replay", "unproven", "--all", *opening(seed))

    assert code == 0
    assert len(out.splitlines()) == 1
    assert "replay" in err
    assert await stage.messages("XKM_UNPROVEN") == 0


async def test_what_a_program_does_not_take_stays(stage: Stage, seed: str, tmp_path: Path) -> None:
    await give_up(stage, stage.seal(b"one"), stage.seal(b"two"))
    taken = tmp_path / "taken"
    program = f"cat >> {taken}; grep -q '\"two\"' {taken} && exit 7; exit 0"
    code, out, err = await call(
        stage, "replay", "unproven", "--all", *opening(seed), "--command", program
    )

    assert (code, out) == (1, "")
    assert "exited with 7" in err
    assert [json.loads(line)["data"] for line in taken.read_text().splitlines()] == ["one", "two"]
    assert await stage.messages("XKM_UNPROVEN") == 1


async def test_a_reader_that_is_gone_costs_nothing(stage: Stage, seed: str) -> None:
    await give_up(stage, stage.seal(b"one"))
    arguments = ["replay", "unproven", "--all", *opening(seed), "-s", stage.server.url]
    with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230 - nothing to wait for
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", CLI, "quarantine", *arguments),
            stdout=full,
            stderr=asyncio.subprocess.PIPE,
        )
        await process.communicate()

    assert process.returncode == 1
    assert await stage.messages("XKM_UNPROVEN") == 1


async def test_drop_deletes_what_is_named(stage: Stage) -> None:
    await give_up(stage, stage.seal(b"one"), stage.seal(b"two"), stage.seal(b"three"))
    assert (await call(stage, "drop", "unproven", "2"))[0] == 0
    assert await stage.messages("XKM_UNPROVEN") == 2
    assert (await call(stage, "drop", "unproven", "2"))[0] == 1
    assert (await call(stage, "drop", "unproven"))[0] == 2
    assert (await call(stage, "drop", "unproven", "--all"))[0] == 0
    assert await stage.messages("XKM_UNPROVEN") == 0


async def test_a_malicious_peer_that_stops_consuming_is_dropped_with_all_it_made(
    stage: Stage,
) -> None:
    """Eve is admitted, and fills the quarantine that discards nothing: the guide helps."""
    admitted = {ALICE.public, EVE.public}

    class Trust:
        def admit(self, sender: XKey, _subject: str, _at: int) -> Admission | None:
            return Admission() if sender in admitted else None

    assert (await call(stage, "init"))[0] == 0
    config = (await stage.api.request("STREAM.INFO.XKM_PROVEN"))["config"]
    await stage.api.request("STREAM.UPDATE.XKM_PROVEN", config | {"max_msgs": 4})
    await stage.send(stage.seal(b"of Alice, for others", "elsewhere"))
    async with stage.consumer(senders=Trust(), policy=FailurePolicy(patience=0)) as consumer:
        await stage.until(lambda: stage.kinds("quarantined"))
        for _ in range(5):
            sealed = Sealer(EVE).seal(b"", to=[BOB.public], subject="elsewhere")
            await stage.send(sealed)
        await stage.until(lambda: consumer.is_blocked)
        admitted.remove(EVE.public)
        await stage.send(sealed)
        await stage.publish(b"honest")
        code, _, err = await call(stage, "drop", "proven", "--from", str(EVE.public))
        # There were three; where there is room again, the rest may come while they are dropped.
        assert (code, re.search("dropped [3-6]$", err.rstrip()) is not None) == (0, True)
        await stage.until(lambda: stage.handled == [b"honest"] and not consumer.is_blocked)
    left = await records(stage, "XKM_PROVEN")
    assert sum(sender_of(record.data) == bytes(ALICE.public) for record in left) == 1
    assert (await call(stage, "drop", "proven", "--all", "--from", str(EVE.public)))[0] == 2


async def test_a_message_in_pieces_is_one(stage: Stage, seed: str) -> None:
    overhead = len(stage.seal(b""))
    large = stage.seal(bytes(stage.link.max_payload - overhead - 16), "h.a")
    assert (await call(stage, "init"))[0] == 0
    await stage.send(large)
    async with stage.consumer(raising):
        await stage.until(lambda: stage.kinds("quarantined"))
    assert await stage.messages("XKM_PROVEN") == 2

    code, table, _ = await call(stage, "list")
    assert len(table.splitlines()) == 2
    assert str(len(large)) in table
    code, out, _ = await call(stage, "replay", "proven", "1", *opening(seed))
    assert code == 0
    assert len(json.loads(out)["data"]) == stage.link.max_payload - overhead - 16
    assert await stage.messages("XKM_PROVEN") == 0
