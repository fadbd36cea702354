"""This tree against a commit before it: `python -m benchmarks against REF`.

The commit is extracted into a temporary directory. Each side is a process of its own that lives for
the whole run, with the same interpreter and the same libraries, and imports its own package
(`against_peer.py`); the harness asks them in turns for one batch each. *this tree* is the working
tree, uncommitted changes included. Figures are processor time, which other work on the machine
disturbs less than the time on the clock; compare the minima.

- *open 1 KiB*: a known session, the same subject, a new envelope each time; under the policy for
  data at rest, and (*live*) with a replay mark.
- *sealed headers*: three headers and a content type. *changing subjects*: a new subject for each
  message.
- *stream, settled*: opened at its place in a stream, then settled as handled.
- *documents*: the hospital's documents, all of a role's as one operation; in a quick run, one in
  ten of them.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.harness import Contender
from benchmarks.peer import Peer
from benchmarks.promises import Table
from benchmarks.report import AnyPromise, Promise, Report, Suite

__all__ = ("PROMISES", "describe", "suite")

_ROOT = Path(__file__).parent.parent
_DOCUMENTS = _ROOT / "examples" / "hospital" / "patients.ndjson"
_HERE, _BEFORE = "this tree", "before"
_LIVE = ", live"
_ROLES = ("clinic", "billing", "research", "audit")
_OPEN = "open 1 KiB"

_RUNS = {
    _OPEN: "open",
    "open 1 KiB, sealed headers": "open-headers",
    "open 1 KiB, changing subjects": "open-subjects",
    "open 1 KiB, stream, settled": "open-stream",
    **{f"open documents as {role}": f"open-{role}" for role in _ROLES},
    "seal 1 KiB for 1": "seal-1",
    "seal 1 KiB for 10": "seal-10",
    "seal documents": "seal-documents",
}
_MOST = 5000
"""Envelopes that are sealed for one batch at most."""


def _promise(title: str, target: str) -> Promise:
    return Promise(title=title, of=_HERE, against=_BEFORE, target=target)


PROMISES: tuple[AnyPromise, ...] = (
    _promise(_OPEN, "≤ 1.3"),
    *(_promise(f"open documents as {role}", "≤ 1.3") for role in _ROLES),
    _promise("open 1 KiB, sealed headers", "< 1"),
    _promise("open 1 KiB, changing subjects", "< 1"),
    _promise("seal 1 KiB for 1", "≤ 0.9"),
    _promise("seal 1 KiB for 10", "≤ 0.9"),
    _promise("seal documents", "≤ 0.9"),
)


def describe(ref: str) -> str:
    """Return the hash and the subject of a commit.

    Raises:
        LookupError: If git knows no such commit.
    """
    command = ["git", "log", "-1", "--format=%h %s", "--end-of-options", f"{ref}^{{commit}}"]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LookupError(f"git knows no commit {ref!r}")
    return done.stdout.strip()


def suite(ref: str) -> Suite:
    """Return the suite that compares with that commit."""
    return partial(_measure, ref)


def _measure(ref: str, report: Report) -> None:
    report.take_part(_BEFORE, describe(ref))
    with tempfile.TemporaryDirectory(prefix="xkeymsg-against-") as folder:
        other = Path(folder)
        _extract(ref, other)
        documents = other / "documents.ndjson"
        lines = _DOCUMENTS.read_text().splitlines(keepends=True)
        documents.write_text("".join(lines[:: 10 if report.quick else 1]))
        with _side(_ROOT, documents) as here, _side(other, documents) as before:
            for title, operation in _RUNS.items():
                sides = {_HERE: here.batch(operation, 0), _BEFORE: before.batch(operation, 0)}
                if title == _OPEN:
                    sides[_HERE + _LIVE] = here.batch(operation + "-live", 0)
                    sides[_BEFORE + _LIVE] = before.batch(operation + "-live", 0)
                contenders = [
                    Contender(name=name, batch=batch, most=_MOST, warm_up=1)
                    for name, batch in sides.items()
                ]
                report.measure(title, contenders, baseline=_BEFORE)
    report.add_table("the live mark, µs", _live_mark(report))


def _extract(ref: str, into: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", "--format=tar", "--end-of-options", ref],
        cwd=_ROOT, stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(into, filter="data")


@contextmanager
def _side(tree: Path, documents: Path) -> Iterator[Peer]:
    command = [sys.executable, "-P", _ROOT / "benchmarks" / "against_peer.py", tree, documents]
    with Peer([str(word) for word in command], {"PYTHONPATH": str(tree)}) as peer:
        yield peer


def _live_mark(report: Report) -> Table:
    """Tell what a mark adds: the difference of two minima."""
    series = report.runs[_OPEN].series
    table: dict[str, dict[str, float | None]] = {}
    for side in (_HERE, _BEFORE):
        at_rest = min(series[side].per_operation())
        live = min(series[side + _LIVE].per_operation())
        table[side] = {"open, at rest": at_rest, "open, live": live, "mark": live - at_rest}
    return table
