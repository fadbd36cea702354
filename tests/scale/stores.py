"""Key stores: swaps at 1,000 messages a second, and SIGKILL before each line that writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.key_stores.swapping import BOB, swap, three_stores
from tests.key_stores.test_cli import run
from tests.key_stores.test_pkcs11 import MISSING, new_token
from tests.key_stores.test_rotation import killed, token_of
from tests.scale.outcome import Outcome

__all__ = ("interruptions", "stores")

_EACH = 10_000


async def stores() -> Outcome:
    """Swap from a file to a token, to a command and back, with 10,000 messages in each."""
    outcome = Outcome()
    if MISSING:
        outcome.note(f"skipped, not installed: {', '.join(MISSING)}")
        return outcome
    with TemporaryDirectory() as path:
        folder = Path(path)
        env = new_token(folder)
        several = three_stores(folder)
        run("key", "import", "-K", several[1], "-", env=env, data=BOB.seed().encode())
        outcome.expect("faults", [], await swap(folder, env, several, each=_EACH))
        outcome.note(f"{_EACH * len(several):,} messages, {len(several) - 1} swaps")
    return outcome


def interruptions() -> Outcome:
    """Kill a process before each line of each change of a folder, and of a token."""
    outcome = Outcome()
    with TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as path:
        folder = Path(path)
        (folder / "keys").mkdir(mode=0o700)
        places: list[tuple[str, Mapping[str, str]]] = [(f"file:{folder / 'keys'}", os.environ)]
        if not MISSING:
            places.append((token_of(folder), new_token(folder)))
        for store, env in places:
            kind, said = store.partition(":")[0], ""
            try:
                said = killed(store, 1, env)
            except AssertionError as error:
                outcome.errors.append(f"{kind}: {error}")
            outcome.lines += [f"{kind}: {line}" for line in said.splitlines()]
    return outcome
