"""Keys on a security module: for a receiver that decrypts, and for a sender's login by TLS.

    python -m examples.hsm.demo [--provider PATH]

Starts a nats-server, a receiver and a sender; SoftHSM stands for the module. Then searches the
disk, and the arguments and variables of all processes, for every secret. Exits with 1 if one is
found; removes everything that it created.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ("main", "missing")


def missing() -> list[str]:
    """Return the commands that install what is missing."""
    debian = {
        "softhsm2": shutil.which("softhsm2-util"),
        "p11-kit p11-kit-modules": next(Path("/usr/lib").glob("**/p11-kit-proxy.so"), None),
    }
    wanted = [name for name, found in debian.items() if not found]
    commands = [f"apt-get install {' '.join(wanted)}"] if wanted else []
    return [*commands, *([] if find_spec("pkcs11") else ["pip install 'xkeymsg[pkcs11]'"])]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration; return 0 if everything worked and no secret was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--provider", metavar="PATH", help="OpenSSL's pkcs11-provider (pkcs11.so)")
    given = parser.parse_args(arguments)
    if commands := missing():
        print(f"This demonstration needs: {'; '.join(commands)}", file=sys.stderr)
        return 2
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, _end)
    tell = import_module("examples.hsm.story").tell  # imports what may be missing
    return 0 if tell(given.provider) else 1


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
