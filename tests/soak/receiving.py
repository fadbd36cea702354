"""A receiver that writes down what it gave up: `python -m tests.soak.receiving FILE SECONDS …`.

A daemon counts these and logs one a second. Here each has to be told from the others: FILE gets a
line with its place in the stream, at once, so that a receiver that is killed leaves it so. SECONDS
is how long it tries to keep what is unproven, where the product takes one second: where no server
is away, nothing is given up, however slowly it answers. The other arguments are the receiver's.
"""

from __future__ import annotations

import os
import sys

from receiver.__main__ import main
from xkeymsg.client.jetstream import quarantine
from xkeymsg.client.jetstream.events import ConsumerEvent
from xkeymsg.daemons.receiver.stream_route import StreamRoute


def prepare() -> None:
    """Take the first two arguments."""
    write_down(sys.argv.pop(1))
    quarantine.UNPROVEN_TIMEOUT = float(sys.argv.pop(1))  # type: ignore[misc]


def write_down(path: str) -> None:
    """Have every route write down what it gives up."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    note = StreamRoute.note

    def noting(self: StreamRoute, event: ConsumerEvent) -> None:
        if event.kind == "lost":
            os.write(descriptor, b"%d\n" % event.sequence)
        note(self, event)

    StreamRoute.note = noting  # type: ignore[method-assign]


if __name__ == "__main__":
    prepare()
    main()
