"""A short run of the structure-aware cases; `make native` runs more."""

from __future__ import annotations

import pytest

from tests.native.cases import Cases
from xkeymsg import native

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not in use")


def test_the_native_core_makes_the_same_bytes_and_opens_the_same_envelopes() -> None:
    cases = Cases(1)
    cases.run(3000)
    seen = {outcome for outcome, times in cases.outcomes.items() if times}
    assert {"sealed", "genuine: opened", "malicious: opened", "malicious: malformed"} <= seen
    assert {"altered: authentication", "malicious: authentication"} <= seen
