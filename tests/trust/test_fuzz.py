"""Some thousands of mutated claims; `make fuzz` tries a million (T-1)."""

from __future__ import annotations

from tests.cases import for_each
from tests.trust.fuzz import run


@for_each("seed", range(4))
def test_mutations_are_refused_with_our_errors_or_signed(seed: int) -> None:
    said = run(1500, seed)
    assert said.total() == 1500
    assert {"admitted", "malformed_claim", "bad_signature", "wrong_issuer"} <= said.keys()
    assert "too long" not in said
