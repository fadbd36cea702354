"""`python -m release.image`: compares the packages of an image with the lock file.

It reads lines `NAME==VERSION` from stdin, which `make image` has the Python of the image print.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name

import xkeymsg
from release.lock import locked_packages

__all__ = ("differences",)

LOCK = Path(__file__).parents[1] / "requirements" / "programs.txt"


def differences(installed: Iterable[str]) -> list[str]:
    """Return what differs from the lock file: `+` is only installed, `-` only locked."""
    have = {f"{canonicalize_name(name)}=={version}" for name, version in map(_split, installed)}
    want = {f"{each.name}=={each.version}" for each in locked_packages(LOCK).values()}
    want.add(f"xkeymsg=={xkeymsg.__version__}")
    return sorted([f"+ {each}" for each in have - want] + [f"- {each}" for each in want - have])


def _split(line: str) -> tuple[str, str]:
    name, _, version = line.strip().partition("==")
    return name, version


if __name__ == "__main__":
    found = differences(sys.stdin)
    print(*found or ["the image has what is locked, and nothing else"], sep="\n")
    sys.exit(1 if found else 0)
