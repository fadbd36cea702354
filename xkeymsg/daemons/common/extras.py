"""Start of the programs, which need packages of the extras `programs` and `console`."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Final, NoReturn

__all__ = ("INSTALL", "needed", "run_program")

INSTALL: Final = "pip install 'xkeymsg[programs]'"
"""The command that installs them."""
_INSTALL_CONSOLE: Final = "pip install 'xkeymsg[console]'"
_PACKAGES: Final = {
    **dict.fromkeys(("click", "httpx", "prometheus_client", "pydantic"), INSTALL),
    **dict.fromkeys(("jinja2", "starlette", "uvicorn"), _INSTALL_CONSOLE),
}
"""What installs the packages: pip installs the programs' scripts even without them."""
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+); extra == .(programs|console).")
_INSTALLS: Final = {"programs": INSTALL, "console": _INSTALL_CONSOLE}


@contextlib.contextmanager
def needed(program: str) -> Iterator[None]:
    """Exit 1 with a line on stderr if a package of the extras is missing or too old.

    pip checks versions only if the extra was requested. This module uses nothing of the extras, so
    that it always runs.
    """
    try:
        yield
    except Exception as error:
        fault = _missing(error) or _too_old()
        if fault is None:
            raise
        if sys.stderr is not None:
            sys.stderr.write(f"{program}: {fault}\n")
        sys.exit(1)


def run_program(program: str, module: str) -> NoReturn:
    """Run the `command` of a module, and end the process with its exit code."""
    with needed(program):
        from xkeymsg.daemons.common.terminal import run  # noqa: PLC0415 - imports an extra

        sys.exit(run(import_module(module).command, program))


def _missing(error: Exception) -> str | None:
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    package = (name or "").partition(".")[0]
    return f"{package} is not installed: {_PACKAGES[package]}" if package in _PACKAGES else None


def _too_old() -> str | None:
    """Describe an installed package older than required, which may have caused a failure."""
    from importlib import metadata  # noqa: PLC0415 - only after a failure

    try:
        requirements = metadata.requires("xkeymsg") or []
    except metadata.PackageNotFoundError:  # run from its source
        return None
    for package, least, extra in filter(None, map(_parsed, requirements)):
        with contextlib.suppress(metadata.PackageNotFoundError):
            version = metadata.version(package)
            if _numbers(version) < _numbers(least):
                fault = f"{package} {version} is installed, but {least} is required"
                return f"{fault}: {_INSTALLS[extra]}"
    return None


def _parsed(requirement: str) -> tuple[str, str, str] | None:
    match = _REQUIREMENT.fullmatch(requirement)
    return None if match is None else (match[1], match[2], match[3])


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", version)]
