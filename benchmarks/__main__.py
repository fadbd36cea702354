"""Run benchmark suites: `python -m benchmarks [SUITE …]`, or `against REF`, a git commit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import (
    against,
    client,
    directory,
    documents,
    envelope,
    kv,
    native,
    objects,
    recipients_plot,
    stores,
    trust,
    wire,
    xkv1,
)
from benchmarks.harness import Pace
from benchmarks.machine import machine
from benchmarks.report import AnyPromise, Report, Suite

SUITES: dict[str, tuple[Suite, tuple[AnyPromise, ...]]] = {
    "xkv1": (xkv1.suite, xkv1.PROMISES),
    "envelope": (envelope.suite, envelope.PROMISES),
    "documents": (documents.suite, documents.PROMISES),
    "wire": (wire.suite, wire.PROMISES),
    "client": (client.suite, client.PROMISES),
    "native": (native.suite, native.PROMISES),
    "objects": (objects.suite, objects.PROMISES),
    "kv": (kv.suite, kv.PROMISES),
    "stores": (stores.suite, stores.PROMISES),
    "directory": (directory.suite, directory.PROMISES),
    "trust": (trust.suite, trust.PROMISES),
}

_FULL = Pace(batches=30, milliseconds=10)
_QUICK = Pace(batches=8, milliseconds=5, quick=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure xkeymsg.")
    parser.add_argument(
        "suites",
        metavar="SUITE",
        nargs="*",
        help=f"{', '.join(SUITES)} (all of these); or: against REF, a git commit",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all raw figures there")
    parser.add_argument("--svg", metavar="FILE", type=Path, help="plot the suite `envelope` there")
    parser.add_argument("--batches", metavar="N", type=int, help="of each contender (30)")
    parser.add_argument("--quick", action="store_true", help="few and short batches: a first look")
    arguments = parser.parse_args()
    arguments.chosen = dict(_chosen(arguments.suites or list(SUITES), parser))
    if arguments.batches is not None and arguments.batches < 1:
        parser.error("--batches is at least 1")
    if arguments.svg is not None and "envelope" not in arguments.chosen:
        parser.error("--svg plots the suite envelope, which is not measured")
    return arguments


def _chosen(
    words: list[str], parser: argparse.ArgumentParser
) -> Iterator[tuple[str, tuple[Suite, tuple[AnyPromise, ...]]]]:
    """Return the suites by name; `against` takes the word after it."""
    names = iter(words)
    for name in names:
        if name == "against":
            try:
                against.describe(ref := next(names, ""))
            except LookupError as error:
                parser.error(f"against needs a commit to compare with: {error}")
            yield name, (against.suite(ref), against.PROMISES)
        elif name in SUITES:
            yield name, SUITES[name]
        else:
            parser.error(f"no suite {name!r}; there are {', '.join(SUITES)}, and against REF")


def main() -> None:
    """Measure, print, and write the JSON file."""
    arguments = _arguments()
    pace = _QUICK if arguments.quick else _FULL
    if arguments.batches is not None:
        pace = replace(pace, batches=arguments.batches)
    about = machine()
    print(f"{about['python']}, {about['system']}, {about['cpus']} CPUs, load {about['load']}")
    print(f"{pace.batches} batches of about {pace.milliseconds:g} ms each\n", flush=True)
    report, promises = Report(pace), list[AnyPromise]()
    for suite, promised in arguments.chosen.values():
        suite(report)
        promises += promised
    report.print_promises(promises)
    if arguments.svg is not None:
        arguments.svg.write_text(recipients_plot.plot(report))
    if arguments.json is not None:
        result = {"machine": about, **report.as_json(promises)}
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
