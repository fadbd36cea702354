"""What warm sessions keep in memory: `python -m benchmarks.memory WHAT`, a process for each.

Two figures each: *traced* is what `tracemalloc` saw, which is Python's objects; *resident* is how
the process grew, with what `cryptography` and libsodium allocate for themselves, and with the
allocator's waste. Keys and envelopes that are there before do not count.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from benchmarks.report import Report
from benchmarks.schemes.ours import SUBJECT
from xkeymsg import AtRest, Opener, Sealer, XKeyPair

__all__ = ("memory",)

_ROOT = Path(__file__).parent.parent
_RECIPIENTS = 4000
_SENDERS = 3000
_MESSAGES = 20_000
_KEPT = "memory kept"
_PEAK = "memory at the peak"

_Prepare: TypeAlias = Callable[[], tuple[int, Callable[[], object]]]
"""Returns how many things are kept, and what to call for that; that returns what keeps them."""


def memory(report: Report) -> None:
    """Measure what is kept, and the peak of one large message."""
    report.add_table(
        _KEPT,
        {
            name: {"traced bytes": _ask(name, "traced"), "resident bytes": _ask(name, "resident")}
            for name in _KEEP
        },
    )
    report.add_table(_PEAK, {name: {"traced bytes": _ask(name, "peak")} for name in _PEAKS})


def _ask(name: str, how: str) -> float:
    command = [sys.executable, "-m", "benchmarks.memory", name, how]
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout))


def _seal_to_many() -> tuple[int, Callable[[], object]]:
    sealer = Sealer(XKeyPair.generate())
    to = [XKeyPair.generate().public for _ in range(_RECIPIENTS)]

    def run() -> object:
        for first in range(0, _RECIPIENTS, 1000):
            sealer.seal(b"", to=to[first : first + 1000], subject=SUBJECT)
        return sealer

    return _RECIPIENTS, run


def _open_from_many(*, sessions: int = 1) -> tuple[int, Callable[[], object]]:
    reader = XKeyPair.generate()
    pairs = [XKeyPair.generate() for _ in range(_SENDERS // sessions)]
    opener = Opener(reader, senders={pair.public for pair in pairs})
    sealed = [
        Sealer(pair).seal(b"", to=[reader.public], subject=SUBJECT)
        for pair in pairs
        for _ in range(sessions)
    ]

    def run() -> object:
        for envelope in sealed:
            opener.open(envelope, subject=SUBJECT)
        return opener

    return len(sealed), run


def _open_many() -> tuple[int, Callable[[], object]]:
    pair, reader = XKeyPair.generate(), XKeyPair.generate()
    sealer, opener = Sealer(pair), Opener(reader, senders={pair.public})
    sealed = [
        sealer.seal(b"", to=[reader.public], subject=SUBJECT) for _ in range(_MESSAGES + 2000)
    ]
    for envelope in sealed[:2000]:  # until the session remembers as much detail as it ever does
        opener.open(envelope, subject=SUBJECT)

    def run() -> object:
        for envelope in sealed[2000:]:
            opener.open(envelope, subject=SUBJECT)
        return opener

    return _MESSAGES, run


def _large(*, sealing: bool) -> tuple[int, Callable[[], object]]:
    pair, reader, data = XKeyPair.generate(), XKeyPair.generate(), bytes(1 << 20)
    sealer, opener = Sealer(pair), Opener(reader, senders={pair.public}, replay=AtRest())
    sealed = sealer.seal(data, to=[reader.public], subject=SUBJECT)
    opener.open(sealed, subject=SUBJECT)
    if sealing:
        return 1, lambda: sealer.seal(data, to=[reader.public], subject=SUBJECT)
    return 1, lambda: opener.open(sealed, subject=SUBJECT)


_KEEP: dict[str, _Prepare] = {
    "a sealer's session, per recipient": _seal_to_many,
    "an opener (live), per sender with a session": _open_from_many,
    "an opener (live), per further session": lambda: _open_from_many(sessions=_SENDERS),
    "an opener (live), per message of a session": _open_many,
}
_PEAKS: dict[str, _Prepare] = {
    "sealing 1 MiB for 1": lambda: _large(sealing=True),
    "opening 1 MiB": lambda: _large(sealing=False),
}


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _main(name: str, how: str) -> None:
    count, run = (_KEEP | _PEAKS)[name]()
    gc.collect()
    if how == "resident":
        before = _resident()
        kept = run()
        gc.collect()
        grown = _resident() - before
    else:
        tracemalloc.start()
        kept = run()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[1 if how == "peak" else 0]
    del kept
    print(json.dumps(round(grown / count)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
