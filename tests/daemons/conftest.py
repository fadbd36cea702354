"""A hospital whose daemons find each other in the directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.daemons.common.hospital import Hospital


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    found = Hospital(tmp_path / "HOSPITAL")
    async with found.running():
        yield found
