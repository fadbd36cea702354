"""The page about the console: its commands run, and every setting is explained."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.daemons.common.explained import ROOT, check_explained
from tests.test_documents import run_session
from tests.test_guides import write_files
from xkeymsg.cli.console.config import ConsoleConfig, LoginSection, SubjectSection, TLSSection
from xkeymsg.daemons.common.tables import Section

TEXT = (ROOT / "docs" / "console.md").read_text()
TABLES = {"subject", "nats", "trust", "tls", "login"}
SECTIONS: dict[str, type[Section]] = {
    "[[subject]]": SubjectSection,
    "[tls]": TLSSection,
    "[login]": LoginSection,
}


@pytest.mark.skipif(shutil.which("sh") is None, reason="sh is not installed")
def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    assert write_files(TEXT, tmp_path) == ["console.toml", "policy.toml"]
    [session] = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    shown = [line for line in session.splitlines() if not line.startswith("$ ")]
    assert [line.strip() for line in run_session(session, tmp_path)] == shown


def test_every_setting_is_explained() -> None:
    keys = ConsoleConfig.model_fields.keys() - TABLES
    check_explained("console.md", "console", ConsoleConfig, set(keys))
    for title, section in SECTIONS.items():
        check_explained("console.md", title, section, set(section.model_fields))
