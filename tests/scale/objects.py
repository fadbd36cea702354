"""A large object, from one process to another, and the memory that each of them uses."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import xkeymsg
from tests.running import DEADLINE
from tests.scale.outcome import Outcome
from xkeymsg import XKeyPair
from xkeymsg.testing import NATSServer

__all__ = ("objects",)

_MOST_KIB = 64 << 10


async def objects(*, size: int = 1 << 30, max_payload: int = 1 << 20) -> Outcome:
    """Put an object and get it again; each side must stay below 64 MiB."""
    outcome = Outcome()
    alice, bob = XKeyPair.generate(), XKeyPair.generate()
    with NATSServer(f"max_payload: {max_payload}", jetstream=True) as server:
        async with xkeymsg.connect(
            server.url, key=alice, trust={bob.public}, timeout=DEADLINE
        ) as client:
            client.js.api.timeout = DEADLINE
            await client.objects("scale").init()
            results = {}
            for role, pair, other in (("put", alice, bob), ("get", bob, alice)):
                words = role, server.url, pair.seed(), str(other.public), size
                results[role] = result = await _work(*words)
                resident, rate = result["resident"], size / result["seconds"] / (1 << 20)
                outcome.note(f"{role}: {rate:,.0f} MiB/s, at most {resident >> 10} MiB resident")
                if resident >= _MOST_KIB:
                    outcome.errors.append(f"{role}: {resident >> 10} MiB resident")
            same = results["put"]["sha256"] == results["get"]["sha256"]
            outcome.expect(f"{size:,} bytes are the same", True, same)
            status = await client.objects("scale").status()
            outcome.note(f"the bucket has {status.size:,} bytes")
    return outcome


async def _work(*words: Any) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.scale.object_worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        out, _ = await process.communicate(json.dumps(words).encode() + b"\n")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"the worker ended with {process.returncode}")
    found = json.loads(out)
    assert isinstance(found, dict)
    return found
