"""The example of a configuration file in `deploy/`."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ("DEPLOY", "ROOT", "uncommented")

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"


def uncommented(text: str) -> str:
    """Return an example with the settings that are comments in it."""
    return re.sub(r"^#(?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
