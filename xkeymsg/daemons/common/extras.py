"""What the programs need beyond the library, and what is said where that is not installed."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Final

__all__ = ("INSTALL", "needed")

INSTALL: Final = "pip install 'xkeymsg[programs]'"
"""What brings it."""
_PACKAGES: Final = frozenset({"click", "httpx", "prometheus_client", "pydantic"})
"""What the extra `programs` has: without it pip makes the programs all the same."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+); extra == .programs.")


@contextlib.contextmanager
def needed(program: str) -> Iterator[None]:
    """End the process with a line on stderr, and exit 1, where a part of the extra is missing.

    Or where it is older than what we need: pip takes care of that for who asks for the extra alone.
    Nothing of it is used here, so that this much of a program always runs.
    """
    try:
        yield
    except Exception as error:
        fault = _missing(error) or _too_old()
        if fault is None:
            raise
        if sys.stderr is not None:
            sys.stderr.write(f"{program}: {fault}: {INSTALL}\n")
        sys.exit(1)


def _missing(error: Exception) -> str | None:
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    package = (name or "").partition(".")[0]
    return f"{package} is not installed" if package in _PACKAGES else None


def _too_old() -> str | None:
    """Look for what is older than our requirement, which may be why something failed."""
    from importlib import metadata  # noqa: PLC0415 - only where something has failed

    try:
        requirements = metadata.requires("xkeymsg") or []
    except metadata.PackageNotFoundError:  # run from its source
        return None
    for package, least in filter(None, map(_parsed, requirements)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version(package)
            if _numbers(version) < _numbers(least):
                return f"{package} {version} is installed, and {least} is needed"
    return None


def _parsed(requirement: str) -> tuple[str, str] | None:
    match = _REQUIREMENT.fullmatch(requirement)
    return None if match is None else (match[1], match[2])


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]
