"""What programs about forks share: `python -m tests.envelope.story TEXT` runs a text with it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable

from tests.envelope.cast import ALICE, BOB, SUBJECT, reader
from tests.envelope.forge import head_of
from tests.envelope.inside import is_empty, running
from xkeymsg import Opener, ReplayError, Sealer, ambient

GIVEN = (contextlib, time, reader, head_of, is_empty, running, Opener, ReplayError, ambient)
"""What only the texts use."""

sealer = Sealer(ALICE)


def seal(data: bytes = b"x") -> bytes:
    return sealer.seal(data, to=[BOB.public], subject=SUBJECT)


def in_child(work: Callable[[], bytes]) -> bytes:
    """Run work in a child and return the bytes that it returned; kill a child that hangs."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        watch = threading.Timer(20, os._exit, [9])
        watch.daemon = True
        watch.start()
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(work())
            os._exit(0)
        except BaseException as error:  # noqa: BLE001
            print(repr(error), file=sys.stderr)
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return result


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # that this process has threads
    exec(compile(sys.argv[1], "<story>", "exec"))
