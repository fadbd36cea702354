"""Some thousands of mutated claims; `make fuzz` tries a million (T-1)."""

from __future__ import annotations

import pytest

from tests.trust.fuzz import run


@pytest.mark.parametrize("seed", range(4))
def test_mutations_are_refused_with_our_errors_or_signed(seed: int) -> None:
    said = run(1500, seed)
    assert said.total() == 1500
    assert {"admitted", "malformed_claim", "bad_signature", "wrong_issuer"} <= said.keys()
    assert "too long" not in said
