"""`xkeymsg peers add | remove | list | verify`: maintains a peers file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from xkeymsg.cli.doctor.files import peer_warnings
from xkeymsg.cli.fingerprints import is_fingerprint_of
from xkeymsg.cli.output import locked
from xkeymsg.cli.output import replace as replace_file
from xkeymsg.cli.peers_text import with_peer, without_peer
from xkeymsg.cli.table import aligned, bare
from xkeymsg.daemons.common.parameters import SUBJECT_PATTERN, XKEY
from xkeymsg.daemons.common.terminal import EXIT_FAILED, say
from xkeymsg.errors import ConfigurationError, KeyFormatError, UnknownKeyError
from xkeymsg.files import read_text
from xkeymsg.keys import XKey
from xkeymsg.nkey import is_seed
from xkeymsg.suggestions import did_you_mean
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer, shown

__all__ = ("add", "list_", "peers", "remove", "verify")

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group(short_help="Maintain a peers file.")
def peers() -> None:
    """Maintain a peers file: who may send what, and which keys a name or permission stands for."""


@peers.command(short_help="Add a peer to FILE.")
@_FILE
@click.argument("name")
@click.argument("xkeys", metavar="XKEY…", type=XKEY, nargs=-1, required=True)
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="NAME",
    help="A permission that it holds, in policies and as perm:NAME; repeatable.",
)
@click.option(
    "--subject",
    "subjects",
    type=SUBJECT_PATTERN,
    multiple=True,
    help="A subject it may send on; repeatable. None by default.",
)
@click.option("--user", metavar="U…", help="The user that its messages must name.")
@click.option("--always-signs", is_flag=True, help="Refuse messages not signed by the user.")
@click.option("--replace", is_flag=True, help="Replace an existing peer.")
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
    """Add a peer with one or more public keys to FILE, which is created if necessary.

    \b
    xkeymsg peers add peers.toml alice XKEY --subject 'orders.>'
    xkeymsg peers add peers.toml bob XKEY --permission audit

    The rest of the file is unchanged, including comments. Compare the fingerprint with the one that
    the owner reads out: `xkeymsg peers verify FILE NAME`. Exit 1 if NAME exists, without --replace.
    """  # noqa: D301 - click reads the character
    peer = Peer(
        name=name,
        xkeys=xkeys,
        user=user,
        permissions=permissions,
        subjects=subjects,
        always_signs=always_signs,
    )
    if is_seed(file.name):
        raise ConfigurationError("expected the path of a peers file, not a secret seed")
    target = Path(os.path.realpath(file))  # a symbolic link stays a link
    with locked(target.parent):
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


@peers.command(short_help="Remove a peer from FILE.")
@_FILE
@click.argument("name")
def remove(*, file: Path, name: str) -> None:
    """Remove a peer from FILE: from then on it can neither send nor receive.

    Programs that use the file reload it. The peer can still open messages sealed to it before.
    """
    target = Path(os.path.realpath(file))
    with locked(target.parent):
        text = read_text(file, ConfigurationError)
        _find(Peers.parse(text, str(file)), name, file)
        _rewrite(target, without_peer(text, name, str(file)))


def _find(found: Peers, name: str, file: Path) -> Peer:
    peer = found.peers.get(name)
    if peer is None:
        near = did_you_mean(name, found.peers)
        raise UnknownKeyError(f"{file}: no peer is called {shown(name)}{near}")
    return peer


def _rewrite(file: Path, text: str) -> None:
    """Replace a file, and keep its mode."""
    replace_file(file, text.encode(), file.stat().st_mode & 0o7777, exact=True)


@peers.command("list")
@_FILE
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON array with one object per peer."
)
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


@peers.command(short_help="Check FILE and show fingerprints.")
@_FILE
@click.argument("name", required=False)
@click.option(
    "--fingerprint", metavar="TEXT", help="The fingerprint that the key's owner reads out."
)
def verify(*, file: Path, name: str | None, fingerprint: str | None) -> int:
    """Check FILE and show the fingerprints of all keys, or of NAME's.

    Have the owner read theirs out to you, over a channel that you trust (`xkeymsg pub
    --fingerprint`). Exit 1 if the file is invalid or suspicious, or if no key of NAME has the
    --fingerprint.
    """
    found = _load(file)
    if name is None:
        if fingerprint is not None:
            raise click.UsageError("--fingerprint requires a NAME")
        _echo(_fingerprints(found.peers.values()))
        warnings = peer_warnings(found)
        _warn(warnings)
        return EXIT_FAILED if warnings else 0
    peer = _find(found, name, file)
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
        say("xkeymsg", f"not the fingerprint of {peer.name}: do not use the key until you know why")
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
