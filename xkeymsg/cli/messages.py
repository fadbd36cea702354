"""`xkeymsg seal` and `xkeymsg open`: files and pipes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from xkeymsg.daemon.flags import load_pair, seed_flag
from xkeymsg.daemon.parameters import XKEY
from xkeymsg.keys import XKey
from xkeymsg.trust.stores.file import read_seed

__all__ = ("open_", "seal")

_INPUT = click.argument("source", metavar="[FILE]", default="-", type=click.File("rb"))
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; else stdout."
)


@click.command()
@click.option("--to", "recipient", type=XKEY, required=True, help="Whose key to seal to.")
@seed_flag
@_OUTPUT
@_INPUT
def seal(recipient: XKey, seed_file: Path | None, output: Path | None, source: BinaryIO) -> None:
    """Seal FILE, or stdin, to a public key, as xkv1: what nkeys in every language opens."""
    if output is None and sys.stdout.isatty():
        raise click.UsageError("what is sealed is binary: use -o, or redirect stdout")
    pair = load_pair("xkeymsg", seed_file)
    _write(output, pair.seal(source.read(), recipient), mode=0o666)


@click.command("open")
@click.option("--from", "sender", type=XKEY, required=True, help="Whose key it was sealed with.")
@click.option(
    "--seed",
    "seed_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The seed SX… of your key; mode 0600.",
)
@_OUTPUT
@_INPUT
def open_(sender: XKey, seed_file: Path, output: Path | None, source: BinaryIO) -> None:
    """Open FILE, or stdin, that was sealed to you. Nothing is written unless it authenticates."""
    data = read_seed(seed_file).open(source.read(), sender)
    _write(output, data, mode=0o600)


def _write(output: Path | None, data: bytes, *, mode: int) -> None:
    """Write the result; a file with opened data is its owner's alone."""
    if output is None:
        click.echo(data, nl=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(output, flags, mode), "wb") as file:
        file.write(data)
