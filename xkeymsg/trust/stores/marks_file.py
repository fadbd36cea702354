"""The rollback marks of one reader in a file (docs/spec/trust.md, T-11 to T-16).

The file is replaced as a whole and synced; a lock beside it keeps other processes away. If it
cannot be written, the marks in memory still count, and `error` says why. A damaged file is an
error: empty marks would permit every rollback.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Final

from xkeymsg.ambient import after_fork
from xkeymsg.errors import ConfigurationError
from xkeymsg.files import decode_file, read_file
from xkeymsg.refusals import refusing
from xkeymsg.shown import SafeRepr
from xkeymsg.text import path_text
from xkeymsg.trust.marks import Marks, Seen
from xkeymsg.trust.stores.file import lock_file, replace_private

__all__ = ("MarksFile", "forget_marks", "locked", "merge_marks", "read_marks")

_MAX_FILE: Final = 64 << 20
"""Bytes of a file; 10,000 users take 1.9 MB."""


class _NotedMarks(Marks):
    """Marks that know whether they have changed."""

    __slots__ = ("changed",)

    def __init__(self) -> None:
        super().__init__()
        self.changed = False

    def record(self, seen: Iterable[Seen]) -> bool:
        changed = super().record(seen)
        self.changed |= changed
        return changed

    def record_certificate(self, user: str, not_before: int) -> bool:
        changed = super().record_certificate(user, not_before)
        self.changed |= changed
        return changed


class MarksFile(SafeRepr):
    """Rollback marks that survive the process; without a path, they last as long as the process.

    Thread-safe. In a forked child, the marks are in memory only: the file is the parent's.
    """

    @refusing
    def __init__(self, path: str | Path | None = None) -> None:
        """Read the file, if there is one, and lock it.

        Args:
            path: The file of this reader alone; created if missing.

        Raises:
            ConfigurationError: If it cannot be read, is damaged, or is in use by another process.
        """
        self.path = None if path is None else Path(path)
        self.error: ConfigurationError | None = None
        """Why the newest marks are not in the file; None if they are."""
        self.lock = Lock()
        """Hold it while using `marks`."""
        self.marks = _NotedMarks()
        """Raise them under the lock only; `save` writes what has changed."""
        self._saving = Lock()
        self._descriptor: int | None = None
        after_fork(self)
        if self.path is not None:
            try:
                self._take(self.path)
            except OSError as error:
                self.error = _unwritable(self.path, error)
                self._merge(read_marks(self.path))
            self.marks.changed = not os.path.lexists(self.path)
            self.save()

    def record(self, seen: Iterable[Seen], *, sync: bool = False) -> None:
        """Raise the marks of admitted claims.

        Args:
            seen: The claims.
            sync: Whether to write a change to the disk before returning, as far as possible.
        """
        with self.lock:
            changed = self.marks.record(seen)
        if sync and changed:
            self.save()

    def save(self) -> None:
        """Write the marks if the file lacks any; `error` keeps a failure until a call succeeds.

        For 10,000 users it takes about 15 ms; call it once a second.
        """
        path = self.path
        if path is None or not (self.marks.changed or self.error):
            return
        with self._saving:
            try:
                if self._descriptor is None:
                    self._take(path)
                with self.lock:
                    text, self.marks.changed = self.marks.dump(), False
                replace_private(path, text)
            except OSError as error:
                self.marks.changed, self.error = True, _unwritable(path, error)
            except ConfigurationError as error:
                self.marks.changed, self.error = True, error
            else:
                self.error = None

    def close(self) -> None:
        """Write the marks, and unlock the file."""
        self.save()
        self._unlock()
        self.path = None

    def _take(self, path: Path) -> None:
        """Lock the file, and read it after that: its last owner may just have written it."""
        descriptor = locked(path)
        try:
            self._merge(read_marks(path))
        except ConfigurationError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _unlock(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _merge(self, other: Marks) -> None:
        with self.lock:
            self.marks.merge(other)

    def _after_fork(self) -> None:
        self.lock, self._saving = Lock(), Lock()
        self._unlock()  # the parent's descriptor keeps the lock
        self.path = None

    def __repr__(self) -> str:
        return f"<MarksFile {'in memory' if self.path is None else repr(str(self.path))}>"


def read_marks(path: Path) -> Marks:
    """Read marks without locking them; empty if there is no file.

    Raises:
        ConfigurationError: If the file cannot be read, or is damaged.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return Marks()
    except (OSError, ValueError):
        pass  # reading it fails too, and says why
    content, _ = read_file(path, ConfigurationError, limit=_MAX_FILE)
    try:
        return Marks.load(decode_file(content, path_text(path), ConfigurationError))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path_text(path)}: {error}; restore the file, or remove it, which permits rollbacks"
            " to older claims until newer ones are seen"
        ) from None


@refusing
def forget_marks(path: str | Path, subjects: Iterable[str]) -> None:
    """Drop the marks of operators, accounts or users: an administrator's decision (T-16).

    Raises:
        ConfigurationError: If the file is damaged, in use, or cannot be written; or there are no
            marks of a subject. Nothing is dropped then.
    """
    path, subjects = Path(path), tuple(subjects)

    def forget(marks: Marks) -> None:
        for subject in subjects:
            if not marks.forget(subject):
                raise ConfigurationError(f"{path_text(path)}: no marks of this key")

    if not os.path.lexists(path):
        raise ConfigurationError(f"{path_text(path)}: no such file")
    read_marks(path)  # without a lock, which would leave a file beside a mistyped path
    _edit(path, forget)


@refusing
def merge_marks(path: str | Path, others: Iterable[str | Path]) -> None:
    """Raise the marks of a file to those of other files (T-15).

    Raises:
        ConfigurationError: If a file is damaged, or `path` is in use or cannot be written.
    """

    def merge(marks: Marks) -> None:
        for other in others:
            marks.merge(read_marks(Path(other)))

    _edit(Path(path), merge)


def _edit(path: Path, change: Callable[[Marks], None]) -> None:
    try:
        descriptor = locked(path)
        try:
            marks = read_marks(path)
            change(marks)
            replace_private(path, marks.dump())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unwritable(path, error) from None


def locked(path: Path) -> int:
    """Lock the file; return the descriptor that holds the lock until it is closed."""
    try:
        return lock_file(path.with_name(f"{path.name}.lock"))
    except BlockingIOError:
        raise ConfigurationError(
            f"{path_text(path)}: in use by another process; give each daemon its own file of marks"
        ) from None


def _unwritable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(f"cannot write {path_text(path)}: {error.strerror}")
