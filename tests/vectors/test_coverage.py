"""Every requirement is named by a published vector, or has a reason in vectors/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.cases import for_each
from tests.vectors import coverage

FILES = (
    "xkm1",
    "xkm1-large",
    "keys",
    "seal",
    "fields",
    "trust",
    "objects",
    "kv",
    "reseal",
    "armour",
    "seeds",
)


@cache
def published() -> tuple[dict[str, Any], ...]:
    folder = coverage.ROOT / "vectors"
    return tuple(
        vector for name in FILES for vector in json.loads((folder / f"{name}.json").read_text())
    )


def rules_of(vector: dict[str, Any]) -> list[str]:
    return vector["spec"] if "spec" in vector else [vector["rule"]]


def outcomes_of(vector: dict[str, Any]) -> Iterator[str]:
    """The codes that a vector expects."""
    if "step" in vector:
        yield from (step.split(" ")[-1].split("-")[0] for step in vector["step"])
    yield vector.get("expect", "")


@for_each("letter", coverage.SPECS)
def test_every_requirement_has_a_vector_or_a_reason(letter: str) -> None:
    required = coverage.requirements(coverage.SPECS[letter]).keys()
    assert list(required) == [f"{letter}-{n}" for n in range(1, len(required) + 1)]
    assert len(required) == coverage.SPECS[letter].count(f"[{letter}-")
    named = {rule for one in published() for rule in rules_of(one) if rule.startswith(letter)}
    reasons = {rule for rule in coverage.without_vector() if rule.startswith(letter)}
    assert not named & reasons
    assert named | reasons == required


def test_every_code_behind_a_requirement_has_a_vector() -> None:
    tested = {
        (rule, code) for one in published() for rule in rules_of(one) for code in outcomes_of(one)
    }
    missing = {
        (rule, code)
        for letter in "EF"
        for rule, codes in coverage.requirements(coverage.SPECS[letter]).items()
        for code in codes
        if rule not in coverage.without_vector() and (rule, code) not in tested
    }
    assert not missing
