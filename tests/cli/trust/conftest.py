"""A store that nsc made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent.parent / "data" / "nsc-store"


@pytest.fixture
def nsc_store(tmp_path: Path) -> Path:
    """A copy of the recorded store, with the modes that nsc gives."""
    root = tmp_path / "nsc"
    shutil.copytree(DATA, root)
    shutil.move(root / "creds", root / "keys" / "creds")
    for path in root.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return root
