"""What became of strangers' messages, and of what is still in the stream, entered in the books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from tests.soak.ledger import Ledger
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord

STREAM, DURABLE = "ORDERS", "workers"

OF_ADMITTED: Final = frozenset(("expired",))
"""Kinds that an admitted sender made, and for a subject of its own: that is proven of them."""


@dataclass
class Audit:
    """Everything that is known besides what the receivers say."""

    honest: Mapping[bytes, str]
    """What was sealed, as far as it is known, and the ids."""
    shots: Mapping[bytes, str]
    """What strangers published, and of which kind it is."""
    places: Mapping[bytes, range]
    """Where the stream keeps what of this it has acknowledged."""
    given_up: Set[int] = frozenset()
    """Places of what receivers say they gave up."""
    kept: set[bytes] = field(default_factory=set)
    """What is in quarantine."""

    def read_quarantine(
        self, ledger: Ledger, records: Iterable[tuple[str, QuarantineRecord]]
    ) -> None:
        """Enter the records, each with the name of its quarantine: `proven` or `unproven`."""
        times: Counter[bytes] = Counter()
        for proof, record in records:
            ledger.quarantined[f"{proof}: {record.reason}"] += 1
            data, known = record.data, self.places.get(record.data)
            times[data] += 1
            kind = self.shots.get(data)
            if kind is not None:
                right = "proven" if kind in OF_ADMITTED else "unproven"
                ledger.misjudged += proof != right
                ledger.repeated_records += times[data] > 1
            elif data in self.honest:
                ledger.aside[self.honest[data]] += 1
            else:
                ledger.unknown += 1
            of_ours = (record.stream, record.consumer) == (STREAM, DURABLE)
            in_place = known is None or record.sequence in known
            ledger.misplaced += not (of_ours and in_place)
        self.kept |= times.keys()
        self._read_shots(ledger)

    def _read_shots(self, ledger: Ledger) -> None:
        for data, kind in self.shots.items():
            known = self.places.get(data)
            ledger.hostile[kind] += known is not None or data in self.kept
            if known is None or data in self.kept:
                continue
            # What is proven is never given up, and one that is has its place, which is its own.
            said = kind not in OF_ADMITTED and not self.given_up.isdisjoint(known)
            (ledger.given_up if said else ledger.missing)[kind] += 1

    def read_stream(
        self,
        ledger: Ledger,
        stored: Iterable[tuple[int, bytes]],
        is_delivered: Callable[[bytes], bool],
    ) -> None:
        """Enter what is still in the stream, where a receiver's answer should have deleted it.

        Args:
            ledger: The books.
            stored: What is there, and its place.
            is_delivered: Whether an honest message is in the sink, by what was sealed.
        """
        for sequence, data in stored:
            kind = self.shots.get(data)
            if kind is None:
                done = data in self.kept or is_delivered(data)
            else:
                given_up = kind not in OF_ADMITTED and sequence in self.given_up
                done = data in self.kept or given_up
            ledger.left_behind += done
            ledger.left += not done
