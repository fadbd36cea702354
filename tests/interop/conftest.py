"""The foreign programs, built once for all workers of a test run, outside the source tree."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.interop.programs import NPM_FLAGS, Foreign, Ours, built_once, done, find_tool

SOURCES: Final = Path(__file__).parent


@pytest.fixture
def ours(tmp_path: Path) -> Ours:
    return Ours(tmp_path)


@pytest.fixture(scope="session")
def go(shared_folder: Path) -> Foreign:
    compiler = find_tool("go")

    def build(folder: Path) -> None:
        # Version stamping asks git, which may refuse a checkout that another user owns.
        flags = ("-mod=readonly", "-buildvcs=false")
        done(compiler, "build", *flags, "-o", folder, "./...", cwd=SOURCES / "go")

    folder = built_once(shared_folder / "go", build)
    return Foreign(
        receiver=(folder / "receiver",), sender=(folder / "sender",), claims=(folder / "claims",)
    )


@pytest.fixture(scope="session")
def node(shared_folder: Path) -> Foreign:
    interpreter, npm = find_tool("node"), find_tool("npm")

    def build(folder: Path) -> None:
        for source in (SOURCES / "node").iterdir():
            if source.is_file():
                shutil.copy(source, folder)
        done(npm, "ci", *NPM_FLAGS, cwd=folder)

    folder = built_once(shared_folder / "node", build)
    return Foreign(
        receiver=(interpreter, folder / "receiver.mjs"),
        sender=(interpreter, folder / "sender.mjs"),
        claims=(interpreter, folder / "claims.mjs"),
    )
