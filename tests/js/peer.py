"""The process of the npm package, and how both sides write values."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

from xkeymsg import WITHHELD

__all__ = ("EPOCH", "Peer", "shown")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Peer:
    """The process of the npm package."""

    def __init__(self, node: str, program: Path) -> None:
        self._process = subprocess.Popen(
            [node, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes both pipes, then waits
            pass

    def ask(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to a batch of requests."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for request in requests:
            self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in requests]


def _decimal(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    return f'd"{"-" * sign}{"".join(map(str, digits))}E{exponent}"'


def _time(value: datetime) -> str:
    offset = value.utcoffset()
    assert offset is not None
    micros = (value - EPOCH) // timedelta(microseconds=1)
    return f"t{micros}/{offset // timedelta(seconds=1)}"


def _map(value: dict[str, Any]) -> str:
    return f"{{{','.join(f'{shown(name)}:{shown(each)}' for name, each in value.items())}}}"


_SHOWN: Final[dict[type, Callable[[Any], str]]] = {
    type(None): lambda _: "null",
    bool: lambda value: str(value).lower(),
    int: str,
    float: lambda value: "f" + struct.pack("<d", value).hex(),
    str: lambda value: json.dumps(value, ensure_ascii=False),
    bytes: lambda value: f'h"{value.hex()}"',
    Decimal: _decimal,
    datetime: _time,
    UUID: lambda value: f'u"{value}"',
    list: lambda value: f"[{','.join(map(shown, value))}]",
    dict: _map,
    type(WITHHELD): lambda _: "WITHHELD",
}


def shown(value: object) -> str:
    """Write a value as `show` of js/test/notation.mjs does."""
    return _SHOWN[type(value)](value)
