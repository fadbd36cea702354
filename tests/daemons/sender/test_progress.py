"""The progress through files: a line that grows, two runs at a time, a disk that takes nothing."""

from __future__ import annotations

import json
import os
import signal
from functools import partial

import pytest

from tests.daemons.sender.conftest import DAVE, SECRET, Stage, Witness, opened
from tests.running import until

FILES = (
    '[[route]]\nname = "r"\nfiles = ["lines"]\nstate = "state"\nto = "out.a"\n'
    'recipients = ["bob"]\noutput = "core"\n'
)
PIPE = (
    '[[route]]\nname = "pipe"\nstdin = true\nto = "out.b"\n'
    'recipients = ["bob", "dave"]\noutput = "core"\n'
)


def has(witness: Witness, messages: int) -> bool:
    return len(witness.raws) == messages


@pytest.fixture
def filed(stage: Stage) -> Stage:
    """A stage with a folder for the progress."""
    (stage.folder / "state").mkdir()
    return stage


async def test_a_line_that_was_sent_before_its_end_was_written_is_sent_whole(filed: Stage) -> None:
    """Its rest is not a message, and would be lost if lines are documents."""
    lines = filed.folder / "lines"
    async with filed.witness() as witness:
        for number, (more, sent) in enumerate(
            [
                (b'one\n{"name"', [b"one", b'{"name"']),
                (b': "Jane"}\nthree\n', [b'{"name": "Jane"}', b"three"]),
                (b"four", [b"four"]),
                (b"\n", []),
                (b"five", [b"five"]),
                (b"\r\nsix\r\n", [b"six\r"]),
            ]
        ):
            with lines.open("ab") as file:
                file.write(more)
            witness.raws.clear()
            code, said = filed.send(FILES)
            assert code == 0, (number, said)
            assert f"messages={len(sent)} " in said
            await until(partial(has, witness, len(sent)))
            assert sorted(opened(witness.on("out.a"))) == sorted(sent)
            recorded = json.loads((filed.folder / "state" / "r.json").read_text())
            assert recorded["files"][str(lines)]["lines"] == len(lines.read_bytes().splitlines())


async def test_a_first_line_that_grows_is_sent_whole(filed: Stage) -> None:
    lines = filed.folder / "lines"
    async with filed.witness() as witness:
        lines.write_bytes(b"x" * 200_000)
        assert filed.send(FILES)[0] == 0
        lines.write_bytes(b"x" * 200_000 + b"y")
        assert filed.send(FILES)[0] == 0
        await until(lambda: len(witness.raws) == 2)
        assert [len(each) for each in opened(witness.on("out.a"))] == [200_000, 200_001]


async def test_two_runs_at_a_time_do_not_send_lines_twice(filed: Stage) -> None:
    (filed.folder / "lines").write_bytes(b"one\n")
    reading, writing = os.pipe()
    async with filed.witness() as witness:
        with filed.start(FILES + PIPE.replace(', "dave"', ""), stdin=reading) as first:
            await until(lambda: len(witness.raws) == 1)
            code, said = filed.send(FILES)
            assert code == 1
            assert "another sender works with this state: wait until it has ended" in said
            assert "state/r.lock" in said
            first.process.send_signal(signal.SIGTERM)
            assert first.wait() == 0
        assert filed.send(FILES)[0] == 0
        assert len(witness.raws) == 1
    os.close(reading)
    os.close(writing)


async def test_progress_that_is_not_recorded_keeps_no_peer_in_use(filed: Stage) -> None:
    """A full disk is no reason to seal to who has been removed."""
    (filed.folder / "lines").write_bytes(b"one\n")
    (filed.folder / "state" / "r.new").mkdir()
    filed.write_peers(f'[peers.dave]\nxkey = "{DAVE.public}"\n')
    reading, writing = os.pipe()
    async with filed.witness() as witness:
        with filed.start(FILES + PIPE, stdin=reading) as alice:
            alice.wait_for("progress not recorded", "err")
            filed.write_peers()  # without Dave
            alice.wait_for("reloaded what=peers changed=true", "err")
            os.write(writing, SECRET + b"\n")
            alice.wait_for("lost route=pipe", "err")
            os.close(writing)
            assert alice.wait() == 1
            said = "\n".join(alice.output("err"))
            assert "state/r.json: Is a directory; the next run will send again" in said
            assert "unexpected" not in said
        assert not witness.on("out.b")
    os.close(reading)


async def test_progress_that_is_not_recorded_ends_no_route(filed: Stage) -> None:
    """The lines of the other files are sent, and the exit code tells."""
    for name in ("first", "second"):
        (filed.folder / name).write_text(f"{name}\n")
    (filed.folder / "state" / "r.new").mkdir()
    several = FILES.replace('["lines"]', '["first", "second"]')
    async with filed.witness() as witness:
        code, said = filed.send(several)
        assert code == 1
        assert "state/r.json: Is a directory; the next run will send again" in said
        await until(partial(has, witness, 2))
        assert opened(witness.on("out.a")) == [b"first", b"second"]
        (filed.folder / "state" / "r.new").rmdir()
        witness.raws.clear()
        assert filed.send(several)[0] == 0  # all again, as it said
        await until(partial(has, witness, 2))
        assert filed.send(several)[0] == 0
    assert len(witness.raws) == 2
