"""An operator's folder for editing: its claims with their files, and changes that are atomic.

All texts of a change are prepared before the first is written. Secrets are written first: whatever
interrupts a command, the key of a written claim is there, and a user has its new credentials before
its old ones end. A folder is locked while it is changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from xkeymsg.ambient import now_ns
from xkeymsg.cli.output import PRIVATE, locked, replace
from xkeymsg.cli.trust.keys import KeyFolder
from xkeymsg.daemons.common.terminal import say
from xkeymsg.display import MOST_PLACES, MOST_TEXT, SafeRepr, cut, listed
from xkeymsg.errors import ConfigurationError, UnknownKeyError
from xkeymsg.suggestions import did_you_mean
from xkeymsg.text import path_text
from xkeymsg.trust.chain import Authority, TrustPolicy, authorize
from xkeymsg.trust.claims import Account, Operator, User
from xkeymsg.trust.marks import Marks
from xkeymsg.trust.names import is_name
from xkeymsg.trust.stores.file import write_private
from xkeymsg.trust.stores.folder import ClaimsFolder, find_store

__all__ = (
    "AccountFile",
    "Change",
    "TrustStore",
    "UserFile",
    "check_name",
    "default_keys",
    "editing",
    "make_folder",
    "now",
)

_PUBLIC: Final = 0o644
_MOST_NAME: Final = 200
"""Bytes of a name: those of a file are at most 255."""


def now() -> int:
    """Return our clock, in seconds."""
    return now_ns() // 1_000_000_000


class UserFile(NamedTuple):
    """A user JWT and its file."""

    path: Path
    user: User


class AccountFile(NamedTuple):
    """An account JWT and its file."""

    path: Path
    account: Account

    @property
    def key(self) -> str:
        """The public key `A…`."""
        return self.account.claims.subject

    @property
    def name(self) -> str:
        """The name in the JWT, or else that of the folder."""
        return self.account.claims.name or self.path.parent.name

    @property
    def users(self) -> Path:
        """The folder of its users."""
        return self.path.parent / "users"


class TrustStore(SafeRepr):
    """The claims of an operator's folder, as of now."""

    def __init__(self, folder: Path, keys: Path | None = None) -> None:
        """Read a folder.

        Args:
            folder: The operator's folder, or nsc's folder above it.
            keys: The folder of seeds; by default `keys` beside the operator's folder, or beside
                the folder `stores` that it is in.

        Raises:
            ConfigurationError: If there is no usable operator JWT.
        """
        self.path = find_store(folder)
        self.keys = KeyFolder(keys or default_keys(self.path))
        self.source = ClaimsFolder(self.path)
        self.source.scan()
        self.accounts: list[AccountFile] = []
        self._users: list[UserFile] = []
        operators: list[tuple[Path, Operator]] = []
        for path, claim in self.source.files():
            match claim:
                case Operator():
                    operators.append((path, claim))
                case Account():
                    self.accounts.append(AccountFile(path, claim))
                case User():
                    self._users.append(UserFile(path, claim))
        if not operators:
            faults = self.source.faults
            raise faults.get(str(self.path)) or next(iter(faults.values()))
        self.operator_path, self.operator = operators[0]

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.operator.claims.name or self.path.name

    def account(self, name: str) -> AccountFile:
        """Return an account by name or key.

        Raises:
            UnknownKeyError: If it does not exist.
            ConfigurationError: If several match.
        """
        found = [each for each in self.accounts if name in (each.key, each.name)]
        if len(found) > 1:
            raise ConfigurationError(_several("accounts", name, found))
        if not found:
            near = did_you_mean(name, [each.name for each in self.accounts])
            raise UnknownKeyError(f"{self.path}: no account {cut(name)!r}{near}")
        return found[0]

    def users(self, account: AccountFile) -> Iterator[UserFile]:
        """Yield the users of an account."""
        return (each for each in self._users if each.user.account == account.key)

    def user(self, account: AccountFile, name: str) -> UserFile:
        """Return a user by name or key.

        Raises:
            UnknownKeyError: If it does not exist.
            ConfigurationError: If several match.
        """
        users = list(self.users(account))
        found = [u for u in users if name in (u.user.claims.subject, u.user.claims.name)]
        if len(found) > 1:
            raise ConfigurationError(_several("users", name, found))
        if not found:
            near = did_you_mean(name, [each.user.claims.name for each in users])
            raise UnknownKeyError(f"{account.name}: no user {cut(name)!r} in the folder{near}")
        return found[0]

    @property
    def policy(self) -> TrustPolicy:
        """The default policy of readers, with this operator as the anchor."""
        return TrustPolicy(anchors=frozenset({self.operator.claims.subject}))

    def authority(self, account: Account, operator: Operator | None = None) -> Authority:
        """Return the authority of an account JWT, as a reader with default settings has it.

        Raises:
            TrustError: If the chain is not valid.
        """
        key = account.claims.subject
        return authorize(self.policy, operator or self.operator, key, [account], now(), Marks())

    def say_faults(self) -> bool:
        """Report files that cannot be used; return whether there are any."""
        for fault in islice(self.source.faults.values(), MOST_PLACES):
            say("xkeymsg", f"error: {fault}")
        return bool(self.source.faults)

    def check_accounts(self) -> None:
        """Check that no account is missing, because its file cannot be used.

        Raises:
            ConfigurationError: If one is.
        """
        for place, fault in self.source.faults.items():
            if "users" not in Path(place).relative_to(self.path).parts[2:3]:
                raise ConfigurationError(f"{fault}; its account would be missing")

    def creds(self, account: AccountFile, user: Path) -> Path:
        """Return the credentials file of a user with a JWT at `user`."""
        return self.keys.creds(self.path.name, account.path.parent.name, user.stem)

    def __repr__(self) -> str:
        return f"<TrustStore {str(self.path)!r}>"


def _several(what: str, name: str, found: Sequence[AccountFile | UserFile]) -> str:
    files = listed([str(each.path) for each in found[:4]], len(found), most=MOST_TEXT)
    return f"several {what} are called {cut(name)!r}: give a key; or remove a copy: {files}"


def default_keys(store: Path) -> Path:
    """Return the folder of seeds that belongs to an operator's folder."""
    above = Path(store).absolute().parent
    return (above.parent if above.name == "stores" else above) / "keys"


def check_name(name: str, what: str) -> None:
    """Check a name, which also becomes a file name.

    Raises:
        ConfigurationError: If it is not valid.
    """
    unusable = name[:1] in (".", "-") or "\\" in name or name.endswith(".jwt")
    if unusable or not is_name(name) or len(name.encode()) > _MOST_NAME:
        raise ConfigurationError(
            f"invalid name of {what}: {cut(name)!r}; at most 64 characters and {_MOST_NAME} bytes,"
            " not like a key, without white space, / \\ : * >, not starting with . or -, and not"
            " ending in .jwt"
        )


class _NewFile(NamedTuple):
    path: Path
    text: str
    is_secret: bool
    is_new: bool

    def write(self) -> None:
        path, exists = self.path, self.path.exists()
        make_folder(path.parent, 0o700 if self.is_secret else 0o755)
        if self.is_secret and self.is_new:
            write_private(path, self.text)
        elif self.is_secret:
            replace(path, self.text.encode(), PRIVATE)
        else:
            mode = path.stat().st_mode & 0o7777 if exists else _PUBLIC
            replace(path, self.text.encode(), mode, exact=exists)

    @property
    def has_replaced(self) -> bool:
        """Whether it took the place of another file."""
        is_file = not self.is_new and self.path.is_file()
        return is_file and self.path.read_bytes() == self.text.encode()


class Change:
    """Files to write: secrets first, then claims in the order in which they were added."""

    def __init__(self) -> None:
        self._files: list[_NewFile] = []

    def secret(self, path: Path, text: str) -> None:
        """Add a new file with a secret."""
        self._files.append(_NewFile(path, text, is_secret=True, is_new=True))

    def new(self, path: Path, text: str) -> None:
        """Add a new file with a claim."""
        self._files.append(_NewFile(path, text, is_secret=False, is_new=True))

    def update(self, path: Path, text: str) -> None:
        """Replace a file with a claim, and keep its mode; create it if it does not exist."""
        self._files.append(_NewFile(path, text, is_secret=False, is_new=False))

    def update_secret(self, path: Path, text: str) -> None:
        """Replace a file with a secret."""
        self._files.append(_NewFile(path, text, is_secret=True, is_new=False))

    def apply(self) -> None:
        """Write everything; nothing, if a new file exists already.

        If a file cannot be written, new files are removed again, unless others were replaced.

        Raises:
            ConfigurationError: If a new file exists.
            KeyStoreError: If a secret cannot be written.
            OSError: If another file cannot be written.
        """
        files = sorted(self._files, key=lambda file: not file.is_secret)
        for file in files:
            if file.is_new and os.path.lexists(file.path):
                where = path_text(file.path)
                raise ConfigurationError(f"{where} already exists; nothing was changed")
        begun: list[_NewFile] = []
        try:
            for file in files:
                begun.append(file)
                file.write()
        except BaseException:
            if not any(file.has_replaced for file in begun):
                for file in begun:
                    if file.is_new:
                        file.path.unlink(missing_ok=True)
            raise


def make_folder(folder: Path, mode: int) -> None:
    """Create a folder, and those above it, with one mode: `mkdir(parents=True)` would not."""
    if not folder.is_dir():
        make_folder(folder.parent, mode)
        folder.mkdir(mode=mode, exist_ok=True)


@contextmanager
def editing(folder: Path, keys: Path | None) -> Iterator[tuple[TrustStore, Change]]:
    """Lock a folder and read it; apply the change at the end of the block, unless it raises."""
    with locked(find_store(folder)):
        store, change = TrustStore(folder, keys), Change()
        store.say_faults()
        yield store, change
        change.apply()
