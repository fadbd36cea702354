"""The rollback marks of one reader in a file (docs/spec/trust.md, T-11 to T-16).

The first line has the marks, each other line an account JWT that counted last: a newer one may have
come from elsewhere than the folder, and the marks refuse the folder's after a restart. A JWT is
verified again when it is read, and one that does not verify is dropped: the marks still count.

The file is replaced as a whole and synced; a lock beside it keeps other processes away. If it
cannot be written, the marks in memory still count, and `error` says why. A damaged file is an
error: empty marks would permit every rollback.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from xkeymsg.ambient import after_fork
from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, TrustError
from xkeymsg.files import decode_file, read_file
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text
from xkeymsg.trust.claims import Account
from xkeymsg.trust.marks import Marks, Seen
from xkeymsg.trust.stores.file import lock_file, replace_private

__all__ = ("MarksFile", "forget_marks", "locked", "read_marks")

_MAX_FILE: Final = 64 << 20
"""Bytes of a file; 10,000 users take 1.9 MB."""
_MOST_TEXT: Final = 16 << 20
"""Bytes of account JWTs that are written."""

_Accounts = dict[str, tuple[Account, ...]]
"""Account JWTs by account; several have the same `iat`, or come from the file and from memory."""


class _Content(NamedTuple):
    """The content of a file."""

    marks: Marks
    accounts: _Accounts

    def dump(self) -> str:
        """Return the text of the file; all JWTs of an account are in it, or none."""
        lines, left = [self.marks.dump()], _MOST_TEXT
        for accounts in self.accounts.values():
            text = "".join(f"{each.claims.text}\n" for each in accounts)
            if len(text) <= left:
                lines.append(text)
                left -= len(text)
        return "".join(lines)

    def merge(self, other: _Content) -> None:
        self.marks.merge(other.marks)
        for account, found in other.accounts.items():
            known = self.accounts.get(account, ())
            texts = {each.claims.text: each for each in (*known, *found)}
            self.accounts[account] = tuple(texts.values())

    @classmethod
    def load(cls, text: str) -> _Content:
        """Read the text of `dump`.

        Raises:
            ConfigurationError: If the marks are damaged.
        """
        first, _, rest = text.partition("\n")
        found: dict[str, list[Account]] = {}
        for line in rest.split("\n"):
            with suppress(TrustError):
                account = Account.decode(line)
                found.setdefault(account.claims.subject, []).append(account)
        return cls(Marks.load(first), {key: tuple(each) for key, each in found.items()})


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
        self._content = _Content(self.marks, {})
        self._saving = Lock()
        self._descriptor: int | None = None
        after_fork(self)
        if self.path is not None:
            try:
                self._take(self.path)
            except OSError as error:
                self.error = _unwritable(self.path, error)
                self._merge(_read(self.path))
            self.marks.changed = not os.path.lexists(self.path)
            self.save()

    def record(
        self,
        seen: Iterable[Seen],
        accounts: Iterable[tuple[Account, ...]] = (),
        *,
        sync: bool = False,
    ) -> None:
        """Raise the marks of admitted claims.

        Args:
            seen: The claims.
            accounts: For some accounts, all JWTs that count; they are kept in the file.
            sync: Whether to write a change to the disk before returning, as far as possible.
        """
        with self.lock:
            changed = self.marks.record(seen)
            for each in accounts:
                account = each[0].claims.subject
                if self._content.accounts.get(account) != each:
                    self._content.accounts[account] = each
                    self.marks.changed = changed = True
        if sync and changed:
            self.save()

    def kept(self, account: str) -> tuple[Account, ...]:
        """Return the JWTs of an account that counted last."""
        return self._content.accounts.get(account, ())

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
                    text, self.marks.changed = self._content.dump(), False
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
            self._merge(_read(path))
        except ConfigurationError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _unlock(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _merge(self, other: _Content) -> None:
        with self.lock:
            self._content.merge(other)

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
    return _read(path).marks


def _read(path: Path) -> _Content:
    try:
        path.lstat()
    except FileNotFoundError:
        return _Content(Marks(), {})
    except (OSError, ValueError):
        pass  # reading it fails too, and says why
    content, _ = read_file(path, ConfigurationError, limit=_MAX_FILE)
    try:
        return _Content.load(decode_file(content, path_text(path), ConfigurationError))
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
    path = Path(path)
    if not os.path.lexists(path):
        raise ConfigurationError(f"{path_text(path)}: no such file")
    read_marks(path)  # without a lock, which would leave a file beside a mistyped path
    try:
        descriptor = locked(path)
        try:
            content = _read(path)
            for subject in subjects:
                if not content.marks.forget(subject):
                    raise ConfigurationError(f"{path_text(path)}: no marks of this key")
                content.accounts.pop(subject, None)  # it would prevail over the older one
            replace_private(path, content.dump())
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
