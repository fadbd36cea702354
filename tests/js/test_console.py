"""The script of the page "Open here" is built from js/, and does nothing but open messages."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.js.package import SOURCE, Package
from tests.running import ROOT
from xkeymsg.cli.console.explanations import EXPLANATIONS

STATIC = ROOT / "xkeymsg" / "cli" / "console" / "static"
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment"
    r"|\beval\(|\bFunction\(|importScripts|new Worker|serviceWorker"
    r"|\bfetch\(|XMLHttpRequest|sendBeacon|EventSource|RTCPeerConnection|WebTransport"
    r"|localStorage|sessionStorage|indexedDB|\bcaches\b|document\.cookie|history\.|location\."
    r"|console\.(?:log|error|warn|debug)|sourceMappingURL|createObjectURL"
)
"""What could interpret text, send it, or keep it."""


def test_the_script_is_the_one_that_its_list_names() -> None:
    said = (STATIC / "open.js.txt").read_text()
    script = (STATIC / "open.js").read_bytes()
    assert said.startswith(f"sha256 {hashlib.sha256(script).hexdigest()}\n")
    lock = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    parts = re.findall(r"^- (\S+) (\S+)$", said, re.MULTILINE)
    assert len(parts) > 5
    for name, version in parts:
        package = lock["" if name == "xkeymsg" else f"node_modules/{name}"]
        assert package["version"] == version
        assert name == "xkeymsg" or f"\n{name} {version} (" in said, "its licence is missing"


def test_the_script_interprets_sends_and_keeps_nothing() -> None:
    script = (STATIC / "open.js").read_text()
    assert sorted({*re.findall(FORBIDDEN, script)}) == []
    assert len(re.findall(r"new WebSocket\(", script)) == 1


@pytest.mark.slow
def test_the_script_is_what_its_sources_build(package: Package, tmp_path: Path) -> None:
    package.run("node_modules/typescript/bin/tsc", "-p", "console/tsconfig.json")
    package.run("console/build.mjs", tmp_path)
    for name in ("open.js", "open.js.txt"):
        assert (tmp_path / name).read_bytes() == (STATIC / name).read_bytes(), "npm run console"


def test_explanations_are_those_of_the_guide() -> None:
    guide = (ROOT / "docs" / "guides" / "errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", guide, re.MULTILINE)
    texts = {code: [*map(plain, texts)] for code, *texts in reversed(rows)}
    for each in EXPLANATIONS:
        assert [each.means, each.do] == texts[each.code]


def plain(markdown: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("`", "")


def test_each_code_of_the_package_is_explained() -> None:
    codes = (SOURCE / "src" / "errors.ts").read_text().split("export type Code")[1].split(";")[0]
    unrelated = {"field_denied", "field_ambiguous"}  # of sealing
    assert {*re.findall(r'"(\w+)"', codes)} - unrelated <= {each.code for each in EXPLANATIONS}
