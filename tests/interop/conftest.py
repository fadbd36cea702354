"""The foreign programs, built once a session, outside the source tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.interop.programs import Foreign, Ours, find_tool
from tests.running import LONG

SOURCES: Final = Path(__file__).parent


def _build(*command: str | Path, cwd: Path) -> None:
    """Run a build; one that fails is a failure, never a skip."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{command}: not done within {LONG:.0f} s")
    if done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    return Ours(tmp_path)


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    compiler = find_tool("go")
    folder = tmp_path_factory.mktemp("go")
    # Version stamping asks git, which may refuse a checkout that another user owns.
    flags = ("-mod=readonly", "-buildvcs=false")
    _build(compiler, "build", *flags, "-o", folder, "./...", cwd=SOURCES / "go")
    return Foreign(
        receiver=(folder / "receiver",), sender=(folder / "sender",), claims=(folder / "claims",)
    )


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    interpreter, npm = find_tool("node"), find_tool("npm")
    folder = tmp_path_factory.mktemp("node")
    for source in (SOURCES / "node").iterdir():
        if source.is_file():
            shutil.copy(source, folder)
    flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
    _build(npm, "ci", *flags, cwd=folder)
    return Foreign(
        receiver=(interpreter, folder / "receiver.mjs"),
        sender=(interpreter, folder / "sender.mjs"),
        claims=(interpreter, folder / "claims.mjs"),
    )
