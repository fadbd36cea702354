"""Reads the lock files of `requirements/`, which `make lock` writes with uv."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ("LockedPackage", "locked_packages")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """One version of a package, with the SHA-256 of each file that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]
    required_by: tuple[str, ...]
    """Names of the packages that require it; "xkeymsg" for this project."""


def locked_packages(path: Path) -> dict[str, LockedPackage]:
    """Return the packages of a lock file by their canonical names.

    Raises:
        ValueError: If a line is not a pinned requirement, an option `--hash` or a comment, or if a
            package has no hash or appears twice.
    """
    found: dict[str, LockedPackage] = {}
    for text, comments in _entries(path.read_text().splitlines()):
        line, *options = text.split(" --hash=sha256:")
        requirement = Requirement(line)
        pin = re.fullmatch(r"==([^*,]+)", str(requirement.specifier))
        name = canonicalize_name(requirement.name)
        if pin is None or not options or requirement.url or name in found:
            raise ValueError(f"{path.name}: not one version with hashes: {line}")
        hashes = tuple(each.strip() for each in options)
        if not all(re.fullmatch(r"[0-9a-f]{64}", each) for each in hashes):
            raise ValueError(f"{path.name}: invalid hash of {line}")
        found[name] = LockedPackage(
            name=name, version=pin[1], hashes=hashes, required_by=tuple(_names(comments))
        )
    return found


def _entries(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each requirement as one line, with the comments below it."""
    text, comments = "", list[str]()
    for line in lines:
        if line.lstrip().startswith("#"):
            comments.append(line.strip("# "))
        elif line.startswith(" "):
            text += " " + line.strip(" \\")
        elif line:
            if text:
                yield text, comments
            text, comments = line.strip(" \\"), []
    if text:
        yield text, comments


def _names(comments: list[str]) -> Iterator[str]:
    """Yield the names of `# via a` or of `# via`, `#   a`, `#   b`."""
    for comment in comments:
        name = comment.removeprefix("via").strip().partition(" ")[0]
        if name and not name.startswith("-"):  # `-c FILE` names constraints
            yield canonicalize_name(name)
