"""One build of the npm package for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.js.package import Package, built


@pytest.fixture(scope="session")
def package(shared_folder: Path) -> Package:
    return built(shared_folder)
