"""Seed files, readable only by their owner: one, or a folder of them with their certificates."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from xkeymsg.ambient import random_bytes
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.ownership import (
    MOST_CERTIFICATE,
    ask_owner,
    asked,
    check_certificate,
    held_lock,
    is_certificate,
)
from xkeymsg.key_stores.paths import replaceable
from xkeymsg.key_stores.released_key import MOST_SECRET, ReleasedKey, ReleasingProvider, single_seed
from xkeymsg.nkey import Prefix, encode_seed, is_public
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import read_private, replace_private, sync_folder, write_private

__all__ = ("FileProvider",)

_GROUP: Final = "group_may_read "
_MOST: Final = 100
"""Keys of a folder; a daemon that rotates keeps at most 24."""
_SEED, _CERTIFICATE, _LOCK = ".seed", ".jwt", ".lock"


class FileProvider(ReleasingProvider):
    """Seed files; `group_may_read PATH` allows a mode such as 0440.

    A folder has several: `X….seed`, each with its certificate in `X….jwt`.
    """

    addressed_by = "Path"

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return the content of a file."""
        path, group_may_read = _path(address)
        return read_private(path, group_may_read=group_may_read, limit=limit)

    def facts(self, address: str) -> Sequence[str]:
        """Return the file, its mode and owner, and whether its group may read it."""
        path, group_may_read = _path(address)
        facts = [f"file {_shown(path)}; the seed is in memory while the program runs"]
        with suppress(OSError):  # it may be new, or gone
            status = path.stat()
            facts.append(f"mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}")
        if group_may_read:
            facts.append("its group may read it")
        return facts

    @refusing
    def keys(self, address: str) -> Sequence[ReleasedKey]:
        """Return the key of a file, or those of a folder, ordered by their public keys."""
        path, group_may_read = _path(address)
        if not path.is_dir():
            return super().keys(address)
        found = []
        for file in _files(path, _SEED):
            try:
                content = read_private(file, group_may_read=group_may_read, limit=MOST_SECRET)
            except KeyStoreError:
                if file.exists():
                    raise
                continue  # deleted meanwhile
            key = ReleasedKey(single_seed(content), self.facts(str(file)))
            if key.public() != file.stem:
                raise KeyStoreError(f"{_shown(file)} holds another key than its name says")
            found.append(key)
        return found

    @refusing
    def create(self, address: str, kind: Prefix) -> ReleasedKey:
        """Generate a key in a new file, mode 0600."""
        return self.put(address, encode_seed(kind, random_bytes(32)))

    @refusing
    def put(self, address: str, seed: str) -> ReleasedKey:
        """Write a seed to a new file, mode 0600."""
        key, path = ReleasedKey(seed, self.facts(address)), _path(address)[0]
        text = f"# public key: {key.public()}\n{seed}\n"
        if not path.is_dir():
            if address.endswith("/"):
                raise KeyStoreError(f"no folder {path_text(path)}: mkdir -m 700 it")
            write_private(path, text)
            return key
        file = _place(_checked(path), key.public(), _SEED)
        if file.exists():
            raise KeyStoreError(f"{_shown(file)} already exists; keys are never overwritten")
        with _writing(path):
            replace_private(file, text)
        return key

    @refusing
    def delete(self, address: str, public: str) -> None:
        """Delete a seed file with this public key, and its certificate; the disk may keep them."""
        path = _path(address)[0]
        if path.is_dir():
            files = [_place(_checked(path), public, end) for end in (_SEED, _CERTIFICATE)]
            if not any(file.exists() for file in files):
                raise KeyStoreError(f"{path_text(path)} does not hold this key")
        elif self.keys(address)[0].public() != public:
            raise KeyStoreError(f"{path_text(path)} holds another key")
        else:
            files = [path]
        with _writing(path):
            for file in files:
                file.unlink(missing_ok=True)
                sync_folder(file.parent)

    @refusing
    def certificates(self, address: str) -> Mapping[str, str]:
        """Return the certificates of a folder."""
        if not _path(address)[0].is_dir():
            return {}
        found = {}
        for file in _files(_folder(address), _CERTIFICATE):
            try:
                with file.open("rb") as opened:
                    content = opened.read(MOST_CERTIFICATE + 2)
            except OSError:
                continue  # deleted meanwhile, or damaged: to be stored again
            text = content.decode("ascii", "replace").removesuffix("\n")
            if is_certificate(text):
                found[file.stem] = text
        return found

    @refusing
    def put_certificate(self, address: str, public: str, certificate: str) -> None:
        """Store a certificate beside its seed file in a folder."""
        folder = _folder(address)
        if not _place(folder, public, _SEED).exists():
            raise KeyStoreError(f"{path_text(folder)} does not hold this key")
        text = f"{check_certificate(certificate)}\n"
        with _writing(folder):
            replace_private(_place(folder, public, _CERTIFICATE), text)

    @refusing
    def ask_owner(self, address: str, at: int) -> None:
        """Ask the owner of a folder to replace a key that is older than `at`."""
        ask_owner(_folder(address) / _LOCK, at)

    def asked(self, address: str) -> int:
        """Return the time for which the owner of a folder was asked; 0 if it was not."""
        return asked(_path(address)[0] / _LOCK)

    @contextmanager
    def lock(self, address: str) -> Iterator[None]:
        """Lock a folder, and delete what an interruption has left of new files."""
        if not _path(address)[0].is_dir():
            yield
            return
        folder = _folder(address)
        with held_lock(folder / _LOCK):
            with _writing(folder):
                for file in folder.glob("?*.new"):
                    if is_public(file.name.partition(".")[0]):
                        file.unlink()
            yield


def _path(address: str) -> tuple[Path, bool]:
    path = address.removeprefix(_GROUP)
    if not path:
        raise KeyStoreError("expected a file name after file:")
    return Path(os.path.expanduser(path)), path != address  # noqa: PTH111 - also `~user`


def _shown(path: Path) -> str:
    """Return a path for people; a public key in its name is not a secret."""
    if is_public(path.stem) and path.suffix == _SEED:
        return f"{path_text(path.parent)}/{path.name}"
    return path_text(path)


def _folder(address: str) -> Path:
    path = _path(address)[0]
    if not path.is_dir():
        raise KeyStoreError(
            f"{path_text(path)} is not a folder, and one seed file has no certificate"
        )
    return _checked(path)


def _checked(folder: Path) -> Path:
    """Return a folder that other users cannot change; a mounted Kubernetes secret is read-only."""
    try:
        part = replaceable(folder)
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    except OSError as error:
        raise KeyStoreError(f"cannot read {path_text(folder)}: {error.strerror}") from None
    if part is None or (read_only and part == folder.absolute()):
        return folder
    raise KeyStoreError(f"other users can change {path_text(part)}: chown it, and chmod go-w it")


def _place(folder: Path, public: str, end: str) -> Path:
    if not is_public(public):
        raise KeyStoreError("expected a public key X… or U…")
    return folder / f"{public}{end}"


def _files(folder: Path, end: str) -> list[Path]:
    """Return the files of a folder that are named after public keys, in order."""
    try:
        found = [each for each in _checked(folder).iterdir() if each.suffix == end]
    except OSError as error:
        raise KeyStoreError(f"cannot read {path_text(folder)}: {error.strerror}") from None
    found = sorted(each for each in found if is_public(each.stem))
    if len(found) > _MOST:
        raise KeyStoreError(f"{path_text(folder)} has more than {_MOST} keys")
    return found


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyStoreError(f"cannot write {path_text(path)}: {error.strerror}") from None
