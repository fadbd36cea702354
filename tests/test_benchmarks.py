"""The benchmarks run; what they measure is not tested, these machines are noisy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.running import LONG, ROOT


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
