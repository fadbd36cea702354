"""Rules of the house: one name for a class, files that can be read at once, plain English."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from tests.cases import for_each
from tests.conftest import LONGEST
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
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "vectors/*.md",
        "js/*.md",
        "examples/**/*.md",
        "deploy/*",
    )
    for path in ROOT.glob(pattern)
    if path.is_file()
)
TESTS = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != "inside.py"]
"""Tests that use public names alone; ruff's SLF001 sees attributes, and these tests the rest."""
PRIVATE = re.compile(r"(?:\w+\.)*_[A-Za-z]\w*")
BY_NAME = {"getattr", "setattr", "delattr", "object"}
"""Functions that take the name of an attribute; the last is `mock.patch.object`."""

CODE = sorted(
    path for top in ("xkeymsg", "sender", "receiver") for path in (ROOT / top).rglob("*.py")
)


def test_no_class_name_is_used_twice() -> None:
    homes = defaultdict(list)
    for name, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_a_file_can_be_read_at_once() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in CODE}
    assert {path: n for path, n in lines.items() if n > LARGER.get(path, MOST)} == {}


def test_the_longest_tests_are_there() -> None:
    for start in LONGEST:
        path, _, name = start.partition("::")
        assert f"def {name.partition('[')[0]}" in (ROOT / path).read_text(), start


def private_names(source: str) -> Iterator[str]:
    """Yield the private names that are imported, or given as a text to read or replace them."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(names=names):
                yield from (each.name for each in names if PRIVATE.fullmatch(each.name))
            case ast.Call(
                func=ast.Attribute(attr=called) | ast.Name(id=called),
                args=[ast.Constant(value=str(name)), *_] | [_, ast.Constant(value=str(name)), *_],
            ) if called in BY_NAME and PRIVATE.fullmatch(name):
                yield name


def test_tests_use_public_names() -> None:
    found = {str(path.relative_to(ROOT)): [*private_names(path.read_text())] for path in TESTS}
    assert len(found) > 300
    assert {path: names for path, names in found.items() if names} == {
        "tests/test_reprs.py": ["_is_protocol"]  # of Python's own `typing`
    }


@for_each(
    "line",
    [
        "from a import _b",
        "setattr(a, '_b', 1)",
        "patch.setattr('a._b', 1)",
        "patch.setattr(a, '_B', 1)",
        "mock.patch.object(a, '_b')",
    ],
)
def test_a_private_name_is_seen(line: str) -> None:
    assert len([*private_names(line)]) == 1
    assert not [*private_names(line.replace("_", ""))]


def test_the_worst_habits_of_language_stay_out() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{at}: {line.strip()}"
        for path in (*CODE, *PROSE)
        for at, line in enumerate(path.read_text().splitlines(), 1)
        if HABITS.search(line)
    ]
    assert found == []


@for_each(
    "line",
    ["expected is a text", "'x' is none", "read anew", "in the place of it", "for ever", "besides"],
)
def test_a_habit_is_seen(line: str) -> None:
    assert HABITS.search(line)
