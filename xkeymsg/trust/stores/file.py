"""Seed files, readable only by their owner."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from xkeymsg.errors import KeyFormatError, KeyStoreError
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import SigningKey, is_public, is_seed
from xkeymsg.protected_seed import is_protected, key_of_seed
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text, without_mark

__all__ = (
    "lock_file",
    "parse_seed",
    "read_private",
    "read_private_text",
    "read_seed",
    "replace_private",
    "seed_line",
    "sync_folder",
    "write_private",
    "write_seed",
)

_MAX_FILE: Final = 4096
_INHERITED: Final = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
"""Paths of our own open descriptors; nobody else can put another file there."""


@refusing
def read_seed(path: str | Path, *, group_may_read: bool = False) -> XKeyPair:
    """Read a key pair from a file that holds one seed `SX…`; lines that begin with # are skipped.

    See `read_private` for the files that are refused.

    Args:
        path: The file.
        group_may_read: Whether its group may read it.

    Raises:
        KeyStoreError: If the file cannot be read, is open to others, or does not hold a seed. The
            message shows nothing of its contents.
        TypeError: If `path` is neither a str nor a Path.
    """
    where, text = path_text(path), read_private_text(path, group_may_read=group_may_read)
    seed = _only_seed(text, where, "SX…")
    try:
        return XKeyPair.from_seed(seed)
    except KeyFormatError as error:
        raise KeyStoreError(f"{where}: {error}") from None


@refusing
def parse_seed(text: str, where: str, form: str = "S…") -> XKeyPair | SigningKey:
    """Return the key of the one seed in a text.

    Args:
        text: The text; lines that begin with # are skipped.
        where: Its origin, for errors.
        form: The expected seed, for errors.

    Raises:
        KeyStoreError: If it does not hold one.
    """
    seed = _only_seed(text, where, form)
    try:
        return key_of_seed(seed)
    except KeyStoreError as error:
        raise KeyStoreError(f"{where}: {error}") from None


@refusing
def read_private(
    path: str | Path, *, group_may_read: bool = False, limit: int = _MAX_FILE
) -> bytes:
    """Return the content of a file with a secret.

    A file is refused if its group or others may access it, or if it belongs to another user than
    root and our own. An inherited pipe or terminal (`/dev/stdin`, a process substitution) is not
    checked: its permissions are those of the program at its other end.

    Args:
        path: The file.
        group_may_read: Whether its group may read it, for modes that show an access control list,
            and for groups of a container.
        limit: The greatest size in bytes.

    Raises:
        KeyStoreError: If it cannot be read, is open to others, or is larger than `limit`. The
            message shows nothing of its contents.
        TypeError: If `path` is neither a str nor a Path.
    """
    if is_seed(str(path)):
        raise KeyStoreError("expected the path of a seed file, not a secret seed")
    if is_public(str(path)):
        raise KeyStoreError("expected the path of a seed file, not a public key")
    path = _path(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(limit + 1)
    except OSError as error:
        raise KeyStoreError(f"cannot read {path_text(path)}: {error.strerror}") from error
    where = path_text(path)
    refused = 0o037 if group_may_read else 0o077
    regular = stat.S_ISREG(status.st_mode)
    checked = regular or not str(path).startswith(_INHERITED)
    if checked and not is_public(_text(content).strip()):
        if status.st_mode & refused and not stat.S_ISCHR(status.st_mode):
            mode = stat.S_IMODE(status.st_mode)
            raise KeyStoreError(f"{where} has mode {mode:04o}: others can read it; {_remedy(path)}")
        if status.st_uid not in (0, os.geteuid()):
            raise KeyStoreError(
                f"{where} belongs to user {status.st_uid}, who can read and replace it; chown it"
            )
    if len(content) > limit:
        raise KeyStoreError(f"{where} is too large for a seed file")
    return content


@refusing
def read_private_text(
    path: str | Path, *, group_may_read: bool = False, limit: int = _MAX_FILE
) -> str:
    """Return the text of a file with a secret; raises as `read_private`."""
    return _text(read_private(path, group_may_read=group_may_read, limit=limit))


def _remedy(path: Path) -> str:
    """Say how to restrict a file; the files of a Kubernetes secret cannot be changed in place."""
    if not (path.parent / "..data").is_symlink():
        return "chmod 600 it"
    return (
        "in the pod's secret volume, set defaultMode: 0400; or, with an fsGroup, defaultMode: 0440"
        ' and key_store = "file:group_may_read PATH"'
    )


def _path(path: object) -> Path:
    if not isinstance(path, (str, Path)):
        raise TypeError(f"a path is a str or a Path, not {type(path).__name__}")
    if "\0" in str(path):
        raise KeyStoreError("the path contains a NUL")
    return Path(path)


def _text(content: bytes) -> str:
    return without_mark(content).decode("ascii", "replace")


def seed_line(text: str, where: str, form: str) -> str:
    """Return the one line that is not a comment, or the public key that `nk -pubout` adds.

    Raises:
        KeyStoreError: If there is not exactly one.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    seeds = [line for line in lines if not is_public(line)] or lines
    if len(seeds) != 1:
        found = f"found {len(seeds)}" if seeds else "found only comments and blank lines"
        raise KeyStoreError(f"{where}: expected one line with a seed {form}, {found}")
    return seeds[0]


def _only_seed(text: str, where: str, form: str) -> str:
    line = seed_line(text, where, form)
    if is_protected(line):
        raise KeyStoreError(
            f"{where} is protected with a passphrase: use the key store protected:PATH"
        )
    return line


@refusing
def write_seed(path: str | Path, pair: XKeyPair) -> None:
    """Write a new seed file: created with mode 0600, never over another file.

    Raises:
        KeyStoreError: If `path` exists, or cannot be written; no partial file is left then.
        TypeError: If `path` is neither a str nor a Path.
    """
    write_private(path, f"# public key: {pair.public}\n{pair.seed()}\n")


@refusing
def write_private(path: str | Path, text: str) -> None:
    """Write a new file with a secret: created with mode 0600, never over another file; synced.

    Raises:
        KeyStoreError: If `path` exists, or cannot be written; no partial file is left then.
        TypeError: If `path` is neither a str nor a Path.
    """
    path = _path(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise KeyStoreError(
            f"{path_text(path)} already exists; keys are never overwritten"
        ) from error
    except OSError as error:
        raise KeyStoreError(f"cannot write {path_text(path)}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyStoreError(f"cannot write {path_text(path)}: {error.strerror}") from error


def replace_private(path: Path, text: str) -> None:
    """Replace a file as a whole, mode 0600, and wait until the disk has it; hold a lock meanwhile.

    An interruption leaves the old file or the new one, and perhaps `NAME.new`, which the next call
    deletes: another user may have created it, and could read what is written to it.

    Raises:
        OSError: If it cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    if not new.is_symlink():  # somebody's, which is an error
        new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def lock_file(path: Path) -> int:
    """Lock a file, created if missing; return the descriptor that holds the lock until closed.

    Raises:
        BlockingIOError: If another process has locked it.
        OSError: If it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk: a synced file without its name is lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
