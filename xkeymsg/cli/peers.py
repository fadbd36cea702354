"""`xkeymsg peers add | remove | list | verify`: who may send, and whom names stand for."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from xkeymsg.cli.doctor.files import peer_warnings
from xkeymsg.cli.fingerprints import is_fingerprint_of
from xkeymsg.cli.output import replace as replace_file
from xkeymsg.cli.peers_text import with_peer, without_peer
from xkeymsg.cli.table import aligned, bare
from xkeymsg.daemons.common.parameters import SUBJECT_PATTERN, XKEY
from xkeymsg.daemons.common.terminal import EXIT_FAILED, say
from xkeymsg.errors import ConfigurationError, KeyFormatError, UnknownKeyError
from xkeymsg.files import read_text
from xkeymsg.keys import XKey
from xkeymsg.nkey import is_seed
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer

__all__ = ("add", "list_", "peers", "remove", "verify")

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group(short_help="Keep a file of peers.")
def peers() -> None:
    """Keep a file of peers: who may send what, and whom a name or a permission stands for."""


@peers.command(short_help="Add a peer to FILE.")
@_FILE
@click.argument("name")
@click.argument("xkeys", metavar="XKEY…", type=XKEY, nargs=-1, required=True)
@click.option("--permission", "permissions", multiple=True, metavar="NAME", help="Repeatable.")
@click.option(
    "--subject",
    "subjects",
    type=SUBJECT_PATTERN,
    multiple=True,
    help="What it may send on; repeatable. Without it, nothing.",
)
@click.option("--user", metavar="U…", help="The identity that its messages have to name.")
@click.option("--always-signs", is_flag=True, help="Refuse what is not signed by the user.")
@click.option("--replace", is_flag=True, help="Change a peer that is there already.")
def add(
    *,
    file: Path,
    name: str,
    xkeys: tuple[XKey, ...],
    permissions: tuple[str, ...],
    subjects: tuple[str, ...],
    user: str | None,
    always_signs: bool,
    replace: bool,
) -> None:
    """Add a peer with its public key, or keys, to FILE, which is made if it is not there.

    The rest of the file stays as it is, comments included. Compare the fingerprint with what its
    owner reads out: `xkeymsg peers verify FILE NAME`.
    """
    peer = Peer(
        name=name,
        xkeys=xkeys,
        user=user,
        permissions=permissions,
        subjects=subjects,
        always_signs=always_signs,
    )
    if is_seed(file.name):
        raise ConfigurationError("that is a seed, and a file of peers is wanted")
    target = Path(os.path.realpath(file))  # a link stays one
    with _alone_in(target.parent):
        there = target.exists()
        text = read_text(file, ConfigurationError) if there else ""
        text = with_peer(text, peer, str(file), replace=replace)
        if there:
            _rewrite(target, text)
        else:
            replace_file(target, text.encode(), 0o666)
    for xkey in xkeys:
        say("xkeymsg", f"{name}: fingerprint {xkey.fingerprint}")
    _warn(peer_warnings(Peers.parse(text)))


@peers.command(short_help="Take a peer out of FILE.")
@_FILE
@click.argument("name")
def remove(*, file: Path, name: str) -> None:
    """Take a peer out of FILE: what it sends is refused, and nothing is sealed to it, from then on.

    Who uses the file reads it again by itself. What was sealed to the peer before stays readable to
    it.
    """
    target = Path(os.path.realpath(file))
    with _alone_in(target.parent):
        text = read_text(file, ConfigurationError)
        if name not in Peers.parse(text, str(file)).peers:
            raise UnknownKeyError(f"{file} has no peer of that name")
        _rewrite(target, without_peer(text, name, str(file)))


def _rewrite(file: Path, text: str) -> None:
    """Put a new version in the place of a file, with its mode."""
    replace_file(file, text.encode(), file.stat().st_mode & 0o7777, exact=True)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Have two commands at a time edit files of a folder one after the other: none gets lost."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@peers.command("list")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a peer.")
def list_(*, file: Path, as_json: bool) -> None:
    """Print the peers of FILE."""
    found = _load(file)
    if as_json:
        click.echo(json.dumps([_shown(peer) for peer in found.peers.values()], indent=2))
        return
    rows = [["NAME", "KEY", "SENDS ON", "HOLDS", "SIGNS"]]
    for peer in found.peers.values():
        signs = "always" if peer.always_signs else "-"
        rows.append(
            [peer.name, str(peer.xkeys[0]), _words(peer.subjects), _words(peer.permissions)]
        )
        rows[-1].append(signs)
        rows += [["", str(xkey), "", "", ""] for xkey in peer.xkeys[1:]]
    _echo(aligned(rows))


def _shown(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "xkeys": [str(xkey) for xkey in peer.xkeys],
        "fingerprints": [xkey.fingerprint for xkey in peer.xkeys],
        "user": peer.user,
        "permissions": list(peer.permissions),
        "subjects": list(peer.subjects),
        "always_signs": peer.always_signs,
    }


def _words(words: Iterable[str]) -> str:
    return " ".join(map(bare, words)) or "-"


@peers.command(short_help="Check FILE, and show fingerprints.")
@_FILE
@click.argument("name", required=False)
@click.option("--fingerprint", metavar="TEXT", help="What the owner of the key reads out.")
def verify(*, file: Path, name: str | None, fingerprint: str | None) -> int:
    """Check FILE, and show the fingerprints of its keys, of all or of NAME's.

    Have the owner read out his, by a way on which you know him: `xkeymsg pub --fingerprint`. Exit 1
    if the file cannot be used, something in it is questionable, or, with --fingerprint, none of
    NAME's keys has this one.
    """
    found = _load(file)
    if name is None:
        if fingerprint is not None:
            raise click.UsageError("whose fingerprint is it? give a NAME")
        _echo(_fingerprints(found.peers.values()))
        warnings = peer_warnings(found)
        _warn(warnings)
        return EXIT_FAILED if warnings else 0
    peer = found.peers.get(name)
    if peer is None:
        raise UnknownKeyError(f"{file} has no peer of that name")
    if fingerprint is None:
        _echo(_fingerprints([peer]))
        return 0
    return _compare(peer, fingerprint)


def _compare(peer: Peer, fingerprint: str) -> int:
    try:
        same = [xkey for xkey in peer.xkeys if is_fingerprint_of(xkey, fingerprint)]
    except KeyFormatError as error:
        raise click.BadParameter(str(error), param_hint="--fingerprint") from None
    for xkey in same:
        click.echo(f"{peer.name} has this key: {xkey}")
    if not same:
        say("xkeymsg", f"not the key of {peer.name}: do not use it before you know why")
    return 0 if same else EXIT_FAILED


def _fingerprints(found: Iterable[Peer]) -> list[str]:
    rows = [[peer.name, xkey.fingerprint] for peer in found for xkey in peer.xkeys]
    return aligned([["NAME", "FINGERPRINT"], *rows])


def _load(file: Path) -> Peers:
    return Peers.load(file)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        say("xkeymsg", f"warning: {warning}")


def _echo(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)
