"""What docs/spec/fields.md requires, and which requirements no vector can test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

SPEC: Final = (Path(__file__).parent.parent.parent / "docs/spec/fields.md").read_text()

ENVELOPE: Final = "shows in an envelope, and a vector has plaintexts"
NO_VECTOR: Final = {
    "F-44": ENVELOPE,
    "F-50": ENVELOPE,
}


def requirements() -> dict[str, set[str]]:
    """Every id of the specification, with the codes that stand behind an arrow in its text."""
    blocks = re.findall(r"^- \[(F-\d+)\](.*?)(?=^- \[F-|^$)", SPEC, re.MULTILINE | re.DOTALL)
    return {rule: set(re.findall(r"→\s+`(\w+)`", text)) for rule, text in blocks}
