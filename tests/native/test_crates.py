"""The crates of the native core: where they come from, and their licences.

Where cargo-deny is installed, `make crates` checks the same and more from `native/deny.toml`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.running import LONG

FOLDER = Path(__file__).parent.parent.parent / "native"
DENY = tomllib.loads((FOLDER / "deny.toml").read_text())
LOCK = tomllib.loads((FOLDER / "Cargo.lock").read_text())
CARGO = tomllib.loads((FOLDER / "Cargo.toml").read_text())


def test_every_crate_is_locked_and_of_the_allowed_registry() -> None:
    registries = {f"registry+{address}" for address in DENY["sources"]["allow-registry"]}
    foreign = [each for each in LOCK["package"] if each["name"] != CARGO["package"]["name"]]
    assert len(foreign) > 10
    for each in foreign:
        assert each["source"] in registries, each["name"]
        assert re.fullmatch("[0-9a-f]{64}", each["checksum"]), each["name"]


def test_the_licences_are_those_of_the_locked_crates() -> None:
    text = (FOLDER / "THIRD-PARTY-LICENSES").read_text()
    listed = set(re.findall(r"^([\w-]+) ([0-9.]+): ", text, re.MULTILINE))
    locked = {(each["name"], each["version"]) for each in LOCK["package"]}
    assert listed <= locked
    assert {name for name, _ in listed} >= CARGO["dependencies"].keys()


def test_the_decision_names_every_crate() -> None:
    decision = (FOLDER.parent / "docs" / "adr" / "0017-native.md").read_text()
    for name in CARGO["dependencies"]:
        assert f"`{name}`" in decision, name


def test_the_lints_that_forbid_unsafe_code_and_panics_are_on() -> None:
    assert CARGO["lints"]["rust"]["unsafe_code"] == "forbid"
    assert CARGO["profile"]["release"]["overflow-checks"] is True
    for lint in (
        "arithmetic_side_effects", "expect_used", "indexing_slicing", "panic", "unreachable",
        "unwrap_used",
    ):  # fmt: skip
        assert CARGO["lints"]["clippy"][lint] == "deny"
    for file in FOLDER.glob("src/*.rs"):
        assert not re.search(r"allow\(|\bunsafe\b", file.read_text()), file.name


@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")
def test_every_crate_has_a_licence_that_is_allowed() -> None:
    command = ["cargo", "metadata", "--locked", "--offline", "--format-version", "1"]
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=LONG, check=False
    )
    if done.returncode:
        pytest.skip("the crates are not downloaded: run `make native`")
    crates: list[dict[str, Any]] = json.loads(done.stdout)["packages"]
    for each in crates:
        assert permitted(each["license"] or ""), (each["name"], each["license"])


def permitted(expression: str) -> bool:
    """Return whether an SPDX expression can be met with allowed licences."""
    allowed = set(DENY["licenses"]["allow"])
    expression = expression.replace("/", " OR ")
    grouped = re.fullmatch(r"\((.*)\) AND (.*)", expression)
    parts = grouped.groups() if grouped else re.split(r" AND ", expression)
    return all(any(one.strip() in allowed for one in part.split(" OR ")) for part in parts)


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        ("MIT", True), ("MIT/Apache-2.0", True), ("GPL-3.0 OR MIT", True), ("GPL-3.0", False),
        ("Apache-2.0 AND ISC", True), ("MIT AND GPL-3.0", False), ("", False),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True), ("(MIT OR Apache-2.0) AND GPL-3.0", False),
    ],
)  # fmt: skip
def test_an_expression_is_judged(expression: str, verdict: bool) -> None:
    assert permitted(expression) is verdict
