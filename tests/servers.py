"""What the nats-server under test can do; `make servers` tests with older ones."""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from xkeymsg.testing.server import binary

__all__ = ("needs_server",)


@cache
def version() -> tuple[int, int]:
    """Return the major and minor version of the nats-server under test."""
    said = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"v(\d+)\.(\d+)\.", said.stdout)
    assert match is not None, said.stdout
    return int(match[1]), int(match[2])


def needs_server(major: int, minor: int, feature: str) -> pytest.MarkDecorator:
    """Skip a test where the nats-server is too old for a feature."""
    reason = f"{feature} needs nats-server {major}.{minor}"
    return pytest.mark.skipif(version() < (major, minor), reason=reason)
