"""What is in a sink after a run, and which of it was under way at a fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.feeder import SUBJECTS, payload
from tests.soak.ledger import Ledger


def check(ledger: Ledger, record: dict[str, object], size: int) -> None:
    """Enter a record of the sink, and see that it says what was sent."""
    name = str(record["id"])
    ledger.delivered[name] += 1
    number = ledger.sent.get(name)
    if number is None:
        return
    told = record["data"], record["subject"]
    if told != (payload(number, size).decode(), f"orders.{number % SUBJECTS}"):
        ledger.altered += 1


def read_files(ledger: Ledger, folder: Path, size: int) -> None:
    """Read a folder of files; a second file of one id would be a second delivery."""
    for path in folder.iterdir():
        if path.suffix == ".part":
            continue  # half-written at a kill, and nobody takes it for a message
        check(ledger, json.loads(path.read_bytes()), size)


@dataclass
class Lines:
    """Files of lines that only grow, and how far each was at each fault."""

    window: int
    """How many messages, each way, were under way at a fault."""
    marks: list[dict[Path, int]] = field(default_factory=list)

    def mark(self, paths: list[Path]) -> None:
        """Take note of a fault."""
        self.marks.append({path: path.stat().st_size for path in paths if path.exists()})

    def read(self, ledger: Ledger, paths: list[Path], size: int) -> None:
        """Read the files, and tell which messages were under way at a fault."""
        for path in paths:
            names: list[str] = []
            ends: list[int] = []
            for line, end in _lines(path):
                record = json.loads(line)
                check(ledger, record, size)
                names.append(str(record["id"]))
                ends.append(end)
            for mark in self.marks:
                if path in mark:
                    at = sum(end <= mark[path] for end in ends)
                    ledger.in_flight.update(names[max(0, at - self.window) : at + self.window])


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    end = 0
    for line in path.read_bytes().splitlines(keepends=True):
        end += len(line)
        if line.endswith(b"\n"):  # a kill may cut off the last one
            yield line, end
