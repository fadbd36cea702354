"""Lines of stdin and files: all of them sent, once; or said by their number."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons.sender.conftest import (
    ALICE,
    BOB,
    CAROL,
    SECRET,
    Stage,
    make_stream,
    opened,
    stored,
    viewed,
)
from tests.running import DEADLINE, Program, until
from xkeymsg.client.jetstream.api import API
from xkeymsg.daemons.sender.message_ids import Names
from xkeymsg.daemons.sender.sources.progress import Progress
from xkeymsg.errors import ConfigurationError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

STDIN = '[[route]]\nname = "r"\nstdin = true\nto = "out.a"\nrecipients = ["bob"]\noutput = "core"\n'
FILES = STDIN.replace("stdin = true", 'files = ["lines"]')
DOCUMENTS = STDIN.replace('recipients = ["bob"]', 'policy = "policy.toml"')
JETSTREAM = FILES.replace('"core"', '"jetstream"')


async def test_each_line_of_stdin_is_a_message(stage: Stage) -> None:
    async with stage.witness() as witness:
        code, said = stage.send(STDIN, b"one\n\n" + SECRET + b"\n\xff\x00\nlast")
        assert code == 0, said
        await until(lambda: len(witness.raws) == 4)
        assert opened(witness.on("out.a")) == [b"one", SECRET, b"\xff\x00", b"last"]
        hint = f"NATS/1.0\r\nsender: {ALICE.public}\r\n\r\n".encode()
        assert {raw.headers for raw in witness.raws} == {hint}
        assert not witness.saw(SECRET)
        assert "messages=4 not_sent=0" in said


async def test_documents_go_to_whom_the_policy_says(stage: Stage) -> None:
    async with stage.witness() as witness:
        code, said = stage.send(DOCUMENTS, b'{"name": "x", "bill": {"sum": 7}, "notes": "n"}\n')
        assert code == 0, said
        await until(lambda: len(witness.raws) == 1)
        assert viewed(witness.on("out.a"), BOB) == [{"name": "x", "notes": "n"}]
        assert viewed(witness.on("out.a"), CAROL) == [{"name": "x", "bill": {"sum": 7}}]


async def test_numbers_whose_digits_change_are_counted_and_told_of_once(stage: Stage) -> None:
    lines = b'{"bill": {"sum": 7.50}}\n{"bill": {"sum": 1.5, "tax": 0.10}}\n'
    async with stage.witness() as witness:
        code, said = stage.send(DOCUMENTS, lines)
        assert code == 0, said
        await until(lambda: len(witness.raws) == 2)
        assert said.count("digits of numbers change") == 1
        assert "first=/bill/sum" in said
        seen = viewed(witness.on("out.a"), CAROL)
        assert [repr(each["bill"]["sum"]) for each in seen] == ["7.5", "1.5"]


async def test_exact_numbers_keep_their_digits(stage: Stage) -> None:
    async with stage.witness() as witness:
        route = DOCUMENTS + 'numbers = "exact"\n'
        code, said = stage.send(route, b'{"bill": {"sum": 7.50, "tax": 1e-400}}')
        assert code == 0, said
        await until(lambda: len(witness.raws) == 1)
        assert "digits" not in said
        [seen] = viewed(witness.on("out.a"), CAROL)
        assert {name: str(each) for name, each in seen["bill"].items()} == {
            "sum": "7.50",
            "tax": "1E-400",
        }


async def test_a_number_that_would_become_0_is_refused_with_its_place(stage: Stage) -> None:
    code, said = stage.send(DOCUMENTS, b'{"bill": {"sum": 1e-400}}')
    assert code == 1
    assert "/bill/sum: number too small" in said


async def test_what_cannot_be_sealed_is_said_by_its_line_and_nothing_of_it_leaves(
    stage: Stage,
) -> None:
    lines = [
        b'{"name": "first"}',
        b'{"name": "x", "diagnosis": "' + SECRET + b'"}',
        b'{"name": "x", "bill": {"a": 1}, "notes": 1, "b": ["' + SECRET + b'"], "c": {"d": 1}}',
        SECRET,
        b'{"name": "' + SECRET + b'", "name": "y"}',
        b'{"name": ' + b"[" * 5000,
        b'"' + SECRET + b'"',
        b'{"name": "last"}',
    ]
    async with stage.witness() as witness:
        code, said = stage.send(DOCUMENTS, b"\n".join(lines))
        assert code == 1
        await until(lambda: len(witness.raws) == 2)
        assert viewed(witness.on("out.a"), BOB) == [{"name": "first"}, {"name": "last"}]
        assert not witness.saw(SECRET)
    refused = [line for line in said.splitlines() if " refused " in line]
    numbers = [line.partition("line=")[2].split()[0] for line in refused]
    assert numbers == ["2", "3", "4", "5", "6", "7"]
    assert "/diagnosis" in refused[0]
    assert "/b" in refused[1]
    assert "/c/d" in refused[1]
    assert SECRET.decode() not in said
    assert "messages=2 not_sent=6" in said
    assert not stage.is_on_disk(SECRET)


async def test_a_message_that_is_too_large_is_refused_before_anything_is_sent(
    stage: Stage,
) -> None:
    async with stage.witness() as witness:
        large = SECRET * 60_000  # 1.3 MiB, and the server's max_payload is one
        longest = b"x" * (9 << 20)
        code, said = stage.send(STDIN, b"\n".join([b"first", large, longest, b"last"]))
        assert code == 1
        await until(lambda: len(witness.raws) == 2)
        assert opened(witness.on("out.a")) == [b"first", b"last"]
    assert "code=payload_too_large" in said
    assert "code=limit_exceeded" in said


DENIES = """
authorization { users: [
  {user: a, password: a, permissions: {publish: {deny: "out.no"}}}
  {user: w, password: w}
] }
"""


async def test_what_is_not_permitted_is_an_error_of_the_route_that_did_it(stage: Stage) -> None:
    """The server says it by the way, of no message in particular: the other routes go on."""
    (stage.folder / "lines").write_bytes(b"1\n2\n3\n")
    text = STDIN.replace('"out.a"', '"out.no"') + "attempts = 2\nbackoff = 0.05\n"
    text += FILES.replace('name = "r"', 'name = "other"')
    login = {"XKEYMSG_SENDER__NATS__USER": "a", "XKEYMSG_SENDER__NATS__PASSWORD": "a"}
    with NATSServer(DENIES) as server:
        stage.outside = server
        options = ConnectOptions(servers=(server.url,), user="w", password="w")
        async with open_link(options) as link:
            subscription = await link.subscribe("out.>")
            await link.confirm()
            reading, writing = os.pipe()
            os.write(writing, SECRET + b"\n" + SECRET + b"\n")
            os.close(writing)
            with stage.start(text, stdin=reading, **login) as alice:
                assert alice.wait() == 1
                said = "\n".join(alice.output("err"))
            os.close(reading)
            assert "lost route=r code=delivery" in said
            assert "permissions violation" in said
            assert "sent route=other messages=3 not_sent=0" in said
            assert SECRET.decode() not in said
            seen = {(await subscription.next(DEADLINE)).subject for _ in range(3)}
            assert seen == {b"out.a"}


async def test_a_stream_that_is_not_there_takes_nothing_and_says_so(stage: Stage) -> None:
    text = STDIN.replace('"core"', '"jetstream"') + "attempts = 1\n"
    code, said = stage.send(text, SECRET + b"\n")
    assert code == 1
    assert "no stream takes out.a" in said
    assert not stage.is_on_disk(SECRET)


async def test_what_was_read_from_a_pipe_is_sent_before_the_end(stage: Stage) -> None:
    """SIGTERM: what was taken out of the pipe is sent, and the rest is still in the pipe."""
    reading, writing = os.pipe()
    async with stage.witness() as witness:
        with stage.start(STDIN, stdin=reading) as alice:
            alice.wait_for(" ready ", "err")
            os.write(writing, b"one\ntwo\n")
            await until(lambda: len(witness.raws) == 2)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 0
        os.write(writing, b"three\n")
        os.close(writing)
        with stage.start(STDIN, stdin=reading) as alice:
            assert alice.wait() == 0
        os.close(reading)
        await until(lambda: len(witness.raws) == 3)
        assert opened(witness.on("out.a")) == [b"one", b"two", b"three"]


async def test_a_line_that_was_cut_short_is_not_sent_and_not_forgotten(stage: Stage) -> None:
    reading, writing = os.pipe()
    async with stage.witness() as witness:
        with stage.start(STDIN, stdin=reading) as alice:
            alice.wait_for(" ready ", "err")
            os.write(writing, b"one\nhalf of a li")
            await until(lambda: len(witness.raws) == 1)
            alice.process.send_signal(signal.SIGTERM)
            assert alice.wait() == 1
            assert any("cut off after 12 bytes" in line for line in alice.output("err"))
        assert len(witness.raws) == 1
    os.close(reading)
    os.close(writing)


async def test_files_go_one_after_another(stage: Stage) -> None:
    (stage.folder / "a").write_bytes(b"1\n2\n")
    (stage.folder / "b").write_bytes(b"3\n4")
    text = STDIN.replace("stdin = true", 'files = ["a", "b"]')
    async with stage.witness() as witness:
        code, _ = stage.send(text)
        assert code == 0
        await until(lambda: len(witness.raws) == 4)
        assert opened(witness.on("out.a")) == [b"1", b"2", b"3", b"4"]


async def test_a_file_that_is_gone_is_an_error(stage: Stage) -> None:
    (stage.folder / "lines").write_bytes(b"1\n")
    path = stage.write(FILES)
    (stage.folder / "lines").unlink()
    with Program("sender", "--config", str(path)) as alice:
        assert alice.wait() == 1
        assert any("expected a readable regular file" in line for line in alice.output("err"))


async def test_a_run_that_was_killed_is_gone_on_with_and_sends_nothing_twice(stage: Stage) -> None:
    """SIGKILL again and again; each line is in the stream once, in the end."""
    count = 1500
    (stage.folder / "lines").write_bytes(b"".join(b"line %d\n" % n for n in range(count)))
    (stage.folder / "state").mkdir()
    text = JETSTREAM + 'state = "state"\nmax_in_flight = 64\n'
    async with stage.link() as link:
        api = await make_stream(link, "OUT", "out.>")

        async def messages() -> int:
            state = (await api.request("STREAM.INFO.OUT"))["state"]["messages"]
            assert isinstance(state, int)
            return state

        for step in (200, 900):
            with stage.start(text) as alice:
                while True:
                    if await messages() >= step:
                        break
                    assert alice.process.poll() is None
                    await asyncio.sleep(0.005)
                alice.process.kill()
        code, said = stage.send(text)
        assert code == 0, said
        kept = await stored(link, "OUT")
        lines = opened([each.data for each in kept])
        assert sorted(lines) == sorted(b"line %d" % n for n in range(count))

        # Another run has nothing to do but what has come since.
        with (stage.folder / "lines").open("ab") as file:
            file.write(b"more\n")
        assert "messages=1" in stage.send(text)[1]
        assert await messages() == count + 1
    noted = json.loads((stage.folder / "state" / "r.json").read_text())
    assert (stage.folder / "state" / "r.json").stat().st_mode & 0o777 == 0o600
    [mark] = noted["files"].values()
    assert mark["lines"] == count + 1
    assert b"line" not in mark["check"].encode()


async def test_another_file_of_the_same_name_is_not_taken_for_the_rest(stage: Stage) -> None:
    (stage.folder / "state").mkdir()
    (stage.folder / "lines").write_bytes(b"one\ntwo\n")
    text = FILES + 'state = "state"\n'
    assert stage.send(text)[0] == 0
    (stage.folder / "lines").write_bytes(b"one\nTWO\nthree\n")
    async with stage.witness() as witness:
        code, said = stage.send(text)
        assert code == 1
        assert "has changed since its first 8 bytes were sent" in said
        assert witness.raws == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[" * 100_000,
        '{"files": {"a": {"offset": -1, "lines": 0, "check": ""}}}',
        '{"files": {"a": {"offset": 1, "lines": 0}}}',
        '{"files": {"a": 7}}',
    ],
)
def test_a_note_that_the_sender_has_not_written_is_not_gone_by(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ConfigurationError, match="not a progress file of the sender"):
        Progress(tmp_path, "r", Names(bytes(32), "r"))


async def test_lines_that_the_stream_never_takes_are_named_and_the_others_sent(
    stage: Stage,
) -> None:
    large = b"x" * 3000
    (stage.folder / "lines").write_bytes(b"\n".join([b"one", large, b"two", large, b"three"]))
    async with stage.link() as link:
        config = {"name": "OUT", "subjects": ["out.>"], "max_msg_size": 2000}
        await API(link).request("STREAM.CREATE.OUT", config)
        code, said = stage.send(JETSTREAM)
        kept = opened([each.data for each in await stored(link, "OUT")])
    assert code == 1
    refused = [line for line in said.splitlines() if " refused " in line]
    assert [line.partition(" line=")[2].split()[0] for line in refused] == ["2", "4"]
    assert all("code=payload_too_large" in line for line in refused)
    assert "messages=3 not_sent=2" in said
    assert sorted(kept) == [b"one", b"three", b"two"]


async def test_lines_that_were_stored_before_their_attempt_timed_out_are_sent(
    stage: Stage,
) -> None:
    """A played stream takes each message with the first attempt, and tells it late."""
    (stage.folder / "lines").write_bytes(b"one\n")
    text = (STDIN + FILES.replace('"r"', '"f"').replace("out.a", "out.b")).replace(
        '"core"', '"jetstream"'
    )
    seen: dict[bytes, list[float]] = {}

    async def play(link: Link) -> None:
        async for raw in await link.subscribe("out.>"):
            times = seen.setdefault(raw.subject, [])
            times.append(asyncio.get_running_loop().time())
            if times[-1] - times[0] > 10:
                await link.publish(raw.reply_text, b'{"stream":"S","seq":1,"duplicate":true}')

    async with stage.link() as link:
        task = asyncio.create_task(play(link))
        await asyncio.sleep(0)
        await link.confirm()
        code, said = await asyncio.to_thread(stage.send, text, b"one\n")
        task.cancel()
    assert code == 0, said
    for route in "rf":
        assert f"sent route={route} messages=1 not_sent=0" in said
    assert [len(times) > 1 for times in seen.values()] == [True, True]


async def test_a_line_that_was_refused_is_passed_over_by_the_next_run(stage: Stage) -> None:
    (stage.folder / "state").mkdir()
    (stage.folder / "lines").write_bytes(b'{"name": 1}\n{"other": 1}\n{"name": 2}\n')
    text = DOCUMENTS.replace("stdin = true", 'files = ["lines"]') + 'state = "state"\n'
    async with stage.witness() as witness:
        assert stage.send(text)[0] == 1
        code, said = stage.send(text)
        assert code == 0
        assert "messages=0 not_sent=0" in said
        await until(lambda: len(witness.raws) == 2)


async def test_a_server_that_goes_away_for_a_while_costs_time_alone(stage: Stage) -> None:
    reading, writing = os.pipe()
    text = STDIN.replace('"core"', '"jetstream"') + "backoff = 0.1\n"
    async with stage.link() as link:
        await make_stream(link, "OUT", "out.>")
    with stage.start(text, stdin=reading) as alice:
        alice.wait_for(" ready ", "err")
        os.write(writing, b"one\n")
        stage.outside.restart()
        os.write(writing, b"two\nthree\n")
        os.close(writing)
        assert alice.wait() == 0
    os.close(reading)
    async with stage.link() as link:
        kept = await stored(link, "OUT")
        assert sorted(opened([each.data for each in kept])) == [b"one", b"three", b"two"]


def test_a_person_sees_a_bar(stage: Stage) -> None:
    (stage.folder / "lines").write_bytes(b"x\n" * 100)
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "sender", "--config", str(stage.write(FILES))]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=secondary
    ) as process:
        os.close(secondary)
        seen = b""
        while True:
            try:
                chunk = os.read(primary, 65536)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            seen += chunk
        assert process.wait(DEADLINE) == 0
    os.close(primary)
    assert b"r  [####" in seen
    assert b"100%" in seen
