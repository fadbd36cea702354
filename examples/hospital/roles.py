"""One message, four roles: what each role sees of a hospital's records.

Seals all 1,066 FHIR resources for four roles, opens every message as each of them, and prints how
much each role saw, and a table of one resource: the one whose id is the argument, if there is one.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xkeymsg import NotARecipientError, Opener, Policy, Sealer, XKeyPair

HERE = Path(__file__).parent
SUBJECT = "ehr.records"
ROLES = ("clinic", "billing", "research", "audit")
SHOWN = "f13d3b8d-0097-4b35-8d6e-31c73ac2601c"
SEEN, WITHHELD = "✓", "·"


def resources() -> list[dict[str, Any]]:
    """Read the records, one per line."""
    return [json.loads(line) for line in (HERE / "patients.ndjson").read_text().splitlines()]


def document_of(resource: dict[str, Any]) -> dict[str, Any]:
    """Wrap a resource in its type, with which the patterns of policy.toml begin."""
    return {resource["resourceType"]: resource}


def fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of every field, except withheld list items."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if isinstance(item, dict | list):
            yield from fields(item, f"{path}/{name}")
        elif item is None or isinstance(item, bool | int | float | str):
            yield f"{path}/{name}", item


def opened(opener: Opener, envelope: bytes) -> dict[str, Any]:
    """Return the fields a role sees; none if it may see no field and so is not a recipient."""
    try:
        view = opener.open_document(envelope, subject=SUBJECT)
    except NotARecipientError:
        return {}
    return dict(fields(view.document))


def print_table(rows: list[tuple[str, ...]]) -> None:
    """Print left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def shorten(value: Any) -> str:
    """Return a value as JSON, cut to the width of a column."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def main(arguments: list[str]) -> None:
    """Seal and open every resource, and print the tables."""
    policy = Policy.load(HERE / "policy.toml")
    keys = {role: XKeyPair.generate() for role in ROLES}
    readers = {role: [pair.public] for role, pair in keys.items()}
    sealer = Sealer(XKeyPair.generate())
    openers = {role: Opener(pair, senders={sealer.public}) for role, pair in keys.items()}

    wanted = arguments[0] if arguments else SHOWN
    seen: dict[str, Counter[str]] = {}
    shown: dict[str, dict[str, Any]] = {}
    records = resources()
    for resource in records:
        kind = resource["resourceType"]
        envelope = sealer.seal_document(
            document_of(resource), policy=policy, readers=readers, subject=SUBJECT
        )
        views = {role: opened(openers[role], envelope) for role in ROLES}
        counts = seen.setdefault(kind, Counter())
        counts["resources"] += 1
        counts.update({role: len(view) for role, view in views.items()})
        if resource["id"] == wanted:
            shown = views

    print(f"{len(records):,} resources sealed, each once for all roles. Fields each role saw:\n")
    heads = ("", "resources", *ROLES)
    rows = [(kind, *(f"{counts[head]:>6,}" for head in heads[1:])) for kind, counts in seen.items()]
    print_table([heads, *rows])
    if not shown:
        raise SystemExit(f"\nno resource has the id {wanted}")
    print("\nOne resource as each role sees it:\n")
    rows = [
        (path, shorten(value), *(SEEN if path in view else WITHHELD for view in shown.values()))
        for path, value in shown["audit"].items()
    ]
    print_table([("", "value", *ROLES), *rows])


if __name__ == "__main__":
    main(sys.argv[1:])
