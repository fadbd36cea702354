"""Every key stands in the example; and the example is right."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.daemons.common.example import DEPLOY, uncommented
from tests.daemons.sender.conftest import ALICE
from tests.running import run
from xkeymsg.daemons.common.sections import (
    DrainSection,
    NatsSection,
    ObserveSection,
    PlainNatsSection,
    SourcesSection,
)
from xkeymsg.daemons.common.tables import Section
from xkeymsg.daemons.sender.config import SenderKeySection, SenderRoute
from xkeymsg.trust.stores.file import write_seed

SECTIONS: dict[str, type[Section]] = {
    "[key]": SenderKeySection,
    "[trust]": SourcesSection,
    "[nats]": NatsSection,
    "[source]": PlainNatsSection,
    "[[route]]": SenderRoute,
    "[observe]": ObserveSection,
    "[drain]": DrainSection,
}


def fields(section: type[Section]) -> set[str]:
    """The keys of a section; those of [nats] once."""
    return {"servers"} if section is PlainNatsSection else set(section.model_fields)


def example() -> list[tuple[str, str]]:
    """Every table of the example with its text, comments taken off where they are settings."""
    text = uncommented((DEPLOY / "sender.toml").read_text())
    parts = re.split(r"^(\[\[?[a-z]+\]\]?)$", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def test_every_key_is_in_the_example() -> None:
    seen: dict[str, set[str]] = {title: set() for title in SECTIONS}
    for title, text in example():
        seen[title] |= set(re.findall(r"^([a-z_]+) = ", text, re.MULTILINE))
    assert seen == {title: fields(section) for title, section in SECTIONS.items()}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The example as it would be installed."""
    for name in ("sender.toml", "peers.toml"):
        shutil.copy(DEPLOY / name, tmp_path)
    write_seed(tmp_path / "xkey", ALICE)
    return tmp_path


def check(folder: Path) -> tuple[int, bytes]:
    env = os.environ | {"CREDENTIALS_DIRECTORY": str(folder)}
    done = run("sender", "--config", str(folder / "sender.toml"), "--check", env=env)
    return done.returncode, done.stderr


def test_the_example_passes_the_check(installed: Path) -> None:
    code, said = check(installed)
    assert code == 0, said


def test_what_is_commented_out_in_the_example_would_be_right_too(installed: Path) -> None:
    text = (DEPLOY / "sender.toml").read_text()
    head, routes = text.split("[source]")[0], "[source]" + text.split("[source]")[1]
    routes = (
        uncommented(routes)
        .replace("/var/lib/xkeymsg-sender", ".")
        .replace("stdin = false", "stdin = true")
    )
    (installed / "sender.toml").write_text(head + routes)
    for name in ("2025.ndjson", "2026.ndjson"):
        (installed / name).write_text("")
    (installed / "policy.toml").write_text(
        '[[rule]]\npattern = "/**"\nreaders = ["clinic", "billing"]\n'
    )
    key = ALICE.public
    for name in ("bob", "carol"):
        with (installed / "peers.toml").open("a") as file:
            file.write(f'[peers.{name}]\nxkey = "{key}"\npermissions = ["billing"]\n')
    code, said = check(installed)
    assert code == 0, said
