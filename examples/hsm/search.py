"""Searches a folder, and the arguments and variables of all processes, for secrets."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

__all__ = ("forms", "search")


def forms(secret: bytes) -> set[bytes]:
    """Return a secret as it is, in hexadecimal digits and in base64."""
    hexadecimal = secret.hex().encode()
    return {secret, hexadecimal, hexadecimal.upper(), base64.b64encode(secret)}


def search(folder: Path, secrets: Mapping[str, Iterable[bytes]]) -> Iterator[tuple[str, str]]:
    """Yield each place that has a secret, with the name of the secret.

    Args:
        folder: All files below it are searched.
        secrets: Names of secrets, and what each looks like.
    """
    for place, content in _places(folder):
        for name, texts in secrets.items():
            if any(text in content for text in texts):
                yield place, name


def _places(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()
    for name in ("cmdline", "environ"):
        for path in Path("/proc").glob(f"[0-9]*/{name}"):
            try:
                yield str(path), path.read_bytes()
            except OSError:  # it has ended, or belongs to another user
                continue
