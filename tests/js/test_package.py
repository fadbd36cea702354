"""The npm package: its own tests, its size, and how it installs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.interop.programs import NPM_FLAGS, done
from tests.js.fuzz import Fuzzer
from tests.js.package import SOURCE, Package
from tests.js.peer import Peer


@pytest.mark.parametrize(
    "name",
    ["api"]
    + [pytest.param(name, marks=pytest.mark.slow)
       for name in ("vectors", "fallback", "cofactor", "size", "example", "hostile")],
)  # fmt: skip
def test_own_tests_pass(package: Package, name: str) -> None:
    said = package.run("--test", "--test-reporter=tap", f"test/{name}.test.mjs")
    counts = dict(re.findall(r"^# (pass|skipped|fail) (\d+)$", said, re.MULTILINE))
    assert int(counts["pass"]) > 0, said
    assert counts["fail"] == counts["skipped"] == "0", said


def test_both_sides_give_the_same_verdict(package: Package) -> None:
    with Peer(package.node, package.folder / "test" / "peer.mjs") as peer:
        fuzzer = Fuzzer(1, peer)
        fuzzer.run(1_000)
    codes = {label.rpartition(" ")[2] for label in fuzzer.outcomes}
    assert {"opened", "authentication", "malformed", "limit_exceeded", "content_type"} <= codes
    assert {"field_ambiguous", "field_denied", "policy_invalid", "not_a_recipient"} <= codes


@pytest.mark.slow
def test_a_packed_package_installs_into_an_empty_project(package: Package, tmp_path: Path) -> None:
    pack = ("pack", "--ignore-scripts", "--json", f"--pack-destination={tmp_path}")
    said = json.loads(done(package.npm, *pack, cwd=package.folder))
    (packed,) = said if isinstance(said, list) else said.values()  # by name in later versions
    files = {each["path"] for each in packed["files"]}
    assert {"dist/index.js", "dist/index.d.ts", "dist/nats.js", "README.md", "LICENSE"} <= files
    assert not {each for each in files if each.startswith(("test/", "src/", "node_modules/"))}
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"name": "empty", "private": true, "type": "module"}')
    done(package.npm, "install", *NPM_FLAGS, tmp_path / packed["filename"], cwd=project)
    installed = {each.parent.name for each in project.glob("node_modules/**/package.json")}
    assert {"ciphers", "curves", "hashes"} <= installed
    assert "nats-core" not in installed
    (project / "main.mjs").write_text(
        "import { XKey } from 'xkeymsg';\n"
        "import 'xkeymsg/xkv1';\n"
        "import 'xkeymsg/files';\n"
        "console.log((await XKey.generate()).public);\n"
    )
    assert re.fullmatch(r"X[A-Z2-7]{55}\n", done(package.node, "main.mjs", cwd=project))
    (project / "main.mts").write_text(
        "import { Opener, ANYONE, type Message, XKey } from 'xkeymsg';\n"
        "const opener = new Opener(await XKey.generate(), { senders: ANYONE });\n"
        "const envelope = new Uint8Array();\n"
        "export const message: Promise<Message> = opener.open(envelope, { subject: 'a' });\n"
    )
    tsc = package.folder / "node_modules" / "typescript" / "bin" / "tsc"
    done(
        package.node,
        tsc,
        "--strict",
        "--noEmit",
        "--module",
        "nodenext",
        "--target",
        "es2022",
        "main.mts",
        cwd=project,
    )


def test_the_lock_file_names_no_registry() -> None:
    lock = (SOURCE / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert "http" not in re.sub(r'"(?:url|funding)": "[^"]*"', "", lock)


def test_dependencies_are_pinned() -> None:
    manifest = json.loads((SOURCE / "package.json").read_text())
    assert set(manifest["dependencies"]) == {"@noble/ciphers", "@noble/curves", "@noble/hashes"}
    pinned = manifest["dependencies"] | manifest["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
