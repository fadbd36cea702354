"""The life of a daemon, as a process that does nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import DEADLINE, Program

CANARY = "c4n4ry"

PROGRAM = """
import asyncio, sys, time
from xkeymsg.daemons.common import lifecycle
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.lifecycle import Lifecycle, run
from xkeymsg.daemons.common.logs import Log, set_up
from xkeymsg.errors import DeliveryError

lifecycle._CANCEL = lifecycle._HANGS = 0.2
set_up("text", "debug")

async def work(life):
{body}

log = Log("receiver")
sys.exit(run(work, lambda: Lifecycle(log, Health(), {drain})))
"""


def program_of(body: str, drain: float) -> str:
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    return PROGRAM.format(body=indented, drain=drain)


def start(body: str, drain: float = DEADLINE, **environ: str) -> Program:
    text = program_of(body, drain)
    return Program("tests.snippet", text, env=os.environ | environ)


def end(program: Program, stop: signal.Signals | None = None) -> tuple[int, str]:
    """Wait until it has begun, give it a signal, and return its exit code and what it said."""
    with program:
        if stop is not None:
            assert program.next_line() == "begun"
            program.process.send_signal(stop)
        code = program.wait()
        return code, "".join(f"{line}\n" for line in program.output("err"))


READY = 'life.ready()\nprint("begun", flush=True)\n'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_work_that_finishes_in_time_is_a_success(number: signal.Signals) -> None:
    body = READY + "await life.stopping.wait()\nawait asyncio.sleep(0.1)"
    assert end(start(body), number) == (0, "")


def test_work_that_does_not_is_cancelled_and_a_failure() -> None:
    code, said = end(start(READY + "await asyncio.Event().wait()", 0.3), signal.SIGTERM)
    assert code == 1
    assert "not finished in time seconds=0.3" in said


@pytest.mark.parametrize(
    "stuck", ["time.sleep(600)", "await asyncio.to_thread(time.sleep, 600)"], ids=["loop", "thread"]
)
def test_what_cannot_be_cancelled_does_not_hold_it_up(stuck: str) -> None:
    process = start(READY + "await life.stopping.wait()\n" + stuck, 0.3)
    assert end(process, signal.SIGTERM)[0] == 1


@pytest.mark.parametrize("stuck", ["await asyncio.Event().wait()", "time.sleep(600)"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_second_signal_and_an_end_in_a_hurry_end_what_it_runs(stuck: str, times: int) -> None:
    body = """
from xkeymsg.daemons.common.processes import Program
script = "setsid sleep 600 & echo $! >&2; sleep 600 & echo $! >&2; wait"
program = Program(["/bin/sh", "-c", script], {}, stdin=0, stderr=1)
life.ready()
await life.stopping.wait()
print("stopping", flush=True)
"""
    drain = DEADLINE if times == 2 else 0.3
    with subprocess.Popen(
        [sys.executable, "-c", program_of(body + stuck, drain)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline().strip().isdigit()
        process.terminate()
        assert process.stdout.readline() == "stopping\n"
        if times == 2:
            process.terminate()
        # Its stdout ends when the last process that holds it has ended.
        assert process.stdout.read() == ""
        assert process.wait(DEADLINE) == (-signal.SIGTERM if times == 2 else 1)


def test_before_it_has_begun_a_signal_ends_it_at_once() -> None:
    body = 'print("begun", flush=True)\nawait asyncio.Event().wait()'
    assert end(start(body), signal.SIGTERM) == (0, "")


def test_a_failure_is_said_in_our_words_and_a_foreign_one_by_its_class_alone() -> None:
    code, said = end(start('raise DeliveryError("why")'))
    assert code == 1
    assert said.endswith("error failed code=delivery error=why\n")
    code, said = end(start(f'raise ValueError("{CANARY}")'))
    assert code == 1
    assert "failed error=" in said
    assert "ValueError" in said
    assert CANARY not in said
    assert "Traceback" not in said


def test_what_it_fails_with_while_it_runs_ends_it() -> None:
    body = READY + 'life.fail(DeliveryError("why"))\nawait life.stopping.wait()'
    assert end(start(body))[0] == 1


def test_what_a_task_raises_that_nobody_waits_for_is_said_without_its_text() -> None:
    body = f'''
async def fail():
    raise RuntimeError("{CANARY}")
asyncio.create_task(fail())
await asyncio.sleep(0.05)
import gc; gc.collect()
'''
    code, said = end(start(body))
    assert code == 0
    assert "unexpected error=" in said
    assert CANARY not in said


def test_a_hangup_before_it_has_begun_is_not_forgotten() -> None:
    """What it has loaded already may be older than the files."""
    body = f"""
import os, signal
os.kill(os.getpid(), signal.SIGHUP)
await asyncio.sleep(0.05)
async def load():
    print("loaded", flush=True)
    life.stop()
life.on_reload(load)
{READY}
await life.stopping.wait()
"""
    with start(body) as program:
        assert program.next_line() == "begun"
        assert program.next_line() == "loaded"
        assert program.wait() == 0


def test_loading_again_waits_until_it_has_begun_and_one_that_fails_does_not_end_it(
    tmp_path: Path,
) -> None:
    body = f"""
import os, signal
os.kill(os.getpid(), signal.SIGHUP)
await asyncio.sleep(0.05)
async def fail(): 1 / 0
async def load(): print("loaded", flush=True)
life.on_reload(fail)
life.on_reload(load)
{READY.replace(chr(10), chr(10))}
os.kill(os.getpid(), signal.SIGHUP)
await life.stopping.wait()
"""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(DEADLINE)
        with start(body, NOTIFY_SOCKET=str(tmp_path / "notify")) as program:
            assert program.next_line() == "begun"
            assert program.next_line() == "loaded"
            assert listener.recv(100) == b"READY=1"
            assert listener.recv(100).startswith(b"RELOADING=1\n")
            program.process.terminate()
            code, said = end(program)
    assert code == 0
    assert "unexpected error=" in said
    assert "ZeroDivisionError" in said
