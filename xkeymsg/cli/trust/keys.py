"""Secret keys of issuers: a folder in nsc's layout, and the forms of `-K`.

    keys/O/BZ/OBZ….nk                          the seed of an operator's or account's key
    keys/creds/HOSPITAL/CLINIC/ward-a.creds    a user's credentials, its seed among them

Files are created with mode 0600, folders with 0700. A seed never appears in a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from xkeymsg.display import SafeRepr, cut, listed
from xkeymsg.errors import ConfigurationError, KeyStoreError
from xkeymsg.key_stores.protected import release
from xkeymsg.keys import XKeyPair
from xkeymsg.nkey import SigningKey, is_public
from xkeymsg.protected_seed import is_protected
from xkeymsg.text import path_text
from xkeymsg.trust.creds import find_creds
from xkeymsg.trust.stores.file import parse_seed, read_private_text, seed_line

__all__ = ("KeyFolder", "given_key", "read_key", "read_stdin")

_MOST: Final = 64 << 10
"""Bytes of a seed or credentials file."""
_STDIN: Final = f"{__name__}.stdin"
"""Where a context of click has the key of `-K -`."""


class KeyFolder(SafeRepr):
    """Seeds by public key, and credentials by user."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, public: str) -> Path:
        """Return the file of a key, whether it exists or not."""
        return self.path / public[0] / public[1:3] / f"{public}.nk"

    def has(self, public: str) -> bool:
        """Return whether the seed of a key is here."""
        return self.place(public).exists()

    def find(self, public: str) -> SigningKey:
        """Return a key.

        Raises:
            KeyStoreError: If it is not here, or its file cannot be used.
        """
        path = self.place(public)
        if not path.exists():
            raise KeyStoreError(f"no seed of {public} in {self.path}; give its file with -K")
        key = read_key(path)
        if key.public != public:
            raise KeyStoreError(f"{path}: the seed of another key, {key.public}")
        return key

    def creds(self, operator: str, account: str, user: str) -> Path:
        """Return the credentials file of a user, whether it exists or not."""
        return self.path / "creds" / operator / account / f"{user}.creds"

    def __repr__(self) -> str:
        return f"<KeyFolder {str(self.path)!r}>"


def read_key(path: Path) -> SigningKey:
    """Read a signing key from a seed file or a credentials file.

    Raises:
        KeyStoreError: If it holds none, or others can read it.
    """
    text, where = read_private_text(path, limit=_MOST), path_text(path)
    found = find_creds(text)[1] or text
    form = "SO…, SA… or SU…"
    if is_protected(seed_line(found, where, form)):
        found = release(found, where)
    key = parse_seed(found, where, form)
    if isinstance(key, XKeyPair):
        raise KeyStoreError(f"{where}: expected a seed SO…, SA… or SU…, not that of a curve key")
    return key


def read_stdin(context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Read the key of `-K -` for `given_key`, before a folder is locked: it may take time."""
    if text == "-":
        context.meta[_STDIN] = read_key(Path("/dev/stdin"))
    return text


def given_key(text: str, keys: KeyFolder, roles: Mapping[str, str] = {}) -> SigningKey:
    """Return the key that `-K` names: a file, `-` for stdin, a public key, or a role.

    Args:
        text: The value of `-K`.
        keys: The folder of seeds.
        roles: Scoped signing keys of the account, with their roles.

    Raises:
        KeyStoreError: If there is no such key, or its file cannot be used.
        ConfigurationError: If it stands for several keys.
    """
    if text == "-":
        key: SigningKey = click.get_current_context().meta[_STDIN]
        return key
    if is_public(text):
        return keys.find(text)
    of_role = [key for key, role in roles.items() if role == text]
    if of_role and Path(text).exists():
        raise ConfigurationError(f"-K: {cut(text)!r} is a role and a file; for the file, ./{text}")
    if not of_role:
        return read_key(Path(text))
    here = [key for key in of_role if keys.has(key)]
    if len(here) == 1:
        return keys.find(here[0])
    if not here:
        raise KeyStoreError(f"no seed of a key of the role {text} in {keys.path}; give its file")
    raise ConfigurationError(f"-K: several keys have the role {text}: give one of {listed(here)}")
