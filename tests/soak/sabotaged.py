"""A receiver that loses, alters and forgets, which the books have to show.

It takes the arguments of `tests.soak.receiving`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from receiver.__main__ import main
from tests.soak.receiving import prepare
from xkeymsg.client.jetstream.quarantine import Quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.daemons.common.records import Record as Line
from xkeymsg.daemons.receiver.sinks.files import Files

LOST, ALTERED, OF = 7, 9, 50
"""Of fifty honest messages: one that no sink gets, and one that says something else."""


def sabotage() -> None:
    """Have sink and quarantine say yes to what they do not keep."""
    deliver = Files.deliver

    async def delivering(self: Files, batch: Sequence[Line]) -> None:
        await deliver(self, [line for each in batch if (line := _line(each)) is not None])

    async def forgetting(self: Quarantine, record: QuarantineRecord, *, must: bool = False) -> bool:
        return True

    Files.deliver = delivering  # type: ignore[method-assign]
    Quarantine.keep_unproven = forgetting  # type: ignore[method-assign]


def _line(line: Line) -> Line | None:
    record = json.loads(line.line)
    which = json.loads(record["data"])["n"] % OF
    if which == LOST:
        return None
    if which == ALTERED:
        record["subject"] = "orders.x"
    return line._replace(line=json.dumps(record).encode())


if __name__ == "__main__":
    sabotage()
    prepare()
    main()
