"""A running receiver changes its key store on SIGHUP, and loses no message."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.key_stores.swapping import BOB, swap, three_stores
from tests.key_stores.test_cli import run
from tests.key_stores.test_pkcs11 import token as token  # noqa: PLC0414 - a fixture


async def test_a_swap_of_stores_loses_nothing(token: tuple[Path, Mapping[str, str]]) -> None:
    """`make scale S="--check stores"` does so for longer."""
    folder, env = token
    stores = three_stores(folder)
    run("key", "import", "-K", stores[1], "-", env=env, data=BOB.seed().encode())
    assert await swap(folder, env, stores, each=300) == []
