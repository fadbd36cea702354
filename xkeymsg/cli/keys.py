"""`xkeymsg keygen` and `xkeymsg pub`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from xkeymsg.ambient import random_bytes
from xkeymsg.daemons.common.terminal import say
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.trust.stores.file import (
    parse_seed,
    read_private_text,
    write_private,
    write_seed,
)

__all__ = ("keygen", "new_seed", "pub")

_KINDS: Final = {
    "curve": Prefix.CURVE,
    "operator": Prefix.OPERATOR,
    "account": Prefix.ACCOUNT,
    "user": Prefix.USER,
}


def new_seed(kind: Prefix) -> tuple[str, SigningKey]:
    """Generate a signing key; return its seed and the key."""
    seed = encode_seed(kind, random_bytes(32))
    return seed, SigningKey(seed, kind)


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A new file for the seed, mode 0600; default: stdout.",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice(tuple(_KINDS)),
    default="curve",
    show_default=True,
    help="curve to seal and open; the others to sign NATS JWTs, or to log in.",
)
def keygen(out: Path | None, kind: str) -> None:
    """Generate a key. With --out, print the public key; otherwise the seed.

    \b
    xkeymsg keygen --out bob.seed
    xkeymsg keygen --type operator --out operator.nk

    Exit 1 if the file exists: a key is never overwritten.
    """  # noqa: D301 - click reads the character
    public: object
    if kind == "curve":
        pair = XKeyPair.generate()
        seed, public = pair.seed(), pair.public
    else:
        seed, key = new_seed(_KINDS[kind])
        public = key.public
    if out is None:
        click.echo(seed)
        say("xkeymsg", f"public key {public}")
    elif kind == "curve":
        write_seed(out, pair)
        click.echo(public)
    else:
        write_private(out, f"{seed}\n")
        click.echo(public)


@click.command()
@click.argument("seed_file", default="-", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--fingerprint",
    is_flag=True,
    help="Print the fingerprint of a curve key, which is short enough to read aloud.",
)
def pub(seed_file: Path, *, fingerprint: bool) -> None:
    """Print the public key of the seed in SEED_FILE or on stdin."""
    path = Path("/dev/stdin") if str(seed_file) == "-" else seed_file
    public = parse_seed(read_private_text(path), str(path), "SX…").public
    if isinstance(public, str):
        if fingerprint:
            raise click.UsageError("only curve keys have fingerprints")
        click.echo(public)
    else:
        click.echo(public.fingerprint if fingerprint else public)
