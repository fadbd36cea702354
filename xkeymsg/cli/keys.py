"""`xkeymsg keygen` and `xkeymsg pub`."""

from __future__ import annotations

from pathlib import Path

import click

from xkeymsg.daemons.common.terminal import say
from xkeymsg.keys import XKeyPair
from xkeymsg.trust.stores.file import read_seed, write_seed

__all__ = ("keygen", "pub")


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A new file for the seed, mode 0600; default: stdout.",
)
def keygen(out: Path | None) -> None:
    """Generate a curve key. With --out, print the public key; otherwise the seed.

    \b
    xkeymsg keygen --out bob.seed

    Exit 1 if the file exists: a key is never overwritten.
    """  # noqa: D301 - click reads the character
    pair = XKeyPair.generate()
    if out is None:
        click.echo(pair.seed())
        say("xkeymsg", f"public key {pair.public}")
    else:
        write_seed(out, pair)
        click.echo(pair.public)


@click.command()
@click.argument("seed_file", default="-", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--fingerprint",
    is_flag=True,
    help="Print the fingerprint, which is short enough to read aloud.",
)
def pub(seed_file: Path, *, fingerprint: bool) -> None:
    """Print the public key of the seed in SEED_FILE or on stdin."""
    public = read_seed(Path("/dev/stdin") if str(seed_file) == "-" else seed_file).public
    click.echo(public.fingerprint if fingerprint else public)
