"""Trust in chains of NATS JWTs, from a folder that may change while in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Final, NamedTuple, Self

from xkeymsg.ambient import after_fork, monotonic, now_ns
from xkeymsg.display import SafeRepr, listed
from xkeymsg.envelope.admission import Admission
from xkeymsg.errors import (
    ConfigurationError,
    TrustError,
    UnknownKeyError,
    WrongAccountError,
    XKeyMsgError,
)
from xkeymsg.files import read_text
from xkeymsg.keys import Recipient, XKey
from xkeymsg.nkey import Prefix, decode_public, is_public
from xkeymsg.refusals import refusing
from xkeymsg.trust.chain import TrustPolicy
from xkeymsg.trust.claims import Account, User
from xkeymsg.trust.creds import parse_creds
from xkeymsg.trust.members import Members
from xkeymsg.trust.stores.arguments import checked_accounts, checked_pins, only_account
from xkeymsg.trust.stores.audiences import AudienceChange, Audiences
from xkeymsg.trust.stores.folder import ClaimsFolder, find_store
from xkeymsg.trust.stores.judge import Judge
from xkeymsg.trust.stores.lookup import Lookup
from xkeymsg.trust.stores.marks_file import MarksFile
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place, Verified
from xkeymsg.trust.stores.signers import ValidSigner, valid_signers

__all__ = ("Trust", "TrustReport", "own_account")

_SHORT: Final = 0.05
_SHARE: Final = 20
"""Checking a folder that takes longer than 0.05 s takes at most 1/20 of the time."""
_USER_SOON: Final = 14 * 86_400
_XKEY_SOON: Final = 86_400


class TrustReport(NamedTuple):
    """Counts for monitoring."""

    valid: int
    refused: Counter[str]
    """Users without a valid chain, by error code."""
    expiring: int
    """Users whose chain ends within 14 days."""
    xkeys_expiring: int
    """Users whose current xkey ends within a day."""
    joined: int
    left: int
    """Users that have joined or left an audience, since the start."""


class Trust(SafeRepr):
    """A Resolver for the users of NATS accounts: JWTs as nsc writes them, and xkey certificates.

        trust = Trust.load("stores/HOSPITAL", anchor="O…", account="A…", marks="marks.json")
        async with connect(url, key=alice, trust=trust, creds="alice.creds") as client:
            await client.publish("ehr.new", b"…", to=["ward-a", "perm:billing"])

    A message is admitted if its sender's xkey is certified by the user that it names, and the user
    may publish on its subject, at the time of the message. Names: `ward-a`; `reader:ward-a` for a
    user of a scoped key; `insurer/claims` for another account; `U…`; `perm:billing`.

    Every answer is of one state of the folder and, for each user, of the directory. Thread-safe.
    """

    def __init__(self, judge: Judge, account: str, user: str | None = None) -> None:
        """Initialize with checked values; use `load`.

        Raises:
            TrustError: If the operator or the own account is not valid.
            ConfigurationError: If there is no usable claim of one of them.
        """
        self.path = judge.source.path
        self.account = account
        """The own account, `A…`."""
        self.user = user
        """The own user, `U…`, if credentials were given."""
        self._own: User | None = None
        self.generation = 1
        """Raised by each change: verdicts of another generation do not count."""
        self.published: Published | None = None
        """What a directory has shown; None without one."""
        self.lookup: Lookup | None = None
        """Verifies what the directory has shown."""
        self.marks = judge.marks
        self._judge = judge
        # An event loop may wait for the first, for milliseconds; the others are held for long.
        self._lock, self._judging, self._scanning = RLock(), RLock(), RLock()
        self._audiences = Audiences()
        self._told = ""
        self._resume = 0.0
        after_fork(self)
        judge.source.scan()
        self._members = judge.judge(_now())
        if "" not in self._members.known:
            refusals = [e for e in judge.refusals.values() if not isinstance(e, UnknownKeyError)]
            missing = ConfigurationError(f"{self.path}: no JWT of the account {self.account}")
            raise [*refusals, *judge.source.faults.values(), missing][0]
        self.marks.save()
        self.error = self._first_problem()
        """The first problem, and the number of others; None without any."""

    @classmethod
    @refusing
    def load(
        cls,
        folder: str | Path,
        *,
        anchor: str | Iterable[str],
        account: str | None = None,
        creds: str | Path | None = None,
        accounts: Mapping[str, str] | None = None,
        pins: Mapping[str, str] | None = None,
        marks: str | Path | None = None,
        operator_identity_issues: bool = False,
        account_identity_issues: bool = True,
    ) -> Self:
        """Read a folder: that of an operator in nsc's store, with certificates beside the users.

        Args:
            folder: The folder.
            anchor: The public key `O…` of the operator's identity; during a change, both.
            account: The own account, `A…`. By default that of `creds`, or else the only one in the
                folder apart from the system account.
            creds: The own credentials file.
            accounts: Other accounts, from alias to `A…`; `insurer/claims` is a user of `insurer`.
            pins: Names that stand for one user key `U…`, whoever else uses the name.
            marks: A file of this process alone for rollback marks and newest account JWTs. Without
                one, an older claim can come back after a restart.
            operator_identity_issues: Whether the operator's identity may issue accounts.
            account_identity_issues: Whether an account's identity may issue users.

        Raises:
            TrustError: If the operator or the own account is not valid.
            ConfigurationError: If an argument is invalid, or a file of the operator, the account,
                the credentials or the marks cannot be used.
            KeyFormatError: If a key is invalid.
        """
        anchors = [anchor] if isinstance(anchor, str) else list(anchor)
        for each in anchors:
            decode_public(Prefix.OPERATOR, each)
        if not anchors:
            raise ConfigurationError("anchor: expected a public key O…")
        own = None
        if creds is not None:
            own = own_account(read_text(Path(creds), ConfigurationError))
            account = account or own.account
        source = ClaimsFolder(find_store(Path(folder)), frozenset())
        account = account or only_account(source)
        aliases = checked_accounts(account, accounts or {})
        source.accounts = frozenset(aliases.values())
        policy = TrustPolicy(
            anchors=frozenset(anchors),
            operator_identity_issues=operator_identity_issues,
            account_identity_issues=account_identity_issues,
        )
        names = checked_pins(pins or {}, aliases)
        kept = MarksFile(marks)
        try:
            trust = cls(
                Judge(source, policy, aliases, names, kept), account, own and own.claims.subject
            )
        except XKeyMsgError:
            kept.close()
            raise
        trust._own = own
        return trust

    # --- answers ----------------------------------------------------------------------------------

    @property
    def revision(self) -> int | None:
        """The last revision of the directory that was read; None without one."""
        published = self.published
        return published.revision if published is not None and published.loaded else None

    @property
    def members(self) -> Members:
        """The users in use, an immutable snapshot."""
        return self._members

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        """Return the verdict on a sender for a sealed subject, at a time in milliseconds.

        Raises:
            SenderRevokedError: If its key or user is revoked.
            NotLoadedError: If it is unknown, and the directory has not been read yet.
        """
        if self.lookup is None:
            return self._members.admit(sender, subject, at // 1000)
        return self.lookup.admit(lambda: self._members.admit(sender, subject, at // 1000), sender)

    def vouch(self, sender: XKey) -> Admission | None:
        """Return the verdict on a key for any subject, now, to check its replies by.

        Raises:
            SenderRevokedError: If its key or user is revoked.
        """
        return self.admit(sender, "", _now() * 1000)

    def admits_xkv1(self, sender: XKey, subject: str) -> bool:
        """Return False: xkv1 names no user."""
        return False

    @refusing
    def resolve(self, name: str) -> tuple[Recipient, ...]:
        """Return the current key of a user, or of all holders of a permission.

        Raises:
            AmbiguousNameError: If several valid users have the name, or one like it.
            UnknownKeyError: If nobody has the name, or holds the permission.
            NotLoadedError: If the directory has not been read yet, or is stale.
            TrustError: If the user has no key to seal to.
            TypeError: If `name` is not a str.
        """
        answer, now, published = self._members.answers.get(name), _now(), self.published
        must_ask = published is not None and published.must_ask
        if answer is None or must_ask or not answer.since <= now < answer.until:
            return self._resolved(name, now)
        return answer.recipients

    def always_to(self) -> tuple[Recipient, ...]:
        """Return no recipients: every message names its own."""
        return ()

    def user_of(self, key: XKey) -> str | None:
        """Return the user of the own account that has certified an xkey, if exactly one has."""
        users = [each.user for each in self._members.found(key) if each.account == self.account]
        return users[0] if len(users) == 1 else None

    @refusing
    def check_own(self, key: XKey, user: str) -> None:
        """Check that the own user is valid now, and has certified the key.

        Raises:
            TrustError: If not: every receiver refuses its messages.
        """
        identity = self._members.identities.get(("", user))
        if (refusal := self._members.refused.get(("", user))) is not None:
            raise type(refusal)(str(refusal))
        if identity is None:
            own = f" {user}" if is_public(user) else ""
            raise TrustError(f"{self.path}: no JWT of the own user{own}")
        identity.check_sender(key, _now(), self._judge.policy.skew)

    # --- changes ----------------------------------------------------------------------------------

    @property
    def problems(self) -> tuple[XKeyMsgError, ...]:
        """Faults of files, of the operator, of accounts, and of the marks.

        Refused users are in `members` and `report`.
        """
        found = [*self._judge.source.faults.values(), *self._judge.refusals.values()]
        if self.marks.error is not None:
            found.append(self.marks.error)
        with self.marks.lock:
            ahead = self.marks.marks.ahead(_now() + self._judge.policy.skew)
        if ahead:
            found.append(
                ConfigurationError(
                    f"rollback marks are in the future: {listed(ahead[:3], len(ahead))}; either"
                    " this clock is wrong: set it; or it, or the issuer's, was: run"
                    " `xkeymsg trust forget`"
                )
            )
        return tuple(found)

    def _first_problem(self) -> XKeyMsgError | None:
        first, *more = self.problems or (None,)
        return ConfigurationError(f"{first}; and {len(more)} more problems") if more else first

    @refusing
    def reload(self, *, force: bool = False) -> bool:
        """Read what has changed in the folder; return whether trust has changed.

        Call it once a second, in a thread if the folder is large. It also saves the marks.

        Args:
            force: Whether to check a large folder even if it was checked just now.

        Raises:
            XKeyMsgError: The `error`, once until it changes. What was valid before stays in use.
        """
        with self._scanning:  # which may take long; a revocation in the directory does not wait
            begun, changed = monotonic(), False
            if force or begun >= self._resume:
                changed = self._judge.source.scan()
                took = monotonic() - begun
                self._resume = begun + (took * _SHARE if took > _SHORT else 0)
            changed = self._rejudge(changed)
            self.marks.save()
            for name in self._audiences.names:
                with suppress(TrustError):
                    self.resolve(name)
            error = self.error = self._first_problem()
            told, self._told = self._told, "" if error is None else str(error)
            if error is not None and told != self._told:
                raise error
            return changed

    def _rejudge(self, changed: bool) -> bool:
        with self._judging:
            judge, now = self._judge, _now()
            if changed := changed or judge.is_due(now):
                with self._lock:
                    known = judge.begin(now)
                members = judge.judge_users(known, now)
                with self._lock:
                    self._members = judge.finish(members, now)
                    self.generation += 1
            return changed

    # --- a directory ------------------------------------------------------------------------------

    @property
    def accounts(self) -> Mapping[str, str]:
        """The configured accounts by alias; the own one is ""."""
        return self._judge.accounts

    def attach(self) -> tuple[Published, Lookup]:
        """Use a directory, too: until it is loaded, names are not resolved.

        The JWT of the own credentials counts from now on: it shows what the own user may ask for.
        So do the account JWTs that are kept in the file of marks.
        """
        with self._judging:
            published = self.published = self._judge.published = Published(dict(self.accounts))
            published.accounts |= {each: self.marks.kept(each) for each in self.accounts.values()}
            if (own := self._own) is not None and own.account == self.account and not own.bearer:
                published.users[own.account] = {own.claims.subject: (own,)}
                published.certificates[Place(own.account, own.claims.subject)] = ()
            self.lookup = Lookup(published, self.accounts, self._judge.pins, self._lock, self._take)
            self._rejudge(True)
            self.error = self._first_problem()
            return published, self.lookup

    def close_resolving(self, why: str) -> None:
        """Resolve nothing from now on, for this reason; without one, resolve again."""
        if self.published is not None:
            self.published.closed = why

    def take_account(self, text: str) -> None:
        """Take the own account's JWT as the server shows it.

        Raises:
            TrustError: If it is malformed, or belongs to another account.
        """
        account = Account.decode(text)
        if account.claims.subject != self.account:
            raise WrongAccountError("the server shows the JWT of another account")
        with self._lock:
            self._take(Verified(Place(self.account, ""), False, b"", (account,), (), ()))

    @property
    def has_news(self) -> bool:
        """Whether the directory has shown an account JWT that is not judged yet."""
        return self._judge.must_judge

    def take_news(self) -> bool:
        """Judge everything again if an account JWT requires it."""
        return self._rejudge(False)

    def _take(self, found: Verified) -> None:
        if self._judge.take(self._members, found, _now()):
            self.generation += 1

    def take_changes(self) -> Iterator[AudienceChange]:
        """Yield the changes of audiences since the last call."""
        return self._audiences.take()

    def report(self) -> TrustReport:
        """Count users, for monitoring; takes milliseconds for thousands of users."""
        members, now = self._members, _now()
        refused = Counter(error.code for error in list(members.refused.values()))
        valid = expiring = xkeys = 0
        for identity in list(members.identities.values()):
            if identity.valid_until < now:
                refused["expired_claim"] += 1
                continue
            valid += 1
            expiring += identity.valid_until < now + _USER_SOON
            current = [each.not_after for each in identity.keys if each.not_before <= now]
            xkeys += bool(current) and now <= current[-1] < now + _XKEY_SOON
        counts = self._audiences.joined, self._audiences.left
        return TrustReport(valid, refused, expiring, xkeys, *counts)

    @refusing
    def valid_signers(self, account: str = "") -> tuple[ValidSigner, ...]:
        """Return the keys that may issue users of an account now.

        Args:
            account: Its alias; empty for the own account.

        Raises:
            ConfigurationError: If the account is unknown, or not valid.
        """
        if (known := self._members.known.get(account)) is None:
            raise ConfigurationError("no valid account of this alias")
        return valid_signers(known.authority)

    def close(self) -> None:
        """Save and unlock the marks."""
        self.marks.close()

    def _resolved(self, name: str, now: int) -> tuple[Recipient, ...]:
        if not isinstance(name, str):
            raise TypeError(f"a name must be a str, not {type(name).__name__}")
        if self.lookup is not None:
            self.lookup.ask(name)
        found: tuple[Recipient, ...] = ()
        try:
            found = self._members.resolve(name, now).recipients
        finally:
            self._audiences.note(name, frozenset(each.user for each in found))
        return found

    def _after_fork(self) -> None:
        self._lock, self._judging, self._scanning = RLock(), RLock(), RLock()
        if self.lookup is not None:
            self.lookup.lock = self._lock

    def __repr__(self) -> str:
        return f"<Trust {str(self.path)!r}: {len(self._members.identities)} users>"


def _now() -> int:
    return now_ns() // 1_000_000_000


def own_account(creds: str) -> User:
    """Return the user of the text of a credentials file, with its account.

    Raises:
        ConfigurationError: If it does not hold matching credentials.
        TrustError: If its JWT is malformed.
    """
    return User.decode(parse_creds(creds)[0].text)
