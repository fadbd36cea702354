"""`RollbackMemory`: the newest entry of each key or object that a reader has opened.

The rules are those of docs/spec/kv.md, "Rollback", and docs/spec/objects.md, B-22. On disk, the
memory is a journal: one line for each change, written in one call before the entry is released. A
process that is killed leaves at most an incomplete last line, which is ignored. The journal is
rewritten when it is mostly outdated.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import zlib
from errno import ENOSPC
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, NamedTuple

from xkeymsg import primitives
from xkeymsg.ambient import after_fork
from xkeymsg.arguments import milliseconds
from xkeymsg.display import SafeRepr
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConfigurationError, LimitExceededError, ValueRollbackError
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import lock_file, replace_private

__all__ = ("RollbackMark", "RollbackMemory", "Sealing", "mark_name", "memory_of")

_LABEL: Final = primitives.label(b"xkm1/rollback-mark")
_SESSIONS: Final = 64
"""Sessions that a mark remembers; more concurrent ones end the tolerance for slow clocks."""
_AVERAGE: Final = 8
"""Sessions of each key, if as many keys are known as the memory may have."""
_COMPACT: Final = 1 << 19
"""Least number of bytes of outdated lines before a journal is rewritten."""
_HEADER: Final = b"xkeymsg-rollback-memory 1\n"
_MAX_FILE: Final = 1 << 30
_MAX_MARK: Final = 1200
"""Bytes of a file for each key: twice a mark with the average number of sessions."""
_MAX_LINE: Final = 1 << 13


class Sealing(NamedTuple):
    """When an entry was sealed, and by which session."""

    session: bytes
    counter: int
    created_ms: int
    expires_ms: int

    @classmethod
    def of(cls, head: Head) -> Sealing:
        """Return that of an entry with this head."""
        session = primitives.digest(_LABEL, head.sender + head.ephemeral, size=8)
        return cls(session, head.counter, head.created_ms, head.expires_ms or 0)

    @classmethod
    def of_message(cls, message: Message) -> Sealing:
        """Return that of an opened message."""
        return cls.of(message._head)  # noqa: SLF001 - private to the package


class RollbackMark(NamedTuple):
    """What is remembered of a key or object."""

    floor: int
    """The least time of sealing of further entries, in milliseconds."""
    high: int
    """The greatest time of sealing."""
    revision: int
    """The revision of the newest entry."""
    live: bool
    """Whether the newest entry is a value, not a tombstone."""
    expires_ms: int
    """When the newest value expires; 0 for never."""
    sessions: tuple[tuple[bytes, int, int], ...]
    """Session, greatest counter, greatest time; the session of the newest entry is last."""


def mark_name(subject: str) -> bytes:
    """Return the name of the mark of the entry with this sealed subject, which it does not show."""
    return primitives.digest(_LABEL, subject.encode(), size=16)


def memory_of(memory: RollbackMemory | None) -> RollbackMemory:
    """Return the memory that a caller gave, or a new one that lasts as long as the object.

    Raises:
        TypeError: If it is not a RollbackMemory.
    """
    if memory is None:
        return RollbackMemory()
    if not isinstance(memory, RollbackMemory):
        raise TypeError(f"memory must be a RollbackMemory, not {type(memory).__name__}")
    return memory


class RollbackMemory(SafeRepr):
    """Rollback marks of one reader; without a path, they last as long as the object.

        with RollbackMemory("reader.marks") as memory:
            bucket = client.kv("config", memory=memory)
            store = client.objects("scans", memory=memory)

    One object may serve several buckets of one cluster, of both kinds. Thread-safe. In a forked
    child, the marks are in memory only: the file is the parent's.
    """

    @refusing
    def __init__(
        self, path: str | Path | None = None, *, keys: int = 1_000_000, skew: float = 5.0
    ) -> None:
        """Read the file, if there is one, and lock it.

        Args:
            path: The file of this reader alone, mode 0600; created if missing.
            keys: The greatest number of keys and objects; about 300 bytes each. Beyond it, further
                ones are refused: forgetting marks would permit rollbacks.
            skew: How many seconds the clocks of two writers of one key may differ. Writers of
                objects wait for each other instead.

        Raises:
            ConfigurationError: If the file cannot be read or written, is damaged, or is in use by
                another process; or a value is invalid.
            TypeError: If an argument has the wrong type.
        """
        if type(keys) is not int or keys <= 0:
            raise ConfigurationError("keys must be an int above 0")
        self.most = keys
        """The greatest number of keys."""
        self._skew = milliseconds("skew", skew)
        if self._skew < 0:
            raise ConfigurationError("skew must not be negative")
        self.path = None if path is None else Path(path)
        self._marks: dict[bytes, RollbackMark] = {}
        self._lock = Lock()
        self._parent: RollbackMemory | None = None
        self._sessions = 0
        self._compacted = 0  # bytes of the file after it was rewritten
        self._lock_descriptor: int | None = None
        self._journal: int | None = None
        after_fork(self)
        if self.path is not None:
            try:
                self._open(self.path)
            except BaseException:
                self._release()
                raise

    def mark(self, name: bytes) -> RollbackMark | None:
        """Return what is remembered of a key."""
        return self._marks.get(name)

    def accept(
        self,
        name: bytes,
        sealing: Sealing,
        revision: int,
        *,
        live: bool,
        exact: bool = False,
        keep: bool = True,
    ) -> None:
        """Check an entry that the broker presents as the newest of its key, and remember it.

        Args:
            name: The name of its mark.
            sealing: When and by which session it was sealed.
            revision: The revision that the broker reports.
            live: Whether it is a value or object, not a tombstone.
            exact: Whether writers wait for each other's clocks: then `skew` is 0.
            keep: Whether to remember it.

        Raises:
            ValueRollbackError: If it is older than the newest one opened before (K-10 to
                K-13, B-22).
            LimitExceededError: If there are too many keys.
            ConfigurationError: If the file cannot be written.
        """
        with self._lock:
            old = self._marks.get(name)
            most = _SESSIONS if self._sessions < _AVERAGE * self.most else _AVERAGE
            new = _next(old, sealing, revision, live, 0 if exact else self._skew, most)
            if new == old or not keep:
                return
            if old is None and len(self._marks) >= self.most:
                raise LimitExceededError("keys in the memory", len(self._marks) + 1, self.most)
            if self._parent is not None:
                with contextlib.suppress(ValueRollbackError):  # it knows a newer entry
                    self._parent.accept(name, sealing, revision, live=live, exact=exact)
            if self._journal is not None:
                self._write(name, new)
            self._marks[name] = new
            self._sessions += len(new.sessions) - (0 if old is None else len(old.sessions))

    def view(self) -> RollbackMemory:
        """Return a memory for one watch, with the present marks; what it accepts is kept here, too.

        A watch delivers entries in their order, but later than `get` and `put` may see newer ones:
        it is checked against what was known when it began, and what it has delivered since.
        """
        view = RollbackMemory(keys=self.most, skew=self._skew / 1000)
        with self._lock:
            view._marks, view._sessions = dict(self._marks), self._sessions
        view._parent = self
        return view

    def close(self) -> None:
        """Sync the file and unlock it; the marks stay in memory."""
        with self._lock:
            if self._journal is not None:
                os.fsync(self._journal)
            self._release()

    def __enter__(self) -> RollbackMemory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._marks)

    # --- the file ---------------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        try:
            self._lock_descriptor = lock_file(path.with_name(f"{path.name}.lock"))
        except BlockingIOError:
            raise ConfigurationError(
                f"{path_text(path)}: in use by another reader; give each its own memory file"
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from None
        self._marks = _load(path, max(_MAX_FILE, _MAX_MARK * self.most))
        self._sessions = sum(len(each.sessions) for each in self._marks.values())
        self._compact(path)

    def _compact(self, path: Path) -> None:
        """Replace the file by one with the present marks, and open it for appending."""
        lines = (_line(name, mark) for name, mark in self._marks.items())
        text = "".join([_HEADER.decode(), *lines])
        try:
            replace_private(path, text)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            journal = os.open(path, flags)
        except OSError as error:
            raise _unwritable(path, error) from None
        if self._journal is not None:
            os.close(self._journal)
        self._journal, self._compacted = journal, len(text)

    def _write(self, name: bytes, mark: RollbackMark) -> None:
        assert self._journal is not None  # noqa: S101 - checked by the caller
        assert self.path is not None  # noqa: S101 - a journal has a path
        line = _line(name, mark).encode()
        try:
            end = os.fstat(self._journal).st_size
            if end > 2 * self._compacted + _COMPACT:
                self._compact(self.path)
                end = self._compacted
            if os.write(self._journal, line) != len(line):
                os.ftruncate(self._journal, end)
                raise _unwritable(self.path, OSError(ENOSPC, os.strerror(ENOSPC)))
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def _release(self) -> None:
        for descriptor in (self._journal, self._lock_descriptor):
            if descriptor is not None:
                os.close(descriptor)
        self._journal = self._lock_descriptor = None

    def _after_fork(self) -> None:
        self._lock = Lock()
        self._release()  # the parent's descriptor keeps the lock
        self.path = None

    def __repr__(self) -> str:
        return f"<RollbackMemory of {len(self._marks)} keys>"


def _next(
    old: RollbackMark | None, sealing: Sealing, revision: int, live: bool, skew: int, most: int
) -> RollbackMark:
    """Return the mark after an entry, with this many sessions; see docs/spec/kv.md, "Rollback"."""
    session, counter, created, expires = sealing
    if old is None:
        return RollbackMark(0, created, revision, live, expires, ((session, counter, created),))
    newest, highest, _ = old.sessions[-1]
    if newest == session and counter == highest:
        return old  # the same entry, wherever the broker stores it
    known = next((each for each in old.sessions if each[0] == session), None)
    if known is not None and counter <= known[1]:
        raise ValueRollbackError("older than an entry of the same session that was opened before")
    least = max(old.floor, old.high - skew)
    if created < least or (created <= old.high and newest != session and revision <= old.revision):
        raise ValueRollbackError("older than an entry of this key that was opened before")
    high = max(old.high, created)
    others = [each for each in old.sessions if each[0] != session and each[2] >= high - skew]
    floor = old.floor
    while len(others) >= most:
        oldest = min(others, key=lambda each: each[2])
        floor = max(floor, oldest[2] + 1)
        others.remove(oldest)
    latest = created if known is None else max(known[2], created)
    return RollbackMark(floor, high, revision, live, expires, (*others, (session, counter, latest)))


def _line(name: bytes, mark: RollbackMark) -> str:
    sessions = [[each.hex(), counter, at] for each, counter, at in mark.sessions]
    text = json.dumps(
        [base64.b64encode(name).decode(), *mark[:3], int(mark.live), mark.expires_ms, sessions],
        separators=(",", ":"),
    )
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _load(path: Path, limit: int) -> dict[bytes, RollbackMark]:
    """Read a journal; an incomplete last line is ignored.

    Raises:
        ConfigurationError: If it cannot be read, or is damaged: empty marks would permit rollbacks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            marks = _parse(file) if status.st_size <= limit else None
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {path_text(path)}: {error.strerror}") from None
    if status.st_mode & 0o077:
        raise ConfigurationError(f"{path_text(path)}: others can access it; chmod 600 it")
    if marks is None:
        raise ConfigurationError(
            f"{path_text(path)}: damaged; restore the file, or remove it, which permits rollbacks"
            " to older values until newer ones are seen"
        )
    return marks


def _parse(file: BinaryIO) -> dict[bytes, RollbackMark] | None:
    """Return the marks of a journal; None if it is damaged."""
    marks: dict[bytes, RollbackMark] = {}
    if file.readline(len(_HEADER)) != _HEADER:
        return None
    try:
        while (line := file.readline(_MAX_LINE)).endswith(b"\n"):
            checksum, _, text = line[:-1].partition(b" ")
            if int(checksum, 16) != zlib.crc32(text):
                return None
            name, floor, high, revision, live, expires, seen = json.loads(text)
            sessions = tuple((bytes.fromhex(each), int(n), int(at)) for each, n, at in seen)
            if not sessions:
                return None
            mark = RollbackMark(
                int(floor), int(high), int(revision), bool(live), int(expires), sessions
            )
            marks[base64.b64decode(name, validate=True)] = mark
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    while rest := file.read(_COMPACT):  # of an incomplete last line
        if b"\n" in rest:
            return None
    return marks


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot write {path_text(path)}: {error.strerror}")
