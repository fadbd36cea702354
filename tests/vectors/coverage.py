"""The requirements of the specifications, and those that no vector can test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
README: Final = (ROOT / "vectors/README.md").read_text()
SPECS: Final = {
    letter: (ROOT / f"docs/spec/{name}.md").read_text()
    for letter, name in {
        "E": "envelope",
        "F": "fields",
        "T": "trust",
        "B": "objects",
        "K": "kv",
        "R": "reseal",
        "X": "text",
    }.items()
}


def requirements(spec: str) -> dict[str, set[str]]:
    """Every id of a specification, with the codes after an arrow in its text."""
    blocks = re.findall(
        r"^- \[([A-Z]-\d+)\](.*?)(?=^- \[[A-Z]-|^$)", spec, re.MULTILINE | re.DOTALL
    )
    return {rule: set(re.findall(r"→\s+`(\w+)`", text)) for rule, text in blocks}


def without_vector() -> set[str]:
    """The ids in the table of reasons in vectors/README.md."""
    section = README.split("## Requirements without a vector\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([A-Z]-[^|]*) \| \S[^|]* \|$", section, re.MULTILINE)
    ids: list[str] = [rule for row in rows for rule in row.split(", ")]
    assert len(ids) == len(set(ids))
    return set(ids)


def codes() -> list[str]:
    """The codes in the table under the heading Error codes."""
    section = SPECS["E"].split("### Error codes\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([a-z_, ]+) \|", section, re.MULTILINE)
    return [code for row in rows for code in row.split(", ") if code != "code"]
