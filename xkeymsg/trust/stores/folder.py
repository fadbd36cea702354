"""Claims in a folder, as nsc stores them, and certificates beside the users.

    hospital/*.jwt                                the operator JWT; exactly one
    hospital/accounts/CLINIC/*.jwt                an account JWT; exactly one
    hospital/accounts/CLINIC/users/ward-a.jwt     a user JWT
    hospital/accounts/CLINIC/users/ward-a.xkeys   its xkey certificates, one per line; # comments

The names of files and folders mean nothing; hidden ones are skipped. Whoever may write in the
folder decides who is trusted, so no file or folder may be world-writable, nor the folder that a
symlink leads to, unless it is mounted read-only. Sizes and numbers are bounded.

A file that cannot be read or decoded keeps its last valid claims, and `faults` says why. A user's
file that is deleted removes the user; the operator and an account remain.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from xkeymsg.ambient import now_ns
from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, XKeyMsgError
from xkeymsg.files import decode_file, read_file
from xkeymsg.refusals import bare
from xkeymsg.text import path_text
from xkeymsg.trust.claims import Account, Certificate, Operator, User
from xkeymsg.trust.jwt import Kind

__all__ = ("MOST_ENTRIES", "YOUNG_NS", "ClaimsFolder", "decode_certificate", "find_store")

MOST_ENTRIES: Final = 100_000
"""Entries of one folder."""
_MOST_CERTIFICATES: Final = 24
"""Certificates of one file."""
YOUNG_NS: Final = 2_000_000_000
"""A file that changed within this time is read again, as its times may not show the next change."""

_Signature = tuple[int, ...]
_Claim = TypeVar("_Claim")


class _File(NamedTuple, Generic[_Claim]):
    """A file as it was read last."""

    signature: _Signature | None
    """The state of the file then; None to read it again."""
    digest: bytes
    claims: tuple[_Claim, ...]
    fault: XKeyMsgError | None


class _Files(Generic[_Claim]):
    """The files with one kind of claim: those of the last scan, and those seen in this one."""

    def __init__(self, kind: Kind, decode: Callable[[str], _Claim]) -> None:
        self._kind = kind
        self._decode = decode
        self._last: dict[str, _File[_Claim]] = {}
        self.found: dict[str, _File[_Claim]] = {}

    def begin(self) -> None:
        self._last, self.found = self.found, {}

    @property
    def has_changed(self) -> bool:
        last, found = self._last, self.found
        return last.keys() != found.keys() or any(
            file.claims is not last[path].claims for path, file in found.items()
        )

    @property
    def claims(self) -> Iterator[_Claim]:
        return (claim for file in self.found.values() for claim in file.claims)

    def keep(self, folder: str) -> None:
        """Keep the files below a folder as they were."""
        self.found |= {p: file for p, file in self._last.items() if p.startswith(f"{folder}/")}

    def keep_one(self, folder: str) -> _File[_Claim] | None:
        """Keep the one file in a folder, not below its subfolders, as it was."""
        for path, file in self._last.items():
            if path.rpartition("/")[0] == folder:
                self.found[path] = file
                return file
        return None

    def add(self, path: str, signature: _Signature | None) -> _File[_Claim]:
        """Read a file, unless it has not changed."""
        last = self._last.get(path)
        if last is None or last.signature is None or last.signature != signature:
            last = self._read(path, signature, last)
        self.found[path] = last
        return last

    def _read(
        self, path: str, signature: _Signature | None, last: _File[_Claim] | None
    ) -> _File[_Claim]:
        before = () if last is None else last.claims
        try:
            _check_target(path)
            content, _ = read_file(Path(path), ConfigurationError, limit=self._kind.size + 2)
            digest = hashlib.sha256(content).digest()
            if last is not None and digest == last.digest:
                return last._replace(signature=signature)
            text = decode_file(content, path, ConfigurationError)
        except (OSError, ConfigurationError) as error:
            return _File(None, b"", before, _explained(path, error))
        claims, fault = self._decoded(path, text)
        return _File(signature, digest, before if fault and before else claims, fault)

    def _decoded(self, path: str, text: str) -> tuple[tuple[_Claim, ...], XKeyMsgError | None]:
        lines = [text.strip()]
        if self._kind is Kind.XKEY:
            lines = [line for each in text.split("\n") if (line := each.strip()) and line[0] != "#"]
        if len(lines) > _MOST_CERTIFICATES:
            return (), ConfigurationError(f"{path}: more than {_MOST_CERTIFICATES} certificates")
        claims: list[_Claim] = []
        fault: XKeyMsgError | None = None
        for line in lines:
            try:
                claims.append(self._decode(line))
            except XKeyMsgError as error:
                fault = type(error)(f"{path}: {error}")
        return tuple(claims), fault


class ClaimsFolder(SafeRepr):
    """The claims in a folder, as of the last `scan`, which one thread at a time may call.

    Args:
        path: The folder of an operator.
        accounts: The public keys of the accounts to read the users of; None for all.
    """

    def __init__(self, path: Path, accounts: frozenset[str] | None = None) -> None:
        self.path = path
        self.accounts = accounts
        self.operator: Operator | None = None
        """None before the first valid one."""
        self.known: dict[str, list[Account]] = {}
        """Account claims by account."""
        self.users: dict[str, dict[str, list[User]]] = {}
        """User claims by account and user."""
        self.certificates: dict[str, list[Certificate]] = {}
        """Certificates by user."""
        self.faults: dict[str, XKeyMsgError] = {}
        """Why files and folders are not used, by path."""
        self._operators = _Files(Kind.OPERATOR, Operator.decode)
        self._accounts = _Files(Kind.ACCOUNT, Account.decode)
        self._users = _Files(Kind.USER, _user)
        self._certificates = _Files(Kind.XKEY, decode_certificate)

    def scan(self) -> bool:
        """Read what has changed; return whether the claims have."""
        every: tuple[_Files[Any], ...] = (
            self._operators, self._accounts, self._users, self._certificates,
        )  # fmt: skip
        for files in every:
            files.begin()
        self.faults = {}
        self._of_operator(str(self.path))
        for files in every:
            self.faults |= {path: file.fault for path, file in files.found.items() if file.fault}
        changed = any(files.has_changed for files in every)
        if changed:
            self._index()
        return changed

    def files(self) -> Iterator[tuple[Path, Operator | Account | User | Certificate]]:
        """Yield each file of the last scan with its claims; a certificate's text is not kept."""
        every: tuple[_Files[Any], ...] = (
            self._operators, self._accounts, self._users, self._certificates,
        )  # fmt: skip
        for files in every:
            for path, file in files.found.items():
                yield from ((Path(path), claim) for claim in file.claims)

    def _of_operator(self, root: str) -> None:
        entries = self._entries(root, self._operators, self._accounts, *self._of_users)
        if entries is None:
            return
        self._one(root, entries, self._operators)
        below = f"{root}/accounts"
        for entry in self._entries(below, self._accounts, *self._of_users) or ():
            try:
                if entry.is_dir():
                    self._of_account(entry.path)
            except OSError as error:  # a symlink to a forbidden folder
                self._keep(entry.path, error, self._accounts, *self._of_users)

    def _of_account(self, folder: str) -> None:
        entries = self._entries(folder, self._accounts, *self._of_users)
        if entries is None:
            return
        account = self._one(folder, entries, self._accounts)
        known = account and {claim.claims.subject for claim in account.claims}
        wanted = known and (self.accounts is None or known & self.accounts)
        if not wanted or "users" not in {entry.name for entry in entries}:
            return
        entries = self._entries(f"{folder}/users", *self._of_users)
        for path, signature in _states(entries or ()):
            if path.endswith(".jwt"):
                self._users.add(path, signature)
            elif path.endswith(".xkeys"):
                self._certificates.add(path, signature)

    @property
    def _of_users(self) -> tuple[_Files[Any], _Files[Any]]:
        return self._users, self._certificates

    def _index(self) -> None:
        """Set the tables; each is replaced as a whole, since another thread may read them."""
        known: dict[str, list[Account]] = {}
        users: dict[str, dict[str, list[User]]] = {}
        certificates: dict[str, list[Certificate]] = {}
        for account in self._accounts.claims:
            known.setdefault(account.claims.subject, []).append(account)
        for user in self._users.claims:
            of_account = users.setdefault(user.account, {})
            of_account.setdefault(user.claims.subject, []).append(user)
        for each in self._certificates.claims:
            certificates.setdefault(each.claims.issuer, []).append(each)
        self.operator = next(self._operators.claims, None)
        self.known, self.users, self.certificates = known, users, certificates

    def _one(
        self, folder: str, entries: Iterable[os.DirEntry[str]], files: _Files[_Claim]
    ) -> _File[_Claim] | None:
        """Read the one JWT of a folder; without exactly one, the last remains."""
        jwts = [each for each in _states(entries) if each[0].endswith(".jwt")]
        if len(jwts) == 1:
            return files.add(*jwts[0])
        self.faults[folder] = ConfigurationError(
            f"{folder}: expected one file *.jwt, found {len(jwts)}"
        )
        return files.keep_one(folder)

    def _entries(self, folder: str, *files: _Files[Any]) -> list[os.DirEntry[str]] | None:
        """Return the entries of a folder, without hidden ones.

        None if it cannot be read, or is unsafe: then all files below remain as they were.
        """
        fault: OSError | ConfigurationError | None = None
        found: list[os.DirEntry[str]] = []
        try:
            _check_target(folder)
            _check_folder(folder)
            with os.scandir(folder) as entries:
                found = list(islice(entries, MOST_ENTRIES + 1))
        except (OSError, ConfigurationError) as error:
            fault = error
        if len(found) > MOST_ENTRIES:
            fault = ConfigurationError(f"{folder}: over {MOST_ENTRIES} entries")
        if fault is None:
            return sorted((e for e in found if e.name[0] != "."), key=lambda entry: entry.name)
        self._keep(folder, fault, *files)
        return None

    def _keep(self, folder: str, fault: OSError | ConfigurationError, *files: _Files[Any]) -> None:
        self.faults[folder] = _explained(folder, fault)
        for each in files:
            each.keep(folder)

    def __repr__(self) -> str:
        return f"<ClaimsFolder {str(self.path)!r}>"


# What no rule reads is dropped: it is half of the memory for thousands of users.


def _user(text: str) -> User:
    user = User.decode(text)
    return user._replace(claims=user.claims._replace(members={}))


def decode_certificate(text: str) -> Certificate:
    """Decode a certificate, without what no rule reads."""
    found = Certificate.decode(text)
    claims = found.claims
    return found._replace(claims=claims._replace(text="", members={}, nats={}))


def _states(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[str, _Signature | None]]:
    """Yield the files among entries with their state; None if a change could go unseen."""
    young = now_ns() - YOUNG_NS
    for entry in entries:
        try:
            status = entry.stat()
        except OSError:
            yield entry.path, None  # reading it fails too, and says why
            continue
        if not stat.S_ISDIR(status.st_mode):
            signature = (
                status.st_dev, status.st_ino, status.st_mode, status.st_size,
                status.st_mtime_ns, status.st_ctime_ns,
            )  # fmt: skip
            yield entry.path, signature if status.st_ctime_ns < young else None


def _check_target(path: str) -> None:
    """Check the folder that a symlink leads to: whoever writes there can replace the target."""
    if os.path.islink(path):  # noqa: PTH114 - of thousands
        _check_folder(os.path.realpath(path).rpartition("/")[0] or "/")


def _check_folder(folder: str) -> None:
    mode = Path(folder).stat().st_mode
    if mode & stat.S_IWOTH and not os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise ConfigurationError(
            f"{folder}: world-writable (mode {stat.S_IMODE(mode):04o}); run chmod o-w"
        )


def _explained(path: str, error: OSError | ConfigurationError) -> ConfigurationError:
    if isinstance(error, ConfigurationError):
        return bare(error)  # its frames hold the contents of files
    return ConfigurationError(f"cannot read {path}: {error.strerror}")


def find_store(path: Path) -> Path:
    """Return the folder of the one operator at or below a path: nsc has it at `stores/<operator>`.

    Raises:
        ConfigurationError: If it finds no operator, or several.
    """
    below = [path, path / "stores"]
    try:
        for folder in below:
            if any(folder.glob("*.jwt")):
                return folder
        found = [
            each
            for folder in below
            for each in sorted(folder.glob("*/"))
            if each.name != "accounts" and any(each.glob("*.jwt"))
        ]
    except OSError as error:
        raise ConfigurationError(f"cannot read {path_text(path)}: {error.strerror}") from None
    if len(found) != 1:
        names = f": {', '.join(each.name for each in found[:8])}" if found else ""
        raise ConfigurationError(
            f"{path_text(path)}: expected the folder of one operator, with its *.jwt, found"
            f" {len(found)}{names}"
        )
    return found[0]
