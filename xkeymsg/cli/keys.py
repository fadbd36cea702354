"""`xkeymsg keygen` and `xkeymsg pub`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from xkeymsg.ambient import random_bytes
from xkeymsg.daemons.common.terminal import say
from xkeymsg.key_stores.passphrases import TERMINAL, new_passphrase
from xkeymsg.key_stores.protected import parse_protected, protected_text
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.nkey import Prefix, SigningKey, encode_seed
from xkeymsg.protected_seed import is_protected
from xkeymsg.text import path_text
from xkeymsg.trust.stores.file import (
    parse_seed,
    read_private_text,
    seed_line,
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
@click.option(
    "--passphrase", "asks", is_flag=True, help="Ask for a passphrase that protects the seed."
)
@click.option(
    "--passphrase-store",
    "source",
    metavar="STORE",
    help="Protect it with the passphrase in file:, systemd:, descriptor: or command:.",
)
def keygen(*, out: Path | None, kind: str, asks: bool, source: str | None) -> None:
    """Generate a key. With --out, print the public key; otherwise the seed.

    \b
    xkeymsg keygen --out bob.seed
    xkeymsg keygen --out bob.seed --passphrase
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
    if asks and source is not None:
        raise click.UsageError("--passphrase conflicts with --passphrase-store: use one of them")
    if asks or source is not None:
        name = "the new key" if out is None else path_text(out)
        text = protected_text(seed, new_passphrase(source or TERMINAL, name))
        if out is None:
            click.echo(text, nl=False)
        else:
            write_private(out, text)
            click.echo(public)
    elif out is None:
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
    """Print the public key of the seed in SEED_FILE or on stdin.

    A file with a passphrase is not opened: the key that it names is printed unverified.
    """
    path = Path("/dev/stdin") if str(seed_file) == "-" else seed_file
    text, where = read_private_text(path), path_text(path)
    public: object
    if is_protected(seed_line(text, where, "SX…")):
        public = parse_protected(text, where).public
        public = XKey.parse(public) if public.startswith("X") else public
    else:
        public = parse_seed(text, where, "SX…").public
    if isinstance(public, XKey):
        click.echo(public.fingerprint if fingerprint else public)
    elif fingerprint:
        raise click.UsageError("only curve keys have fingerprints")
    else:
        click.echo(public)
