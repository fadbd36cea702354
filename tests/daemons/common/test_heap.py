"""A burst of messages leaves nothing resident."""

from __future__ import annotations

import asyncio
import gc
import platform
import subprocess
import sys
import types
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.running import DEADLINE
from tests.trust.store import Store
from xkeymsg.daemons.common import directory, heap, lifecycle
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.logs import Log
from xkeymsg.daemons.common.sections import SourcesSection
from xkeymsg.directory.report import DirectoryReport

GLIBC = platform.libc_ver()[0] == "glibc"

BURST = """
from pathlib import Path
from xkeymsg.daemons.common.heap import give_back

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))

before = resident()
waiting = [bytes(1000) + b"%d" % number for number in range(20_000)]
last = bytes(1000) + b"in use"  # one small thing behind all of it
del waiting
kept = resident() - before
give_back()
print(kept, resident() - before)
"""


@pytest.mark.skipif(not GLIBC, reason="another C library gives memory back in its own way")
def test_what_was_freed_is_given_back_and_is_not_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BURST], capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    kept, left = map(int, done.stdout.split())
    assert kept > 15_000, "KB: the allocator keeps it as long as something lies behind it"
    assert left < 3_000


@pytest.mark.parametrize("module", [None, types.ModuleType("ctypes")])
def test_where_it_cannot_be_done_it_is_not(
    module: types.ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another C library has no such function, and Python may be built without ctypes.
    if module is not None:
        module.CDLL = lambda _: object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ctypes", module)
    assert heap.find_trim()(0) is None


async def test_a_daemon_gives_back_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    given = asyncio.Event()
    monkeypatch.setattr(lifecycle, "GIVE_BACK", 0.0)
    monkeypatch.setattr(lifecycle, "give_back", given.set)
    life = lifecycle.Lifecycle(Log("test"), Health(), 1.0)
    ticking = asyncio.create_task(life.tick())
    try:
        async with asyncio.timeout(DEADLINE):
            await given.wait()
    finally:
        ticking.cancel()


async def test_the_first_load_is_set_aside_and_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector looks at none of it again; garbage of later times is still found."""
    calls = list[None]()
    monkeypatch.setattr(directory, "set_aside", lambda: calls.append(None))
    monkeypatch.setattr(directory, "SETTLING", 0.0)
    states = iter([(False, 0), (True, 7), (True, 0), (True, 0), (True, 9), (True, 0)])
    trust = Store(tmp_path / "HOSPITAL").load()
    found = directory.DaemonDirectory(
        SourcesSection.model_construct(), trust, Log("test"), Health(), CollectorRegistry()
    )
    report = found.directory.report()

    def state() -> DirectoryReport:
        loaded, unverified = next(states)
        return report._replace(loaded=loaded, unverified=unverified)

    monkeypatch.setattr(found.directory, "report", state)
    await found.settle()
    await found.settle()  # the connection is another one
    assert len(calls) == 3


def test_what_is_set_aside_is_not_collected() -> None:
    before = gc.get_freeze_count()
    try:
        heap.set_aside()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
