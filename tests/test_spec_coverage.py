"""Every requirement of the specifications is named by a test or a vector, and no other is."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cases import for_each

ROOT = Path(__file__).parent
SPECS = sorted((ROOT.parent / "docs" / "spec").glob("*.md"))
ID = re.compile(r"\b[BEFKRTX]-[1-9][0-9]*\b")


def defined(spec: Path) -> list[str]:
    return re.findall(r"^- \[([A-Z]-[0-9]+)\]", spec.read_text(), re.MULTILINE)


def named() -> dict[str, set[str]]:
    """Every id that tests and vectors name, with where."""
    found: dict[str, set[str]] = {}
    for path in ROOT.rglob("*"):
        if path == Path(__file__):
            continue
        code = path.suffix == ".py" and "reference" not in path.parts
        vector = not path.suffix and path.is_file() and "vectors" in path.parts
        if code or vector:
            for name in ID.findall(path.read_text()):
                found.setdefault(name, set()).add(str(path.relative_to(ROOT)))
    return found


def test_there_is_a_specification() -> None:
    assert [spec.name for spec in SPECS] >= ["envelope.md"]


@for_each("spec", SPECS, ids=lambda spec: spec.name)
def test_ids_are_consecutive_and_every_must_has_one(spec: Path) -> None:
    ids = defined(spec)
    letter = ids[0][0]
    assert ids == [f"{letter}-{number}" for number in range(1, len(ids) + 1)]
    for item in re.split(r"\n(?=\S)|\n\n", spec.read_text()):
        if re.search(r"\bMUST\b", item):
            assert re.match(r"- \[[A-Z]-[0-9]+\]", item), f"a MUST without an id: {item[:80]}"


@for_each("spec", SPECS, ids=lambda spec: spec.name)
def test_every_requirement_is_named_by_a_test_or_a_vector(spec: Path) -> None:
    missing = sorted(set(defined(spec)) - named().keys())
    assert missing == []


def test_no_test_names_a_requirement_that_is_not_there() -> None:
    known = {name for spec in SPECS for name in defined(spec)}
    assert {name: where for name, where in named().items() if name not in known} == {}
