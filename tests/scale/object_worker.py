"""Puts or gets one object and prints what that took: `python -m tests.scale.object_worker`.

The first line of stdin is JSON: the role, the server, a seed, the other's key, the size.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import xkeymsg
from xkeymsg import XKey, XKeyPair
from xkeymsg.ambient import random_bytes

_PIECE = 1_000_000
"""Bytes that the source yields at a time, no multiple of a chunk."""


def resident_kib() -> int:
    """Return the peak of the memory that this process has used."""
    [line] = [
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    ]
    return int(line.split()[1])


async def _data(size: int, digest: hashlib._Hash) -> AsyncIterator[bytes]:
    left = size
    while left:
        piece = random_bytes(min(left, _PIECE))
        digest.update(piece)
        left -= len(piece)
        yield piece


async def main(role: str, url: str, seed: str, other: str, size: int) -> None:
    """Do it, and print a line of JSON."""
    pair, digest = XKeyPair.from_seed(seed), hashlib.sha256()
    async with xkeymsg.connect(url, key=pair, trust={XKey.parse(other)}, timeout=60) as client:
        client.js.api.timeout = 60.0  # the machine may be busy
        store = client.objects("scale", to=[XKey.parse(other)])
        started = time.monotonic()
        if role == "put":
            await store.put("big", _data(size, digest))
        else:
            async with store.open("big") as reader:
                async for piece in reader:
                    digest.update(piece)
        seconds = time.monotonic() - started
    result = {"resident": resident_kib(), "sha256": digest.hexdigest(), "seconds": seconds}
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*json.loads(sys.stdin.readline())))
