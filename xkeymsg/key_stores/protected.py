"""Seed files that are protected with a passphrase."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from xkeymsg.ambient import random_bytes
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.passphrases import TERMINAL, new_passphrase, read_passphrase
from xkeymsg.key_stores.released_key import MOST_SECRET, ReleasedKey, ReleasingProvider
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.protected_seed import (
    SALT_SIZE,
    ProtectedSeed,
    is_protected,
    protect,
    public_of_seed,
)
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import (
    read_private,
    read_private_text,
    replace_private,
    seed_line,
    sync_folder,
    write_private,
)

__all__ = (
    "ProtectedProvider",
    "change_passphrase",
    "parse_protected",
    "protected_text",
    "release",
)

_SOURCE: Final = "passphrase="
_GROUP: Final = "group_may_read"
_released: Final[dict[str, str]] = {}
"""Seeds by line of a file: a reload neither asks for the passphrase nor derives the key again."""
_MOST: Final = 32
_lock: Final = Lock()


class _Address(NamedTuple):
    path: Path
    source: str
    group_may_read: bool


class ProtectedProvider(ReleasingProvider):
    """Protected seed files.

    An address is a path, or words quoted as in a shell: `passphrase=STORE`, by default the
    terminal, `group_may_read`, and the path.
    """

    addressed_by = "Path"

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return the seed of a protected file."""
        path, source, group_may_read = _parsed(address)
        text = read_private(path, group_may_read=group_may_read, limit=limit)
        return release(text.decode("ascii", "replace"), path_text(path), source).encode()

    def facts(self, address: str) -> Sequence[str]:
        """Return the file, and what protects it."""
        path, source, _ = _parsed(address)
        kind = source.partition(":")[0]
        return (
            f"file {path_text(path)}, protected with a passphrase (from: {kind})",
            "the seed is in memory while the program runs",
        )

    @refusing
    def create(self, address: str, kind: Prefix) -> ReleasedKey:
        """Generate a key in a new file, mode 0600."""
        return self.put(address, encode_seed(kind, random_bytes(32)))

    @refusing
    def put(self, address: str, seed: str) -> ReleasedKey:
        """Write a seed to a new file, mode 0600, protected with a passphrase."""
        path, source, _ = _parsed(address)
        key = ReleasedKey(seed, self.facts(address))
        if path.exists():
            raise KeyStoreError(f"{path_text(path)} already exists; keys are never overwritten")
        write_private(path, protected_text(seed, new_passphrase(source, path_text(path))))
        return key

    @refusing
    def delete(self, address: str, public: str) -> None:
        """Delete the file if it has this public key; the disk may keep it."""
        path, _, group_may_read = _parsed(address)
        text = read_private_text(path, group_may_read=group_may_read)
        if parse_protected(text, path_text(path)).public != public:
            raise KeyStoreError(f"{path_text(path)} holds another key")
        try:
            path.unlink()
            sync_folder(path.parent)
        except OSError as error:
            raise KeyStoreError(f"cannot delete {path_text(path)}: {error.strerror}") from None

    def certificates(self, address: str) -> Mapping[str, str]:
        """Return nothing: a file has no certificates."""
        del address
        return {}

    def put_certificate(self, address: str, public: str, certificate: str) -> None:
        """Refuse: a file has no certificates."""
        raise KeyStoreError("one seed file has no certificate")

    def ask_owner(self, address: str, at: int) -> None:
        """Refuse: a file has no certificates, so its key does not rotate."""
        raise KeyStoreError("one seed file has no certificate")

    def asked(self, address: str) -> int:
        """Return 0: nobody can ask."""
        del address
        return 0

    @contextmanager
    def lock(self, address: str) -> Iterator[None]:
        """Do nothing: a file has one key."""
        del address
        yield


@refusing
def release(text: str, where: str, source: str = TERMINAL) -> str:
    """Return the seed of the text of a protected file; ask for its passphrase once.

    Args:
        text: The text.
        where: Its origin, for errors and the prompt.
        source: Where the passphrase is.

    Raises:
        KeyStoreError: If it is not a protected file, or the passphrase is wrong.
    """
    parsed = parse_protected(text, where)
    line = parsed.text()
    with _lock:
        if line not in _released:
            passphrase = read_passphrase(source, where)
            try:
                seed = parsed.release(passphrase)
            except KeyStoreError as error:
                raise KeyStoreError(f"{where}: {error}") from None
            if len(_released) >= _MOST:
                _released.clear()
            _released[line] = seed
        return _released[line]


@refusing
def protected_text(seed: str, passphrase: str) -> str:
    """Return the text of a file with a protected seed."""
    line = protect(seed, passphrase, salt=random_bytes(SALT_SIZE))
    return f"# public key: {public_of_seed(seed)}\n{line}\n"


@refusing
def change_passphrase(path: Path, old: str, new: str | None) -> str:
    """Protect a seed file, change its passphrase, or remove it; return the public key.

    The file is replaced as a whole, with mode 0600. Deleted is not erased: the disk may keep it.

    Args:
        path: The file.
        old: Where the current passphrase is, if it has one.
        new: Where the new passphrase is; None removes it.

    Raises:
        KeyStoreError: If a passphrase is wrong, or the file cannot be read or written.
    """
    where, text = path_text(path), read_private_text(path)
    line = seed_line(text, where, "S…")
    seed = release(text, where, old) if is_protected(line) else line
    public = public_of_seed(seed)
    if new is None:
        changed = f"# public key: {public}\n{seed}\n"
    else:
        changed = protected_text(seed, new_passphrase(new, where))
    try:
        replace_private(Path(os.path.realpath(path)), changed)
    except OSError as error:
        raise KeyStoreError(f"cannot write {where}: {error.strerror}") from None
    return public


def parse_protected(text: str, where: str) -> ProtectedSeed:
    """Parse the text of a protected file.

    Raises:
        KeyStoreError: If it is not one; names `where`.
    """
    line = seed_line(text, where, "xks1.…")
    if not is_protected(line):
        raise KeyStoreError(
            f"{where} is not protected: use file:, or protect it with `xkeymsg key passphrase`"
        )
    try:
        return ProtectedSeed.parse(line)
    except KeyStoreError as error:
        raise KeyStoreError(f"{where}: {error}") from None


def _parsed(address: str) -> _Address:
    words = [address]
    if address.startswith((_SOURCE, f"{_GROUP} ")):
        try:
            words = shlex.split(address)
        except ValueError:
            raise KeyStoreError("protected: the address has an unclosed quote") from None
    source, group_may_read = TERMINAL, False
    while len(words) > 1:
        word = words.pop(0)
        if word.startswith(_SOURCE):
            source = word.removeprefix(_SOURCE)
        elif word == _GROUP:
            group_may_read = True
        else:
            raise KeyStoreError("protected: expected passphrase=STORE, group_may_read, and a path")
    if not words or not words[0] or words[0].startswith(_SOURCE):
        raise KeyStoreError("protected: expected a path")
    return _Address(Path(words[0]).expanduser(), source, group_may_read)
