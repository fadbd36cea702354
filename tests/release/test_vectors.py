"""The promise of docs/compatibility.md: a vector that was released is never changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.test_layers import ROOT

PROMISED = ("vectors/xkm1", "vectors/replay", "vectors/fields", "vectors/xkv1")
"""Folders with one file for each vector."""


def git(*arguments: str, folder: Path) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def changed(folder: Path) -> list[str]:
    """Return the vectors of the last release that were changed or removed since.

    Raises:
        CalledProcessError: If there is no release.
    """
    tag = git("describe", "--tags", "--abbrev=0", "--match", "v*", folder=folder).strip()
    command = ("diff", "--no-renames", "--diff-filter=MD", "--name-only", tag, "--", *PROMISED)
    return git(*command, folder=folder).splitlines()


def test_no_released_vector_is_changed() -> None:
    assert all([*(ROOT / folder).rglob("*")] for folder in PROMISED)
    try:
        assert changed(ROOT) == []
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no release to compare with: {error}")


def test_a_change_of_a_released_vector_is_seen(tmp_path: Path) -> None:
    git("init", "-q", folder=tmp_path)
    folder = tmp_path / "vectors" / "xkm1"
    folder.mkdir(parents=True)
    for name in ("same", "changed", "removed"):
        (folder / name).write_text(name)
    (tmp_path / "vectors" / "README.md").touch()
    git("add", ".", folder=tmp_path)
    git("commit", "-q", "-m", "one", folder=tmp_path)
    git("tag", "v0.1.0", folder=tmp_path)
    assert changed(tmp_path) == []
    (folder / "changed").write_text("other")
    (folder / "removed").rename(folder / "added")
    (tmp_path / "vectors" / "README.md").write_text("text may change")
    assert changed(tmp_path) == ["vectors/xkm1/changed", "vectors/xkm1/removed"]
