"""The internals of documents, for tests that cannot do without them.

No other module of these tests uses private names. They compare both ways of reading names, and
check that what a policy remembers is bounded.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgpack
import pytest

from xkeymsg import Policy
from xkeymsg.fields import plaintext

_OPTIONS: dict[str, Any] = {"strict_map_key": True, "ext_hook": plaintext._unpack_ext}

build: Any = plaintext._build
"""What decodes a plaintext that was scanned."""
apart: Any = partial(plaintext._unpack_apart, **_OPTIONS)
"""Decodes a plaintext so that msgpack interns no name."""
at_once: Any = partial(msgpack.unpackb, **_OPTIONS)

interns_forever = plaintext._interns_forever


def reads_apart() -> bool:
    """Return which of the two the package uses here."""
    used = plaintext._build.func
    assert used in (plaintext._unpack_apart, msgpack.unpackb)
    return used is plaintext._unpack_apart


def read_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package read as on Python 3.12."""
    short = partial(apart, max_array_len=plaintext._LONG, max_map_len=plaintext._LONG)
    monkeypatch.setattr(plaintext, "_build", apart)
    monkeypatch.setattr(plaintext, "_build_short", short)
    monkeypatch.setattr(plaintext, "_build_without_bins", partial(short, max_bin_len=0))


def states_of(policy: Policy) -> list[Any]:
    """Return the states of matching that a policy remembers."""
    states: list[Any] = [policy.start]
    for state in states:
        states += {id(each): each for each in state._paths.values()}.values()
        states += [state._other] if state._other else []
    return states
