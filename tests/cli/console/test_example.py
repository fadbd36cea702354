"""`make console`: the hospital with the console on it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.console.hospital import text_of
from tests.running import LONG, Program


def shown(*words: str) -> Callable[[list[str]], bool]:
    return lambda rows: all(each in " ".join(rows) for each in words)


@pytest.mark.slow
def test_the_hospital_shows_itself_until_it_is_interrupted() -> None:
    with Program("examples.hospital.console", "127.0.0.1:0") as example:
        line = example.wait_for("The console: ")
        address = line.partition(": ")[2].strip()
        folder = Path(example.wait_for("/clinic/keys/").split()[-1]).parents[2]
        assert folder.is_dir()
        shows = {
            "": ("/Patient/name", "research"),
            "fleet": ("research", "ready"),
            "rotation": ("ward", "current"),
            "streams": ("EHR", "audit"),
            "refused": ("sender_not_admitted", "clinic"),
        }
        for path, words in shows.items():
            rows = text_of(address, path, shown(*words))
            assert not any("violation" in row.lower() for row in rows)
        example.process.send_signal(signal.SIGTERM)
        assert example.process.wait(LONG) == 0
        assert not folder.exists()
