"""`xkeymsg seal` and `xkeymsg open`: files and pipes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

import click

from xkeymsg.daemon.flags import load_pair, seed_flag
from xkeymsg.daemon.parameters import SENDER, SUBJECT, SUBJECT_PATTERN, XKEY
from xkeymsg.envelope.admission import ANYONE
from xkeymsg.envelope.opening import Opener
from xkeymsg.envelope.sealing import Sealer
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.trust.stores.file import read_seed

__all__ = ("open_", "seal")

_INPUT = click.argument("source", metavar="[FILE]", default="-", type=click.File("rb"))
_OUTPUT = click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A file; else stdout."
)


@click.command()
@click.option(
    "--to", "recipients", type=XKEY, required=True, multiple=True, help="Whose key; repeatable."
)
@click.option(
    "--subject", type=SUBJECT, default="file", show_default=True, help="What it is sealed for."
)
@click.option(
    "--xkv1", is_flag=True, help="For one recipient, in the format of nkeys in every language."
)
@seed_flag
@_OUTPUT
@_INPUT
def seal(
    *,
    recipients: tuple[XKey, ...],
    subject: str,
    xkv1: bool,
    seed_file: Path | None,
    output: Path | None,
    source: BinaryIO,
) -> None:
    """Seal FILE, or stdin, to one or more public keys, as xkm1."""
    if output is None and sys.stdout.isatty():
        raise click.UsageError("what is sealed is binary: use -o, or redirect stdout")
    if xkv1 and len(recipients) != 1:
        raise click.UsageError("xkv1 is for one recipient")
    pair = load_pair("xkeymsg", seed_file)
    data = source.read()
    sealed = (
        pair.seal(data, recipients[0])
        if xkv1
        else Sealer(pair).seal(data, to=recipients, subject=subject)
    )
    _write(output, sealed, mode=0o666)


@click.command("open")
@click.option(
    "--from",
    "senders",
    type=SENDER,
    required=True,
    multiple=True,
    help="Whose key may have sealed it; repeatable; or the word anyone.",
)
@click.option(
    "--subject",
    type=SUBJECT_PATTERN,
    default="file",
    show_default=True,
    help="What it has to be sealed for; > is anything. xkv1 has none.",
)
@click.option(
    "--seed",
    "seed_file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The seed SX… of your key; mode 0600.",
)
@_OUTPUT
@_INPUT
def open_(
    *,
    senders: tuple[XKey | None, ...],
    subject: str,
    seed_file: Path,
    output: Path | None,
    source: BinaryIO,
) -> None:
    """Open FILE, or stdin, that was sealed to you. Nothing is written unless it authenticates."""
    pair, sealed = read_seed(seed_file), source.read()
    known = [sender for sender in senders if sender is not None]
    anyone = len(known) < len(senders)
    if sealed[:4] == b"xkv1":
        if anyone or len(known) != 1:
            raise click.UsageError("xkv1 does not say who sealed it: give one key with --from")
        data = pair.open(sealed, known[0])
    else:
        data = _open_xkm1(pair, sealed, None if anyone else set(known), subject)
    _write(output, data, mode=0o600)


def _open_xkm1(pair: XKeyPair, sealed: bytes, senders: set[XKey] | None, subject: str) -> bytes:
    opener = Opener(pair, ANYONE if senders is None else senders, replay="file")
    return opener.open(sealed, subject=subject).data


def _write(output: Path | None, data: bytes, *, mode: int) -> None:
    """Write the result, all of it or nothing; a file with opened data is its owner's alone."""
    if output is None:
        click.echo(data, nl=False)
    elif output.exists() and not output.is_file():  # a pipe or a device: nothing to replace
        output.write_bytes(data)
    else:
        _replace(output, data, mode)


def _replace(output: Path, data: bytes, mode: int) -> None:
    """Write a new file beside the old one and put it in its place."""
    new = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(output)
    except OSError:
        new.unlink(missing_ok=True)
        raise
