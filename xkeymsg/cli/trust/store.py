"""An operator's folder for editing: its claims with their files, and changes that are atomic.

All texts of a change are prepared before the first is written; secrets are written first, so that
an interrupted command leaves at most an unused key. A folder is locked while it is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from xkeymsg.ambient import now_ns
from xkeymsg.cli.output import PRIVATE, locked, replace
from xkeymsg.cli.trust.keys import KeyFolder
from xkeymsg.errors import ConfigurationError, UnknownKeyError
from xkeymsg.nearest import did_you_mean
from xkeymsg.nkey import is_seed
from xkeymsg.shown import SafeRepr, cut
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
        if is_seed(folder.name):
            raise ConfigurationError("expected the folder of an operator, not a secret seed")
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
            raise ConfigurationError(f"{self.path}: several accounts are called {cut(name)!r}")
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
            raise ConfigurationError(f"{account.name}: several users are called {cut(name)!r}")
        if not found:
            near = did_you_mean(name, [each.user.claims.name for each in users])
            raise UnknownKeyError(f"{account.name}: no user {cut(name)!r}{near}")
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

    def creds(self, account: AccountFile, user: Path) -> Path:
        """Return the credentials file of a user with a JWT at `user`."""
        return self.keys.creds(self.path.name, account.path.parent.name, user.stem)

    def __repr__(self) -> str:
        return f"<TrustStore {str(self.path)!r}>"


def default_keys(store: Path) -> Path:
    """Return the folder of seeds that belongs to an operator's folder."""
    above = Path(store).absolute().parent
    return (above.parent if above.name == "stores" else above) / "keys"


def check_name(name: str, what: str) -> None:
    """Check a name, which also becomes a file name.

    Raises:
        ConfigurationError: If it is not valid.
    """
    if is_seed(name):
        raise ConfigurationError(f"expected the name of {what}, not a secret seed")
    if not is_name(name) or name[0] == "." or "\\" in name:
        raise ConfigurationError(
            f"invalid name of {what}: {cut(name)!r}; at most 64 characters, not like a key, without"
            " white space, / \\ : * >, and not starting with a dot"
        )


class Change:
    """Files to write: secrets first, then claims in the order in which they were added."""

    def __init__(self) -> None:
        self._secrets: list[tuple[Path, str]] = []
        self._claims: list[tuple[Path, str, bool]] = []
        self._replaced: list[tuple[Path, str]] = []

    def secret(self, path: Path, text: str) -> None:
        """Add a new file with a secret."""
        self._secrets.append((path, text))

    def new(self, path: Path, text: str) -> None:
        """Add a new file with a claim."""
        self._claims.append((path, text, True))

    def update(self, path: Path, text: str) -> None:
        """Replace a file with a claim, and keep its mode; create it if it does not exist."""
        self._claims.append((path, text, False))

    def update_secret(self, path: Path, text: str) -> None:
        """Replace a file with a secret, after all claims."""
        self._replaced.append((path, text))

    def apply(self) -> None:
        """Write everything; nothing, if a new file exists already.

        Raises:
            ConfigurationError: If a new file exists.
            KeyStoreError: If a secret cannot be written.
            OSError: If a claim cannot be written.
        """
        for path in [path for path, _ in self._secrets] + [p for p, _, new in self._claims if new]:
            if path.exists() or path.is_symlink():
                raise ConfigurationError(f"{path_text(path)} already exists; nothing was changed")
        for path, text in self._secrets:
            make_folder(path.parent, 0o700)
            write_private(path, text)
        for path, text, _ in self._claims:
            make_folder(path.parent, 0o755)
            mode = path.stat().st_mode & 0o7777 if path.exists() else _PUBLIC
            replace(path, text.encode(), mode, exact=path.exists())
        for path, text in self._replaced:
            replace(path, text.encode(), PRIVATE)


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
        yield store, change
        change.apply()
