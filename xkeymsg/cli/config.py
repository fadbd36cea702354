"""`xkeymsg config`: writes the configuration of a daemon, and describes the settings."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click

from xkeymsg.cli.peers_text import with_peer
from xkeymsg.daemons.common.terminal import say, say_faults
from xkeymsg.daemons.receiver.config import load as load_receiver
from xkeymsg.daemons.sender.config import load as load_sender
from xkeymsg.errors import ConfigurationError
from xkeymsg.keys import XKey, XKeyPair
from xkeymsg.nkey import is_seed
from xkeymsg.text import path_text
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.peers_parser import Peer
from xkeymsg.trust.stores.file import read_seed, write_seed

__all__ = ("config", "describe", "init")

_KEY: Final = (
    'key_store = "systemd:xkey"          # see xkeymsg key --help; or instead:\n#seed_file',
    '#key_store = "systemd:xkey"         # see xkeymsg key --help; or instead:\nseed_file',
)
"""The installed service has its key from systemd; here it is in the folder of the file."""
_LOAD: Final[Mapping[str, Callable[[Path, Mapping[str, str]], Any]]] = {
    "receiver": load_receiver,
    "sender": load_sender,
}
_PROGRAMS: Final = ("receiver", "sender", "console")
_SUBJECTS: Final = "'sealed.orders.>'"
_PEERS: Final = """\
# Who may send what, and whose keys a name stands for. `xkeymsg peers add` adds a peer, and `xkeymsg
# peers verify` shows fingerprints to compare. A peer without subjects may send nothing.
"""


@click.group(short_help="Write and describe the configuration of a daemon.")
def config() -> None:
    """Write the configuration of a daemon, and describe it; the daemon's --check checks it."""


@config.command(short_help="Write a configuration, with a key and a peers file.")
@click.argument("daemon", metavar="receiver|sender", type=click.Choice(["receiver", "sender"]))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration file; default: receiver.toml or sender.toml.",
)
def init(*, daemon: str, output: Path | None) -> int:
    """Write a configuration with every setting and a comment for each, and print the public key.

    \b
    xkeymsg config init receiver -o /etc/xkeymsg/receiver.toml
    xkeymsg config init sender

    The folder of FILE also gets a new key (receiver.seed or sender.seed, mode 0600), a peers file
    (peers.toml) and, for a receiver, a folder for opened messages (received). Existing files are
    never changed: an existing key and peers file are used, and an existing FILE is an error. A
    sender seals to the peer "receiver", or to itself until you add one.

    Exit 1 if FILE exists, or anything cannot be written or is invalid.
    """  # noqa: D301 - click reads the character
    path = Path(f"{daemon}.toml") if output is None else output
    if is_seed(path.name):
        raise ConfigurationError("expected a file name, not a secret seed")
    if path.exists():
        raise ConfigurationError(f"{path_text(path)} already exists; give another file")
    folder = path.parent
    public = _key(folder / f"{daemon}.seed")
    peers = _peers(folder / "peers.toml", daemon, public)
    if daemon == "receiver":
        (folder / "received").mkdir(mode=0o700, exist_ok=True)
        edit = ('folder = "/var/lib/xkeymsg-receiver"', 'folder = "received"')
    else:
        edit = ('recipients = ["alice"]   ', f'recipients = ["{_recipient(peers)}"]'.ljust(25))
    _write(path, _text(daemon, _KEY, edit))
    try:
        _LOAD[daemon](path, {})
    except ConfigurationError as error:
        return say_faults("xkeymsg", error)
    click.echo(public)
    for step in _steps(daemon, path, public):
        say("xkeymsg", step)
    return 0


@config.command(short_help="Describe the settings of a program.")
@click.argument("program", metavar="receiver|sender|console", type=click.Choice(_PROGRAMS))
@click.argument("names", metavar="[NAME]...", nargs=-1)
def describe(*, program: str, names: tuple[str, ...]) -> int:
    """Print the type, default and meaning of each setting whose name contains a NAME, or of all.

    \b
    xkeymsg config describe receiver
    xkeymsg config describe sender route.to padding

    Exit 1 if a NAME matches no setting.
    """  # noqa: D301 - click reads the character
    from xkeymsg.cli.settings import setting_tables  # noqa: PLC0415 - `init` needs none of it

    unknown = set(names)
    for table in setting_tables(program):
        title = table.header or "At the top"
        for setting in table.settings:
            full = f"{table.place}{setting.name}"
            found = {each for each in names if each in full}
            unknown -= found
            if names and not found:
                continue
            if title:
                click.secho(f"{title}  {table.text}".rstrip(), bold=True)
                title = ""
            default = "required" if setting.required else f"default: {setting.default or 'none'}"
            click.echo(f"  {full}: {setting.kind}; {default}")
            click.echo(click.wrap_text(setting.text, 88, "      ", "      "))
    for each in sorted(unknown):
        hint = f"for all of them: xkeymsg config describe {program}"
        say("xkeymsg", f"no setting of the {program} has {each} in its name; {hint}")
    return 1 if unknown else 0


def _text(daemon: str, *edits: tuple[str, str]) -> str:
    """Return the configuration of the installed service, with replacements."""
    text = (resources.files("xkeymsg.cli") / "templates" / f"{daemon}.toml").read_text("utf-8")
    for old, new in edits:
        text = text.replace(old, new, 1)
    return text


def _key(path: Path) -> XKey:
    """Return the public key of a seed file, which is created if it does not exist."""
    if path.exists():
        return read_seed(path).public
    pair = XKeyPair.generate()
    write_seed(path, pair)
    return pair.public


def _peers(path: Path, daemon: str, public: XKey) -> Peers:
    """Read a peers file, or create one with the daemon itself: a peers file is never empty."""
    if not path.exists():
        _write(path, with_peer(_PEERS, Peer(name=daemon, xkeys=(public,)), str(path)))
    return Peers.load(path)


def _recipient(peers: Peers) -> str:
    """Return the recipient of a new sender: the receiver, or the sender itself.

    Raises:
        ConfigurationError: If the file has neither.
    """
    for name in ("receiver", "sender"):
        if name in peers.peers:
            return name
    raise ConfigurationError(
        "peers.toml has no peer 'receiver' to seal to: xkeymsg peers add peers.toml receiver XKEY"
    )


def _write(path: Path, text: str) -> None:
    """Write a new file: never over another one, nor through a link to one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _steps(daemon: str, path: Path, public: XKey) -> list[str]:
    """Return the remaining steps."""
    add = f"xkeymsg peers add {shlex.quote(str(path.parent / 'peers.toml'))}"
    elsewhere = "xkeymsg peers add peers.toml"
    if daemon == "receiver":
        here = f"for each sender: {add} NAME XKEY --subject {_SUBJECTS}"
        there = f"at each sender: {elsewhere} receiver {public}"
    else:
        here = f"for each receiver: {add} NAME XKEY, and NAME in `recipients` of the route"
        there = f"at the receiver: {elsewhere} sender {public} --subject {_SUBJECTS}"
    file = shlex.quote(str(path))
    check = f"xkeymsg-{daemon} --config {file} --check"
    return [f"wrote {path}; next:", here, there, f"edit [nats] and [[route]], then: {check}"]
