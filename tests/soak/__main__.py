"""Faults while messages flow: `python -m tests.soak --help`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from dataclasses import replace

from tests.running import end_on_signals
from tests.soak import announced, mistakes, scenarios
from tests.soak.arena import Plan
from tests.soak.memory import memory

ALL = scenarios.ALL | announced.ALL | mistakes.ALL


def main(arguments: list[str]) -> int:
    """Run scenarios; return 1 if the books of one do not balance."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--scenario", choices=[*ALL], action="append")
    parser.add_argument("--messages", type=int, help="for each scenario")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--short", action="store_true", help="as in the tests")
    parser.add_argument("--memory", type=float, metavar="SECONDS", help="watch a receiver's memory")
    parser.add_argument("--rate", type=float, default=5_000, help="a second, with --memory")
    given = parser.parse_args(arguments)
    if given.memory:
        growth = asyncio.run(memory(given.memory, given.rate))
        print("\n".join(growth.lines()))
        return 1 if growth.errors() else 0
    code = 0
    for name in given.scenario or [*ALL]:
        scenario, long, short = ALL[name]
        plan: Plan = short if given.short else long
        if given.messages:
            plan = replace(plan, messages=given.messages)
        print(f"{name}: seed {given.seed}", flush=True)
        ledger = asyncio.run(scenario(plan, given.seed))
        print("\n".join(ledger.lines()), flush=True)
        code |= bool(ledger.errors())
    return code


if __name__ == "__main__":
    end_on_signals()
    sys.exit(main(sys.argv[1:]))
