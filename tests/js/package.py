"""The npm package, built once for all workers of a test run, outside the source tree."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.browser import Site
from tests.interop.programs import NPM_FLAGS, built_once, done, find_tool
from tests.running import ROOT

__all__ = ("SOURCE", "Package", "built")

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

    def page(self) -> Site:
        """Return a page with the functions of test/browser_entry.mjs as `xkeymsg`."""
        esbuild = ("node_modules/esbuild/bin/esbuild", "--bundle", "--format=esm")
        script = self.run(*esbuild, "test/browser_entry.mjs")
        files = {f"/vectors/{each.name}": each for each in (ROOT / "vectors").glob("*.json")}
        return Site(
            {
                "/": ("text/html", b'<!doctype html><script type="module" src="/all.js"></script>'),
                "/all.js": ("text/javascript", script.encode()),
                **{path: ("application/json", each.read_bytes()) for path, each in files.items()},
            },
            "default-src 'none'; script-src 'self'; connect-src 'self' ws:",
        )


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
