"""The examples run, say what they should, and are short enough to be read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.cases import for_each
from tests.running import DEADLINE

EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = {
    "pubsub": [
        "bob: orders.new 7 lamps 4bf9",
        "eve: sealed to 1 other recipient(s), not to a key held here",
        "eve: for all",
    ],
    "request_reply": [
        "lamp 12.50",
        "moon the service answered 'not_found': 'we do not sell that'",
    ],
    "documents_nats": [
        "clinic: {'patient': 'Ann', 'finding': 'a cold'}",
        "billing: {'patient': 'Ann', 'sum': 40}",
    ],
    "threads": ["abab", "cdcd", "efef"],
}


@for_each("name", SAID)
def test_an_example(name: str) -> None:
    path = EXAMPLES / f"{name}.py"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", path],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    # In debug mode asyncio says what took long: of a busy machine that says nothing.
    said = re.sub(r"^Executing <.*> took [\d.]+ seconds\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, said) == (0, "")
    assert done.stdout.splitlines() == SAID[name]
    assert len(path.read_text().splitlines()) <= 40
