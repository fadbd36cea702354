"""The npm package, built once for all workers of a test run, outside the source tree."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.interop.programs import NPM_FLAGS, built_once, done, find_tool
from tests.running import ROOT

__all__ = ("SOURCE", "Package", "built", "find_chromium")

SOURCE: Final = ROOT / "js"


@dataclass(frozen=True)
class Package:
    """A copy of `js/` with its dependencies and its build."""

    node: str
    npm: str
    folder: Path

    def run(self, *arguments: str | Path, **env: str) -> str:
        """Run Node in the copy."""
        where = {"XKEYMSG_VECTORS": str(ROOT / "vectors")}
        return done(self.node, *arguments, cwd=self.folder, env=where | env)


def built(folder: Path) -> Package:
    """Return the package in `folder`; the first caller installs and builds it."""
    package = Package(find_tool("node"), find_tool("npm"), folder / "js")

    def build(copy: Path) -> None:
        ignored = shutil.ignore_patterns("node_modules", "dist", "*.tgz")
        shutil.copytree(SOURCE, copy, ignore=ignored, dirs_exist_ok=True)
        done(package.npm, "ci", *NPM_FLAGS, cwd=copy)
        done(package.node, "node_modules/typescript/bin/tsc", cwd=copy)

    built_once(package.folder, build)
    return package


def find_chromium() -> str:
    """Return the path of a Chromium, or skip."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium in PATH: nothing was tried in a browser")
