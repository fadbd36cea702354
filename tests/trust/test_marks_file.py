"""Rollback marks on disk: durable, locked, never silently empty (T-12 to T-16)."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.trust.chains.world import Key
from xkeymsg.errors import ConfigurationError
from xkeymsg.nkey import Prefix
from xkeymsg.trust.marks import Marks, Seen
from xkeymsg.trust.stores import marks_file
from xkeymsg.trust.stores.marks_file import MarksFile, forget_marks, read_marks

ACCOUNT = Key(Prefix.ACCOUNT, "marks file").public
USER = Key(Prefix.USER, "marks file").public
ISSUER = Key(Prefix.OPERATOR, "marks file").public
OTHER = Key(Prefix.OPERATOR, "another").public


def issued(marks: Marks) -> Any:
    return json.loads(marks.dump())["issued"]


def newest(marks: Marks, subject: str = ACCOUNT, issuer: str = ISSUER) -> int:
    """The greatest `iat` below which the marks refuse a claim."""
    mark: int = issued(marks).get(subject, {}).get(issuer, 0)
    return mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "marks.json"


def test_a_synced_mark_is_on_disk_when_record_returns(path: Path) -> None:
    file = MarksFile(path)
    file.record([Seen(ACCOUNT, ISSUER, 5)], sync=True)
    assert newest(read_marks(path)) == 5
    file.record([Seen(ACCOUNT, ISSUER, 7)])
    assert newest(read_marks(path)) == 5  # written once a second
    file.save()
    assert newest(read_marks(path)) == 7


def test_marks_survive_the_process(path: Path) -> None:
    file = MarksFile(path)
    file.record([Seen(ACCOUNT, ISSUER, 5)])
    with file.lock:
        file.marks.record_certificate(USER, 9)
    file.close()
    again = MarksFile(path)
    assert (newest(again.marks), again.marks.certified(USER)) == (5, 9)


def test_only_the_owner_can_read_the_file(path: Path) -> None:
    MarksFile(path).record([Seen(ACCOUNT, ISSUER, 5)], sync=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_anchor_is_in_the_file(path: Path) -> None:
    """T-13."""
    MarksFile(path).record([Seen(ACCOUNT, ISSUER, 5), Seen(USER, ACCOUNT, 6)], sync=True)
    assert "anchor" not in path.read_text()
    assert set(issued(read_marks(path))) == {ACCOUNT, USER}


def test_without_a_path_marks_last_for_the_process() -> None:
    file = MarksFile()
    file.record([Seen(ACCOUNT, ISSUER, 5)], sync=True)
    file.save()
    assert newest(file.marks) == 5
    assert file.error is None


def test_two_daemons_cannot_share_a_file(path: Path) -> None:
    first = MarksFile(path)
    with pytest.raises(ConfigurationError, match="in use by another process"):
        MarksFile(path)
    with pytest.raises(ConfigurationError, match="in use by another process"):
        forget_marks(path, [ACCOUNT])
    first.close()
    MarksFile(path).close()


def test_a_successor_reads_what_its_predecessor_wrote_last(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The predecessor writes and unlocks the file at any time before the successor locks it."""
    first = MarksFile(path)
    first.record([Seen(ACCOUNT, ISSUER, 5)])
    locked = marks_file.locked

    def closing(path: Path) -> int:
        first.close()
        return locked(path)

    monkeypatch.setattr(marks_file, "locked", closing)
    second = MarksFile(path)
    second.record([Seen(USER, ACCOUNT, 6)], sync=True)
    assert newest(second.marks) == newest(read_marks(path)) == 5


def test_a_lock_that_was_refused_at_the_start_is_taken_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    MarksFile(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(marks_file, "locked", refused)
        file = MarksFile(path)
    assert file.error is not None
    file.save()  # although no mark has changed
    assert file.error is None


def refused(path: Path) -> int:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_file_damaged_before_it_can_be_locked_is_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(marks_file, "locked", refused)
        file = MarksFile(path)
    path.write_bytes(b"damaged")
    for _ in range(2):
        file.save()
        assert "damaged" in str(file.error)
    assert path.read_bytes() == b"damaged"


def test_a_damaged_file_is_unlocked_again(path: Path) -> None:
    path.write_bytes(b"damaged")
    with pytest.raises(ConfigurationError, match="damaged"):
        MarksFile(path)
    path.unlink()
    MarksFile(path).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        file = MarksFile(tmp_path / "marks.json")
        assert file.error is not None
    finally:
        tmp_path.chmod(0o700)


def test_an_unwritable_file_still_counts_in_memory_and_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "later" / "marks.json"
    file = MarksFile(path)
    file.record([Seen(ACCOUNT, ISSUER, 5)], sync=True)
    assert "cannot write" in str(file.error)
    assert newest(file.marks) == 5
    path.parent.mkdir()
    # Marks that another process left there meanwhile are not lost.
    other = Marks()
    other.record([Seen(USER, ACCOUNT, 3)])
    path.write_text(other.dump())
    file.save()
    assert file.error is None
    found = read_marks(path)
    assert (newest(found), newest(found, USER, ACCOUNT)) == (5, 3)


def test_a_lost_file_is_written_again(path: Path) -> None:
    file = MarksFile(path)
    file.record([Seen(ACCOUNT, ISSUER, 5)], sync=True)
    path.unlink()
    file.record([Seen(ACCOUNT, ISSUER, 6)], sync=True)
    assert newest(read_marks(path)) == 6


def test_a_first_start_creates_the_file(path: Path) -> None:
    MarksFile(path)
    assert read_marks(path).dump() == Marks().dump()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"version":1}'])
def test_a_damaged_file_is_an_error_that_says_what_to_do(path: Path, content: bytes) -> None:
    """T-15."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=str(path)):
        MarksFile(path)
    assert path.read_bytes() == content


def test_a_file_that_anyone_may_write_is_refused(path: Path) -> None:
    path.write_text(Marks().dump())
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="world-writable"):
        MarksFile(path)


def test_a_dangling_symlink_is_not_an_empty_file(path: Path) -> None:
    path.symlink_to(path.with_name("gone"))
    with pytest.raises(ConfigurationError):
        MarksFile(path)


def test_a_symlink_at_the_temporary_name_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "marks.json.new").symlink_to(victim)
    file = MarksFile(path)
    file.record([Seen(ACCOUNT, ISSUER, 5)], sync=True)
    assert file.error is not None
    assert victim.read_text() == "kept"


def test_an_administrator_can_forget_the_marks_of_a_key(path: Path) -> None:
    """T-16."""
    file = MarksFile(path)
    file.record([Seen(ACCOUNT, ISSUER, 5), Seen(USER, ACCOUNT, 6)])
    file.close()
    with pytest.raises(ConfigurationError, match="no marks"):
        forget_marks(path, [USER, OTHER])
    assert newest(read_marks(path), USER, ACCOUNT) == 6
    forget_marks(path, [USER])
    assert newest(read_marks(path), USER, ACCOUNT) == 0
    assert newest(read_marks(path)) == 5


def test_a_mistyped_path_of_marks_is_an_error_and_leaves_no_file(path: Path) -> None:
    other = path.with_name("other.json")
    other.write_text("{}")
    other.chmod(0o600)
    for wrong in (path, other):
        with pytest.raises(ConfigurationError):
            forget_marks(wrong, ["A" * 56])
    assert list(path.parent.iterdir()) == [other]


def test_a_forked_child_does_not_write_the_file_of_its_parent(path: Path) -> None:
    file = MarksFile(path)
    child = os.fork()
    if not child:
        file.record([Seen(ACCOUNT, ISSUER, 99)], sync=True)
        os._exit(0)
    os.waitpid(child, 0)
    assert newest(read_marks(path)) == 0
    with pytest.raises(ConfigurationError, match="in use"):  # the lock is still the parent's
        MarksFile(path)
