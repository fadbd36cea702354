"""One build of the npm package for all tests."""

from __future__ import annotations

import os

import pytest

from tests.js.package import Package, built


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.getbasetemp()
    # With several workers, each has a folder in one that they share.
    return built(folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder)
