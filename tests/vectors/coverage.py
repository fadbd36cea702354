"""What the specification requires, and which requirements no vector can test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

SPEC: Final = (Path(__file__).parent.parent.parent / "docs/spec/envelope.md").read_text()

SEALER: Final = "binds the sealer, and a vector is opened"
NO_VECTOR: Final = {
    "E-1": SEALER + "; tests/reference/test_reference.py",
    "E-2": "no sound key gives a zero secret; tests/reference/test_reference.py",
    "E-13": "binds a program that accepts several formats",
    "E-21": SEALER,
    "E-22": SEALER,
    "E-23": SEALER,
    "E-24": SEALER,
    "E-25": SEALER,
    "E-26": SEALER,
    "E-27": SEALER,
    "E-29": SEALER + "; equal tags cannot be found on purpose",
    "E-36": "which multiplications are done is not seen; tests/reference/test_reference.py",
    "E-38": "what a cache holds is not seen",
    "E-39": "what a cache displaces is not seen",
    "E-80": "binds the caller",
    "E-84": "binds the consumer",
    "E-87": "binds the sender",
    "E-89": "how an implementation refuses is its interface: a refusal has no content to give",
}


def requirements() -> dict[str, set[str]]:
    """Every id of the specification, with the codes that stand behind an arrow in its text."""
    blocks = re.findall(r"^-? ?\[(E-\d+)\](.*?)(?=^-? ?\[E-|^$)", SPEC, re.MULTILINE | re.DOTALL)
    return {rule: set(re.findall(r"→\s+`(\w+)`", text)) for rule, text in blocks}


def codes() -> list[str]:
    """The codes in the table under the heading Error codes."""
    section = SPEC.split("### Error codes\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z_, ]+) \|", section, re.MULTILINE)
    return [code for row in rows for code in row.split(", ") if code != "code"]
