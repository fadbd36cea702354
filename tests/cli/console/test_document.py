"""The page about the console: its commands run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.daemons.common.example import ROOT
from tests.test_documents import run_session
from tests.test_guides import write_files

TEXT = (ROOT / "docs" / "console.md").read_text()


@pytest.mark.skipif(shutil.which("sh") is None, reason="sh is not installed")
def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    assert write_files(TEXT, tmp_path) == ["console.toml", "policy.toml"]
    [session] = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    shown = [line for line in session.splitlines() if not line.startswith("$ ")]
    assert [line.strip() for line in run_session(session, tmp_path)] == shown
