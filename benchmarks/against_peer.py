"""One side of the suite `against`: `against_peer.py TREE DOCUMENTS`, with TREE in PYTHONPATH.

It imports the package of TREE and nothing else of it, and uses public names only, those that both
trees have. It answers `run OPERATION SIZE N` (benchmarks/peer.py) with the processor time of N
operations in nanoseconds. Payloads are sealed before the clock starts, and each opens once.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import xkeymsg
from xkeymsg import Message, Opener, Policy, Sealer, StreamPosition, XKeyPair

_SUBJECT = "orders.new"
_DOCUMENTS = "ehr.resources"
_HEADERS = {"Trace-Id": "4bf92f3577b34da6", "Tenant": "north", "Attempt": "1"}
_TYPE = "application/json"
_ROLES = ("clinic", "billing", "research", "audit")
_EACH = 5

_Batch = Callable[[int], int]


class Side:
    """Sealers, openers and documents of this tree; `operations` has a batch by name."""

    def __init__(self, tree: Path, documents: Path) -> None:
        self._alice, self._bob = XKeyPair.generate(), XKeyPair.generate()
        self._sealer = Sealer(self._alice)
        self._number = 0
        hundred = [XKeyPair.generate().public for _ in range(100)]
        self.operations: dict[str, _Batch] = {
            "open": self._opening(),
            "open-live": self._opening(live=True),
            "open-headers": self._opening(headers=_HEADERS, content_type=_TYPE),
            "open-subjects": self._opening_subjects(),
            "open-stream": self._opening_stream(),
            "seal-1": self._sealing([self._bob.public]),
            "seal-10": self._sealing(hundred[:10]),
            "seal-100": self._sealing(hundred),
        }
        self._add_documents(tree, documents)

    def _envelopes(self, n: int, **sealing: Any) -> list[bytes]:
        to = [self._bob.public]
        return [
            self._sealer.seal(data, to=to, subject=_SUBJECT, **sealing)
            for data in repeat(bytes(1024), n)
        ]

    def _opener(self, *, live: bool = False) -> Opener:
        return Opener(self._bob, senders={self._alice.public}, replay=_policy(live=live))

    def _opening(self, *, live: bool = False, **sealing: Any) -> _Batch:
        open_ = partial(self._opener(live=live).open, subject=_SUBJECT)
        return lambda n: _timed(open_, self._envelopes(n, **sealing))

    def _opening_subjects(self) -> _Batch:
        open_ = partial(self._opener().open, subject="orders.*")

        def envelope() -> bytes:
            self._number += 1
            subject = f"orders.{self._number}"
            return self._sealer.seal(bytes(1024), to=[self._bob.public], subject=subject)

        return lambda n: _timed(open_, [envelope() for _ in range(n)])

    def _opening_stream(self) -> _Batch:
        opener = self._opener(live=True)

        def handle(delivery: tuple[bytes, StreamPosition]) -> None:
            envelope, position = delivery
            message: Message = opener.open(envelope, subject=_SUBJECT, position=position)
            opener.settle(message)

        def batch(n: int) -> int:
            now, first = time.time_ns() // 1_000_000, self._number + 1
            self._number += n
            places = [StreamPosition("ORDERS", first + at, now) for at in range(n)]
            return _timed(handle, list(zip(self._envelopes(n), places, strict=True)))

        return batch

    def _sealing(self, to: list[Any]) -> _Batch:
        seal = partial(self._sealer.seal, to=to, subject=_SUBJECT)
        data = bytes(1024)
        return lambda n: _timed(seal, repeat(data, n))

    def _add_documents(self, tree: Path, path: Path) -> None:
        """Add sealing the hospital's documents, and opening them in each role."""
        policy = Policy.load(tree / "examples" / "hospital" / "policy.toml")
        lines = path.read_text().splitlines()
        documents = [{each["resourceType"]: each} for each in map(json.loads, lines)]
        pairs = {role: [XKeyPair.generate() for _ in range(_EACH)] for role in _ROLES}
        readers = {role: [pair.public for pair in several] for role, several in pairs.items()}
        seal = partial(
            self._sealer.seal_document, policy=policy, readers=readers, subject=_DOCUMENTS
        )
        envelopes = [seal(document) for document in documents]
        self.operations["seal-documents"] = lambda n: _timed(_each(seal, documents), range(n))
        for role, several in pairs.items():
            opener = Opener(several[0], senders={self._alice.public}, replay=_policy())
            open_ = partial(opener.open_document, subject=_DOCUMENTS)
            self.operations[f"open-{role}"] = partial(
                _timed_documents, _each(open_, _openable(open_, envelopes))
            )


def _policy(*, live: bool = False) -> Any:
    """Return a replay policy; before 0.1.0, policies were strings."""
    if hasattr(xkeymsg, "AtRest"):
        return xkeymsg.Live() if live else xkeymsg.AtRest()
    return "live" if live else "file"


def _openable(open_: Callable[[bytes], object], envelopes: list[bytes]) -> list[bytes]:
    """Return those of which the reader may see something."""
    found = []
    for envelope in envelopes:
        try:
            open_(envelope)
        except xkeymsg.NotARecipientError:
            continue
        found.append(envelope)
    return found


def _each(operation: Callable[[Any], object], things: list[Any]) -> Callable[[object], None]:
    def run(_: object) -> None:
        for thing in things:
            operation(thing)

    return run


def _timed_documents(operation: Callable[[Any], object], n: int) -> int:
    return _timed(operation, range(n))


def _timed(operation: Callable[[Any], object], things: Iterable[Any]) -> int:
    """Return the processor time in nanoseconds of an operation on each of several things."""
    gc.collect()
    gc.disable()
    try:
        start = time.process_time_ns()
        for thing in things:
            operation(thing)
        return time.process_time_ns() - start
    finally:
        gc.enable()


def main(tree: Path, documents: Path) -> None:
    """Answer requests until the input ends."""
    assert Path(xkeymsg.__file__).is_relative_to(tree), "the package of another tree"
    side = Side(tree, documents)
    print("ready", xkeymsg.__version__, flush=True)
    for line in sys.stdin:
        _, operation, _, n = line.split()
        print(side.operations[operation](int(n)), flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
