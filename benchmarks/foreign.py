"""The nkeys libraries of other languages, built outside the source tree and started as peers."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.peer import Peer, PeerError

__all__ = ("BUILDERS", "LeftOutError", "foreign_peers")

_SOURCES = Path(__file__).parent / "peers"


class LeftOutError(Exception):
    """Why a peer cannot take part."""


def _folder(name: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "xkeymsg-benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LeftOutError(f"there is no `{name}` in PATH")
    return found


def _build(command: list[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != 0:
        raise LeftOutError(f"`{Path(command[0]).name} {command[1]}` failed, see standard error")


def build_go() -> list[str]:
    """Build the Go peer, with the modules of its go.sum; return its command line."""
    binary = str(_folder("go") / "peer")
    command = [_program("go"), "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    _build([*command, "-o", binary, "."], _SOURCES / "go", GOTOOLCHAIN="local", GOWORK="off")
    return [binary]


def build_node() -> list[str]:
    """Install the Node peer, with the packages of its lock file; return its command line."""
    node, npm = _program("node"), _program("npm")
    source, folder = _SOURCES / "node", _folder("node")
    lock = folder / "package-lock.json"
    wanted = (source / lock.name).read_bytes()
    installed = lock.is_file() and lock.read_bytes() == wanted
    for name in ("package.json", "peer.mjs"):
        shutil.copyfile(source / name, folder / name)
    if not installed:
        lock.write_bytes(wanted)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            _build(command, folder)
        except BaseException:
            lock.unlink()  # it says that the packages are there
            raise
    return [node, str(folder / "peer.mjs")]


BUILDERS: dict[str, Callable[[], list[str]]] = {"Go nkeys": build_go, "Node nkeys": build_node}


@contextmanager
def foreign_peers(leave_out: Callable[[str, str], None]) -> Iterator[dict[str, Peer]]:
    """Start the peers that can be built, by name; say of each other one why it is left out."""
    with ExitStack() as stack:
        peers = {}
        for name, build in BUILDERS.items():
            try:
                peers[name] = stack.enter_context(Peer(build()))
            except LeftOutError as error:
                leave_out(name, str(error))
            except (OSError, PeerError):
                leave_out(name, "it was built but does not run, see standard error")
        yield peers
