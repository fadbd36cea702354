"""The codes of errors: the explanations are on one page; the rest is in the classes."""

from __future__ import annotations

import re
from typing import Final

from xkeymsg import errors

__all__ = ("CODES", "PAGE", "ROW", "explain")

PAGE: Final = "docs/guides/errors"
CODES: Final = {each.code: each for name in errors.__all__ if (each := getattr(errors, name)).code}
ROW: Final = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)
_TABLE: Final = re.compile(r"^\| code \| means \| do \|\n\|---\|---\|---\|\n", re.MULTILINE)


def explain(text: str) -> str:
    """Replace the tables by a description of each code, with what its class says.

    Raises:
        ValueError: If a code is missing, is explained twice, or does not exist.
    """
    told = [row[1] for row in ROW.finditer(text)]
    if sorted(told) != sorted(CODES):
        raise ValueError(f"codes: {sorted({*told} ^ {*CODES})}, or one that is explained twice")
    return ROW.sub(_describe, _TABLE.sub("", text))


def _describe(row: re.Match[str]) -> str:
    code, means, do = row.groups()
    each = CODES[code]
    again = "The same bytes may succeed later." if each.retryable else "Do not retry."
    return (
        f":::{{error-code}} {code}\n\n{means}\n\n**Do:** {do}\n\n"
        f"{{py:exc}}`~xkeymsg.errors.{each.__name__}`. {again}\n:::\n"
    )
