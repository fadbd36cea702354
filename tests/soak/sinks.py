"""What is in a sink after a run, and which of it was under way at a fault."""

from __future__ import annotations

import json
from bisect import bisect_right
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
    if number is not None:
        ledger.altered += not says(ledger, record, number, size)


def says(ledger: Ledger, record: dict[str, object], number: int, size: int) -> bool:
    """Tell whether a record says what was sent, and who sent it."""
    told = record["data"], record["subject"], record["sender"], record["admitted"]
    return told == (
        payload(number, size).decode(), f"orders.{number % SUBJECTS}", ledger.sender, True,
    )  # fmt: skip


def read_files(ledger: Ledger, folder: Path, size: int) -> None:
    """Read a folder of files; a second file of one id would be a second delivery."""
    for path in folder.iterdir():
        if path.suffix == ".part":
            continue  # half-written at a kill, and nobody takes it for a message
        record = json.loads(path.read_bytes())
        check(ledger, record, size)
        ledger.altered += path.name.partition(".")[0] != record["id"]


@dataclass
class Lines:
    """Files of lines that only grow, and how far each was at each fault."""

    window: int
    """How many messages, each way, were under way at a fault."""
    marks: list[dict[Path, int]] = field(default_factory=list)

    def mark(self, paths: list[Path]) -> None:
        """Take note of a fault of those who write to these."""
        self.marks.append({path: path.stat().st_size for path in paths if path.exists()})

    def read(self, ledger: Ledger, paths: list[Path], size: int) -> None:
        """Read the files, and tell which messages were under way at a fault."""
        near: list[set[str]] = [set() for _ in self.marks]
        for path in paths:
            names: list[str] = []
            ends: list[int] = []
            for line, end in _lines(path):
                record = json.loads(line)
                check(ledger, record, size)
                names.append(str(record["id"]))
                ends.append(end)
            for mark, under_way in zip(self.marks, near, strict=True):
                if path in mark:
                    at = bisect_right(ends, mark[path])
                    under_way.update(names[max(0, at - self.window) : at + self.window])
        for under_way in near:
            ledger.in_flight.update(under_way)


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    end = 0
    for line in path.read_bytes().splitlines(keepends=True):
        end += len(line)
        if line.endswith(b"\n"):  # a kill may cut off the last one
            yield line, end
