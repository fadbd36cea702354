"""`xkeymsg inspect`: shows what an outsider can see of a sealed message."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import click

from xkeymsg import xkv1
from xkeymsg.daemons.common.terminal import quote
from xkeymsg.envelope.inspect import Inspection
from xkeymsg.envelope.inspect import inspect as inspect_envelope
from xkeymsg.errors import MalformedError
from xkeymsg.text_armour import dearmour, is_armoured

__all__ = ("describe_envelope", "inspect", "print_fields", "read_sealed")


@click.command()
@click.argument("source", metavar="[FILE]", default="-", type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(source: BinaryIO, *, as_json: bool) -> None:
    """Print what anyone can see of FILE, or stdin, without a key. Nothing is verified."""
    shown = describe_envelope(read_sealed(source))
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    else:
        print_fields(shown)


def read_sealed(source: BinaryIO) -> bytes:
    """Return a sealed message, also from its armour.

    Raises:
        EnvelopeError: If the armour is invalid.
    """
    content = source.read()
    if not is_armoured(content):
        return content
    return dearmour(content.decode("ascii", "replace"))


def describe_envelope(data: bytes) -> dict[str, Any]:
    """Return what anyone can see of a sealed message, as JSON values by name.

    Raises:
        EnvelopeError: If it is not a valid envelope.
    """
    return _xkv1(data) if data[:4] == b"xkv1" else _xkm1(inspect_envelope(data))


def print_fields(shown: dict[str, Any]) -> None:
    """Print names and values as aligned text."""
    width = max(map(len, shown))
    for name, value in shown.items():
        for line in _lines(value):
            click.echo(f"{name:{width}}  {line}")
            name = ""  # noqa: PLW2901 - show the name on the first line only


def _lines(value: object) -> list[str]:
    """Return a value as lines of text."""
    if isinstance(value, list):
        return [", ".join(_lines(each)) for each in value] or ["none"]
    if isinstance(value, dict):
        return [f"{key} {each}" for key, each in value.items()]
    return ["no" if value is None else str(value)]


def _xkv1(data: bytes) -> dict[str, Any]:
    if len(data) < xkv1.OVERHEAD:
        raise MalformedError(f"xkv1 has at least {xkv1.OVERHEAD} bytes, not {len(data)}")
    return {
        "format": "xkv1",
        "bytes": len(data),
        "nonce": data[4:28].hex(),
        "sealed bytes": len(data) - xkv1.OVERHEAD,
    }


def _xkm1(seen: Inspection) -> dict[str, Any]:
    return {
        "format": "xkm1",
        "bytes": seen.size,
        "message id": seen.message_id,
        "sender": str(seen.sender),
        "session": str(seen.session),
        "counter": seen.counter,
        "created": seen.created.isoformat(),
        "expires": seen.expires and seen.expires.isoformat(),
        "subject": quote(seen.subject)[1:-1],
        "identity": seen.identity,
        "revision": seen.revision,
        "signed": "yes" if seen.signed else "no",
        "recipients": len(seen.tags),
        "tags": seen.tags,
        "parts": [
            {"type": part.kind, "bytes": part.size, "padded": "yes" if part.padded else "no"}
            for part in seen.parts
        ],
        "parts in each view": seen.views,
    }
