"""Swaps of a receiver's key store at 1,000 messages a second."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.key_stores.swapping import BOB, swap, three_stores
from tests.key_stores.test_cli import run
from tests.key_stores.test_pkcs11 import MISSING, new_token
from tests.scale.outcome import Outcome

__all__ = ("stores",)

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
