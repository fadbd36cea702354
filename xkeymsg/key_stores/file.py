"""Seed files, readable only by their owner."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from xkeymsg.ambient import random_bytes
from xkeymsg.errors import KeyStoreError
from xkeymsg.key_stores.released import MOST_SECRET, ReleasedKey, ReleasingProvider
from xkeymsg.nkey import Prefix, encode_seed
from xkeymsg.refusals import refusing
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import read_private, write_private

__all__ = ("FileProvider",)

_GROUP: Final = "group_may_read "


class FileProvider(ReleasingProvider):
    """Seed files; `group_may_read PATH` allows a mode such as 0440."""

    addressed_by = "Path"

    def read(self, address: str, limit: int = MOST_SECRET) -> bytes:
        """Return the content of a file."""
        path, group_may_read = _path(address)
        return read_private(path, group_may_read=group_may_read, limit=limit)

    def facts(self, address: str) -> Sequence[str]:
        """Return the file, and whether its group may read it."""
        path, group_may_read = _path(address)
        facts = [f"file {path_text(path)}; the seed is in memory while the program runs"]
        if group_may_read:
            facts.append("its group may read it")
        return facts

    @refusing
    def create(self, address: str, kind: Prefix) -> ReleasedKey:
        """Generate a key in a new file, mode 0600."""
        return self.put(address, encode_seed(kind, random_bytes(32)))

    @refusing
    def put(self, address: str, seed: str) -> ReleasedKey:
        """Write a seed to a new file, mode 0600."""
        key = ReleasedKey(seed, self.facts(address))
        write_private(_path(address)[0], f"# public key: {key.public()}\n{seed}\n")
        return key

    @refusing
    def delete(self, address: str, public: str) -> None:
        """Delete a seed file with this public key; the disk may keep the bytes."""
        path = _path(address)[0]
        if self.keys(address)[0].public() != public:
            raise KeyStoreError(f"{path_text(path)} holds another key")
        try:
            path.unlink()
        except OSError as error:
            raise KeyStoreError(f"cannot delete {path_text(path)}: {error.strerror}") from None


def _path(address: str) -> tuple[Path, bool]:
    path = address.removeprefix(_GROUP)
    if not path:
        raise KeyStoreError("expected a file name after file:")
    return Path(os.path.expanduser(path)), path != address  # noqa: PTH111 - also `~user`
