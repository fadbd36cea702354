"""Rollback marks: the rules, and the file that keeps them."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import for_each
from tests.forked import Fork
from tests.running import DEADLINE
from xkeymsg import ConfigurationError, LimitExceededError, RollbackMemory, ValueRollbackError
from xkeymsg.client.memory import Sealing, mark_name

ONE, TWO = b"session1", b"session2"
NAME = mark_name("$KV.config.k")


def accepts(
    memory: RollbackMemory, session: bytes, counter: int, created: int, revision: int
) -> bool:
    try:
        memory.accept(NAME, Sealing(session, counter, created, 0), revision, live=True)
    except ValueRollbackError:
        return False
    return True


def test_k10_the_counter_orders_the_entries_of_one_session() -> None:
    """K-10."""
    memory = RollbackMemory()
    assert accepts(memory, ONE, 5, 100_000, 9)
    assert accepts(memory, ONE, 5, 100_000, 3)  # the same entry, wherever it is stored
    assert not accepts(memory, ONE, 4, 100_000, 10)
    assert not accepts(memory, ONE, 4, 900_000, 10)
    assert accepts(memory, ONE, 6, 100_000, 10)
    assert not accepts(memory, ONE, 5, 100_000, 11)
    assert not accepts(memory, ONE, 7, 94_999, 12)  # its clock went back too far


def test_k11_another_session_may_have_a_slow_clock() -> None:
    """K-11."""
    memory = RollbackMemory(skew=5)
    assert accepts(memory, ONE, 1, 100_000, 10)
    assert not accepts(memory, TWO, 1, 94_999, 11)
    assert not accepts(memory, TWO, 1, 95_000, 10)
    assert accepts(memory, TWO, 1, 95_000, 11)
    assert not accepts(memory, ONE, 1, 100_000, 12)  # it was replaced
    assert not accepts(memory, b"session3", 1, 94_999, 13)  # the bound does not sink


def test_k12_the_number_of_sessions_is_bounded() -> None:
    """K-12: what is forgotten raises the floor."""
    memory = RollbackMemory(skew=5)
    for number in range(70):
        assert accepts(memory, b"%8d" % number, 1, 100_000 + number, number + 1)
    assert not accepts(memory, b"%8d" % 0, 1, 100_000, 80)
    mark = memory.mark(NAME)
    assert mark is not None
    assert len(mark.sessions) <= 64
    assert mark.floor > 100_000
    assert accepts(memory, b"another1", 1, 100_070, 81)


def test_k12_the_number_of_sessions_of_all_keys_is_bounded() -> None:
    """K-12: one key may have many sessions, and all keys eight each."""
    memory = RollbackMemory(keys=10, skew=5)
    for key in range(10):
        for number in range(64):
            sealing = Sealing(b"%8d" % number, 1, 100_000 + number, 0)
            memory.accept(mark_name(f"$KV.config.{key}"), sealing, number + 1, live=True)
    marks = [memory.mark(mark_name(f"$KV.config.{key}")) for key in range(10)]
    assert sum(len(mark.sessions) for mark in marks if mark) <= 8 * 10 + 64
    sealing = Sealing(b"%8d" % 0, 1, 100_000, 0)
    for key in range(10):
        with pytest.raises(ValueRollbackError):
            memory.accept(mark_name(f"$KV.config.{key}"), sealing, 99, live=True)


def test_k13_a_later_time_counts_whatever_the_revision() -> None:
    """K-13."""
    memory = RollbackMemory()
    assert accepts(memory, ONE, 1, 100_000, 10)
    assert accepts(memory, TWO, 1, 100_001, 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(0, 12), st.integers(1, 9)),
        max_size=30,
    )
)
def test_what_was_replaced_never_counts_again(
    steps: list[tuple[int, int, int, int]],
) -> None:
    """Whatever the broker stores again, and under which revision."""
    memory, replaced, newest = RollbackMemory(skew=0.004), set[tuple[int, int]](), None
    times: dict[tuple[int, int], int] = {}
    for session, counter, at, revision in steps:
        entry = (session, counter)
        created = times.setdefault(entry, at)
        if accepts(memory, b"%8d" % session, counter, created, revision):
            assert entry not in replaced
            if newest not in (None, entry):
                replaced.add(newest)
            newest = entry


def test_k14_the_file_keeps_the_marks_and_is_private(tmp_path: Path) -> None:
    """K-14."""
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        assert accepts(memory, ONE, 5, 100_000, 9)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    with RollbackMemory(path) as memory:
        assert not accepts(memory, ONE, 4, 100_000, 10)
        assert len(memory) == 1
    assert b"config" not in path.read_bytes()


def test_two_readers_cannot_share_a_file(tmp_path: Path) -> None:
    with (
        RollbackMemory(tmp_path / "marks"),
        pytest.raises(ConfigurationError, match="in use") as caught,
    ):
        RollbackMemory(tmp_path / "marks")
    assert caught.value.code == "configuration"
    RollbackMemory(tmp_path / "marks").close()


def test_an_incomplete_last_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        assert accepts(memory, ONE, 5, 100_000, 9)
    whole = path.read_bytes()
    for cut in (1, 10):
        path.write_bytes(whole + whole[len(whole.split(b"\n")[0]) + 1 :][:-cut])
        with RollbackMemory(path) as memory:
            assert not accepts(memory, ONE, 4, 100_000, 10)
            assert accepts(memory, ONE, 5, 100_000, 9)


@pytest.mark.parametrize("damage", ["flip", "empty", "text", "zeros", "header", "json", "infinite"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        for number in range(3):
            assert accepts(memory, ONE, 5 + number, 100_000, 9)
    whole = path.read_bytes()
    at = len(whole) // 2
    infinite = b'["AAAA",Infinity,1,1,1,0,[["00",1,1]]]'
    path.write_bytes(
        {
            "flip": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
            "empty": b"",
            "text": b"hello\n",
            "zeros": bytes(100) + b"\n",
            "header": whole.replace(b"memory 1", b"memory 2"),
            "json": whole.split(b"\n")[0] + b"\n00000000 []\n",
            "infinite": whole + b"%08x %b\n" % (zlib.crc32(infinite), infinite),
        }[damage]
    )
    with pytest.raises(ConfigurationError, match="damaged"):
        RollbackMemory(path)
    with pytest.raises(ConfigurationError, match="damaged"):
        RollbackMemory(path)  # and it is not locked


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    RollbackMemory(path).close()
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        RollbackMemory(path)


def test_a_path_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        RollbackMemory(tmp_path / "missing" / "marks")
    (tmp_path / "link").symlink_to(tmp_path / "marks")
    with pytest.raises(ConfigurationError):
        RollbackMemory(tmp_path / "link")


def test_the_file_is_rewritten_when_it_is_mostly_outdated(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        for number in range(1, 10_000):
            assert accepts(memory, ONE, number, 100_000, number)
        assert path.stat().st_size < 5000 * 120
    with RollbackMemory(path) as memory:
        assert not accepts(memory, ONE, 9998, 100_000, 10_001)


def test_the_number_of_keys_is_bounded(tmp_path: Path) -> None:
    with RollbackMemory(tmp_path / "marks", keys=2) as memory:
        for key in ("a", "b"):
            memory.accept(mark_name(f"$KV.c.{key}"), Sealing(ONE, 1, 1, 0), 1, live=True)
        with pytest.raises(LimitExceededError):
            memory.accept(mark_name("$KV.c.d"), Sealing(ONE, 1, 1, 0), 1, live=True)
        memory.accept(mark_name("$KV.c.a"), Sealing(ONE, 2, 1, 0), 2, live=False)


def test_a_mark_that_cannot_be_written_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry is not released either: after a restart it could be rolled back."""
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        assert accepts(memory, ONE, 1, 100_000, 1)
        before = path.read_bytes()
        write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
            with pytest.raises(ConfigurationError, match="cannot write"):
                accepts(memory, ONE, 2, 100_000, 2)
        assert path.read_bytes() == before
        assert accepts(memory, ONE, 2, 100_000, 2)


@for_each("value", [0, -1, 1.5, True, "5"])
def test_an_invalid_number_of_keys_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError):
        RollbackMemory(keys=value)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        RollbackMemory(skew=-1)


def test_an_incomplete_last_line_may_be_long_and_have_no_end(tmp_path: Path) -> None:
    """After a power failure, a file can end with zeros."""
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        assert accepts(memory, ONE, 5, 100_000, 9)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(1 << 20))
    with RollbackMemory(path) as memory:
        assert not accepts(memory, ONE, 4, 100_000, 10)
    path.write_bytes(whole + bytes(1 << 20) + b"\n")
    with pytest.raises(ConfigurationError, match="damaged"):
        RollbackMemory(path)


def test_a_file_of_keys_with_many_writers_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    with RollbackMemory(path, keys=100) as memory:
        for number in range(64 * 200):
            sealing = Sealing(b"%8d" % (number % 64), 10**15 + number, 10**12 + number, 0)
            memory.accept(mark_name(f"$KV.c.{number % 2}"), sealing, 10**15 + number, live=True)
        assert path.stat().st_size < 1 << 20
    with RollbackMemory(path, keys=100) as memory:
        assert len(memory) == 2


PROGRAM = """
    import sys
    from xkeymsg import RollbackMemory
    from xkeymsg.client.memory import Sealing, mark_name
    memory = RollbackMemory(sys.argv[1])
    print("start", flush=True)
    number = int(sys.argv[2])
    while True:
        number += 1
        memory.accept(mark_name(f"{number % 7}"), Sealing(b"session1", number, 5, 0), 1,
                      live=True)
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
"""


def test_a_killed_process_loses_no_mark_that_it_had_released(tmp_path: Path) -> None:
    """kill -9 at ten moments: what was printed is remembered, and the file is whole."""
    path, last = tmp_path / "marks", 0
    for lines in range(1, 3000, 300):
        words = ["tests.snippet", textwrap.dedent(PROGRAM), str(path), str(last)]
        process = Fork(words, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        assert process.stdout.readline() == b"start\n"
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines()
        assert process.wait(DEADLINE) == -signal.SIGKILL
        for each in (process.stdout, process.stderr):
            assert each is not None
            each.close()
        last = max([last + lines, *map(int, rest[:-1])])
        with RollbackMemory(path) as memory:
            mark = memory.mark(mark_name(f"{last % 7}"))
            assert mark is not None
            assert mark.sessions[-1][1] >= last


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_leaves_the_file_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    with RollbackMemory(path) as memory:
        assert accepts(memory, ONE, 1, 100_000, 1)
        before = path.read_bytes()
        child = os.fork()
        if not child:
            accepts(memory, ONE, 2, 100_000, 2)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_bytes() == before
        with pytest.raises(ConfigurationError, match="in use"):
            RollbackMemory(path)
