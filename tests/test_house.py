"""Rules of the house: one name for a class, files that can be read at once, plain English."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.test_layers import FILES, ROOT

MOST = 450
"""Lines of a file."""
LARGER: dict[str, int] = {}
"""Files that are larger, and how large they may be."""

HABITS = re.compile(
    r"[Ee]xpected (?:is|are|first|beside)\b|\b(?:is|are) none\b|\b[Aa]new\b|\b[Ii]n the place of\b"
    r"|\b[Ff]or ever\b|\b[Bb]esides\b|\bsaid aloud\b|\b(?:is|are) said\b"
)
PROSE = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "vectors/*.md", "examples/**/*.md", "deploy/*")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
CODE = sorted(
    path for top in ("xkeymsg", "sender", "receiver") for path in (ROOT / top).rglob("*.py")
)


def test_no_class_name_is_used_twice() -> None:
    homes = defaultdict(list)
    for name, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_can_be_read_at_once(path: Path) -> None:
    most = LARGER.get(str(path.relative_to(ROOT)), MOST)
    assert len(path.read_text().splitlines()) <= most


@pytest.mark.parametrize("path", [*CODE, *PROSE], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_worst_habits_of_language_stay_out(path: Path) -> None:
    lines = path.read_text().splitlines()
    found = [f"{at}: {line.strip()}" for at, line in enumerate(lines, 1) if HABITS.search(line)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    ["expected is a text", "'x' is none", "read anew", "in the place of it", "for ever", "besides"],
)
def test_a_habit_is_seen(line: str) -> None:
    assert HABITS.search(line)
