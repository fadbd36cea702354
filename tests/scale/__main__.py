"""Replay and opening at scale: `python -m tests.scale --help`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Callable

from tests.running import end_on_signals
from tests.scale.mutations import mutations
from tests.scale.objects import objects
from tests.scale.outcome import Outcome
from tests.scale.pace import flood, rate
from tests.scale.reseal import reseal
from tests.scale.rotation import rotation
from tests.scale.stores import interruptions, stores
from tests.scale.streams import recreated, rewound, takeover

CHECKS: dict[str, Callable[[argparse.Namespace], Outcome]] = {
    "takeover": lambda _: asyncio.run(takeover()),
    "rewound": lambda _: asyncio.run(rewound()),
    "recreated": lambda _: asyncio.run(recreated()),
    "rate": lambda _: rate(),
    "flood": lambda _: flood(),
    "objects": lambda _: asyncio.run(objects()),
    "object-lists": lambda _: asyncio.run(objects(size=160 << 20, max_payload=16 << 10)),
    "rotation": lambda _: asyncio.run(rotation()),
    "reseal": lambda _: asyncio.run(reseal()),
    "stores": lambda _: asyncio.run(stores()),
    "interruptions": lambda _: interruptions(),
    "mutations": lambda given: mutations(given.seed, given.mutations, given.unit),
}


def main(arguments: list[str]) -> int:
    """Run checks; return 1 if one of them finds an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--check", choices=[*CHECKS], action="append", help="all, by default")
    parser.add_argument("--mutations", type=int, default=1_000_000, help="how many (10^6)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--unit", type=int, default=0, help="of the mutations, the first")
    given = parser.parse_args(arguments)
    failed = []
    for name in given.check or [*CHECKS]:
        seed = f": seed {given.seed}, from unit {given.unit}" if name == "mutations" else ""
        print(f"{name}{seed}", flush=True)
        started = time.monotonic()
        outcome = CHECKS[name](given)
        took = f"{time.monotonic() - started:.0f} s"
        lines = [*outcome.lines, *(f"ERROR: {error}" for error in outcome.errors), took]
        print("\n".join(f"  {line}" for line in lines), flush=True)
        if outcome.errors:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main(sys.argv[1:]))
