"""The benchmarks run; what they measure is not tested, these machines are noisy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import for_each
from tests.running import LONG, ROOT


@pytest.mark.slow
def test_a_short_run_measures_every_contender_and_writes_json(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "xkv1", "--quick", "--batches", "1", "--json", result],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONG,
        env=os.environ | {"PATH": str(tmp_path)},  # without Go and Node.js
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Ratios" in done.stdout
    assert "left out" in done.stdout + done.stderr
    text = result.read_text()
    assert json.loads(text)
    assert str(ROOT) not in text


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git repository"
)
def test_this_tree_is_measured_against_a_commit(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "against", "HEAD", "--quick", "--batches", "1",
         "--json", result],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads(result.read_text())
    assert measured["promises"]
    assert all("minimum" in promise for promise in measured["promises"].values())
    for run in measured["runs"]:
        assert {"this tree", "before"} <= {each["name"] for each in run["contenders"]}
    assert str(tmp_path.parent) not in result.read_text()


@for_each("words", [["against"], ["against", "no-such-commit"], ["against", "-x"]])
def test_a_commit_that_git_does_not_know_is_an_error_of_one_line(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONG,
    )  # fmt: skip
    assert done.returncode == 2
    assert "against needs a commit" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
