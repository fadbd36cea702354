"""Recipients and senders on the command line: public keys, and names from a peers file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from xkeymsg.envelope.admission import Admission
from xkeymsg.errors import ConfigurationError, KeyFormatError, UnknownKeyError
from xkeymsg.fields.policy import Policy
from xkeymsg.files import read_text
from xkeymsg.keys import Recipient, XKey
from xkeymsg.text import may_be_secret
from xkeymsg.trust.peers import Peers
from xkeymsg.trust.resolver import PERMISSION
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = (
    "PEERS",
    "NamedSenders",
    "holders_of",
    "is_anyone",
    "recipients_of",
    "senders_of",
    "to_option",
)

_Command = TypeVar("_Command", bound=Callable[..., Any])
PEERS: Final = click.option(
    "--peers",
    "peers_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="TOML",
    help="A peers file, for names instead of keys: bob, or perm:audit for all with a permission.",
)


def to_option(*, required: bool = False) -> Callable[[_Command], _Command]:
    """Return the option `--to`."""
    return click.option(
        "--to",
        "recipients",
        metavar="KEY|NAME",
        required=required,
        multiple=True,
        help="A recipient's public key, or with --peers a name; repeatable.",
    )


class NamedSenders:
    """Trust in the given keys, on any subject; a peers file says which users and signatures.

    The command line names the sender and the subject, so `subjects` of the file do not matter.
    """

    def __init__(self, keys: Iterable[XKey], peers: Peers | PeersFile | None) -> None:
        self.keys = frozenset(keys)
        self._peers = peers

    def admit(self, sender: XKey, _subject: str, _at: int) -> Admission | None:
        """Return the verdict on a sender; a key outside the file has no further conditions."""
        if sender not in self.keys:
            return None
        known = None if self._peers is None else self._peers.vouch(sender)
        return known or Admission()


def recipients_of(
    texts: Iterable[str], files: Iterable[Path], peers: Peers | None
) -> tuple[Recipient, ...]:
    """Return the recipients of `--to` and of recipients files, without duplicates.

    Raises:
        ConfigurationError: If a file cannot be read, names nobody, or has an invalid key; names the
            line.
        UnknownKeyError: If a name is unknown.
        BadParameter: If a text is neither a key nor, with peers, a name.
    """
    found = [one for text in texts for one in _argument(text, peers, "--to")]
    for file in files:
        found += _of_file(file, peers)
    return tuple(dict.fromkeys(found))


def senders_of(texts: Iterable[str], peers: Peers | None) -> frozenset[XKey]:
    """Return the keys of `--from`.

    Raises:
        UnknownKeyError: If a name is unknown.
        BadParameter: If a text is neither a key nor, with peers, a name.
    """
    return frozenset(one.key for text in texts for one in _argument(text, peers, "--from"))


def is_anyone(texts: Sequence[str], peers: Peers | None) -> bool:
    """Return whether `--from` admits anyone.

    Raises:
        click.UsageError: If other senders are given, too, or a peer has this name.
    """
    if "anyone" not in texts:
        return False
    if len(texts) > 1:
        raise click.UsageError("--from anyone cannot be combined with other senders")
    if peers is not None and "anyone" in peers.peers:
        raise click.UsageError("--from anyone is ambiguous: a peer has this name; give its key")
    return True


def holders_of(policy: Policy, peers: Peers) -> dict[str, tuple[Recipient, ...]]:
    """Return the holders of each permission of a policy.

    Raises:
        UnknownKeyError: If a permission outside `allow_unread` has no holder.
    """
    holders: dict[str, tuple[Recipient, ...]] = {}
    for name in sorted(policy.permissions):
        try:
            holders[name] = peers.resolve(PERMISSION + name)
        except UnknownKeyError as error:
            if name not in policy.allow_unread:
                why = f"{error} - grant {name!r}, or list it in the policy's allow_unread"
                raise UnknownKeyError(why) from None
            holders[name] = ()
    return holders


def _argument(text: str, peers: Peers | None, option: str) -> tuple[Recipient, ...]:
    try:
        return _resolve(text, peers)
    except KeyFormatError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


def _of_file(file: Path, peers: Peers | None) -> Iterator[Recipient]:
    """Yield the recipients in a file: one key or name per line, and lines that begin with #."""
    is_empty = True
    for number, line in enumerate(read_text(file, ConfigurationError).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        is_empty = False
        try:
            yield from _resolve(text, peers)
        except (KeyFormatError, UnknownKeyError) as error:
            raise type(error)(f"{file}, line {number}: {error}") from None
    if is_empty:
        raise ConfigurationError(f"{file}: expected at least one recipient")


def _resolve(text: str, peers: Peers | None) -> tuple[Recipient, ...]:
    try:
        return (Recipient(XKey.parse(text)),)  # no peer can have the name of a key
    except KeyFormatError as error:
        if may_be_secret(text):
            raise
        if peers is None:
            raise KeyFormatError(f"{error}; names require --peers FILE") from None
    return peers.resolve(text)
