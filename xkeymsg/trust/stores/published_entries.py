"""Entries of a directory: unverified texts in bounded memory, and the claims that verify.

The entry of a user has its JWT in the first line and its xkey certificates in the others; that of
an account (`user` is empty) has the account JWT. Whoever writes or delivers entries is untrusted:

- Each text proves itself (T-1), and has to be about the key that it is published under.
- Absence removes nothing: an empty, damaged or older entry is counted, and ignored.
- An event can be forged, and a stored entry cannot be replaced by one: both wait to be verified.
- An unverified text decides nothing. What it states about itself selects who is verified first.

`put` may be called while another thread does anything else; all else is under the caller's lock.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, XKeyMsgError
from xkeymsg.trust.claims import Account, Certificate, User
from xkeymsg.trust.jwt import Claims, Kind
from xkeymsg.trust.names import fold_name
from xkeymsg.trust.stores.published_entry import (
    MOST_CERTIFICATES,
    Place,
    PublishedEntry,
    Verified,
    fault_of,
    form_fault,
)

__all__ = ("BUCKET", "Published", "name_hint")

_MOST_ENTRIES: Final = 50_000
_MOST_BYTES: Final = 64 << 20
"""Unverified text with its index; and again the claims of users that are not valid."""
_MOST_EVENTS: Final = 1024
"""Unverified events: anyone may send them, and stored entries need room."""
_CERTIFICATE_SIZE: Final = 1024
"""Memory of a verified certificate, about."""
_MOST_ALARMS: Final = 64
_MOST_WANTED: Final = 1024


BUCKET: Final = Place("the directory", "*")
"""Not an entry, but all of them; for alarms."""
_REPUBLISH: Final = "publish it again (`xkeymsg directory publish`)"
_WHY: Final = {
    "deleted": f"the entry was deleted: {_REPUBLISH}",
    "oversized": f"the entry is too large: {_REPUBLISH}",
    "malformed_claim": f"the entry has over {MOST_CERTIFICATES + 1} lines: {_REPUBLISH}",
    "full": "too many unverified entries: check who may write entries",
}


class Published(SafeRepr):
    """The entries of a directory, as far as they have been read.

    Args:
        accounts: The public keys of the configured accounts, by alias; others are dropped.
        entries: Limit of entries.
        size: Limit of unverified text, in bytes.
    """

    def __init__(
        self,
        accounts: dict[str, str],
        *,
        entries: int = _MOST_ENTRIES,
        size: int = _MOST_BYTES,
    ) -> None:
        self.loaded = False
        """Whether everything in the bucket has been read over the present connection."""
        self.closed = ""
        """Why nothing is resolved; empty normally."""
        self.revision = 0
        """The last sequence that the bucket has shown; events do not raise it."""
        self.behind: dict[str, int] = {}
        """Senders whose last message was resolved at an old revision."""
        self.known_before = 0
        """The revision that every sender should have read by now."""
        self.ignored: Counter[str] = Counter()
        """Entries and texts that were ignored, by reason."""
        self.alarms: dict[Place, XKeyMsgError] = {}
        """What is wrong with the present entry of a place, or with the bucket."""
        self.fetched: set[str] = set()
        """Users whose entry was read before everything else."""
        self.shown: dict[str, int] = {}
        """`iat` of the account JWT that the bucket has, by account; 0 if it is from the future."""
        self.accounts: dict[str, tuple[Account, ...]] = {}
        self.users: dict[str, dict[str, tuple[User, ...]]] = {}
        """By account and user."""
        self.certificates: dict[Place, tuple[Certificate, ...]] = {}
        self._aliases = {key: alias for alias, key in accounts.items()}
        self._most, self._size, self._room, self._for_events = entries, size, size, size // 2
        self._arrived: deque[tuple[Place, bytes, bool]] = deque()
        self._came = self._went = 0  # bytes; each is written by one side only
        self._events_came = self._events_went = 0
        self._pending: dict[tuple[Place, bool], PublishedEntry] = {}
        self._hinted: dict[str, dict[tuple[Place, bool], None]] = {}
        self._digests: dict[Place, bytes] = {}
        self._unadmitted: dict[Place, int] = {}
        self._unadmitted_size = 0
        self._dropped: list[Place] = []
        self._wanted: dict[str, None] = {}

    @property
    def must_ask(self) -> bool:
        """Whether answers from before do not count: it is not loaded, or is stale."""
        return not self.loaded or bool(self.closed)

    # --- unverified -------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Entries that wait to be verified."""
        return len(self._arrived) + len(self._pending)

    @property
    def is_indexed(self) -> bool:
        """Whether what has arrived so far is found by what it states."""
        return not self._arrived

    @property
    def has_room(self) -> bool:
        """Whether the next entry is taken, whatever its size."""
        return self.pending < self._most and self._left >= Kind.ACCOUNT.size

    @property
    def _left(self) -> int:
        return self._room - (self._came - self._went)

    def put(self, place: Place, value: bytes, *, stored: bool) -> bool:
        """Take an entry of the bucket, or of an event, to be verified.

        Returns:
            False if there was no room: the bucket has to be read again.
        """
        if place.account not in self._aliases:
            return True
        try:
            reason = form_fault(place, value)
        except Exception as error:  # noqa: BLE001 - one entry must not stop the others
            self.failed(place, error, stored=stored)
            return True
        if not reason and not self._fits(len(value), stored=stored):
            reason, place = "full", BUCKET
        if reason:
            self._ignore(reason, place, ConfigurationError(f"{place}: {_WHY[reason]}"), stored)
            return reason != "full"
        self._arrived.append((place, value, stored))
        self._came += len(value)
        self._events_came += not stored
        return True

    def _fits(self, size: int, *, stored: bool) -> bool:
        left = self._left
        if not stored:
            left -= self._for_events
            if self._events_came - self._events_went >= _MOST_EVENTS:
                return False
        return left >= size and self.pending < self._most

    def index(self, place: Place, value: bytes, *, stored: bool) -> None:
        """Note what an entry without a `form_fault` states, for the verification."""
        digest = hashlib.sha256(value).digest()
        if digest == self._digests.get(place):
            if stored:
                self.alarms.pop(place, None)
            self._events_went += not stored
            return
        at = place, stored
        entry = PublishedEntry(place, value, digest, stored=stored)
        self._forget(at, self._pending.get(at))
        self._pending[at] = entry  # in the turn of the last one
        self._room -= entry.size
        for hint in entry.hints:
            self._hinted.setdefault(hint, {})[at] = None

    def _forget(self, at: tuple[Place, bool], entry: PublishedEntry | None) -> None:
        if entry is not None:
            self._room += entry.size
            self._events_went += not entry.stored
            for hint in entry.hints:
                places = self._hinted[hint]
                del places[at]
                if not places:
                    del self._hinted[hint]

    def _ignore(self, reason: str, place: Place, error: XKeyMsgError, stored: bool) -> None:
        """Count something that is ignored, and remember it while the bucket has it."""
        self.ignored[reason if stored else "event"] += 1
        if stored:
            self.alarm(place, error)

    def failed(self, place: Place, error: Exception, *, stored: bool) -> None:
        """Note that an entry cannot be processed because of an unforeseen error."""
        self._ignore("error", place, fault_of(place, error), stored)

    def alarm(self, place: Place, error: XKeyMsgError) -> None:
        """Remember what is wrong with an entry, or with the bucket."""
        self._digests.pop(place, None)
        if place in self.alarms or len(self.alarms) < _MOST_ALARMS:
            self.alarms[place] = error

    # --- verifying --------------------------------------------------------------------------------

    def steps(self) -> Iterator[Verified | None]:
        """Index and verify what is pending; None after each step without a result.

        Accounts come first, once in each call: a flood of their entries delays users, no more. When
        the index takes too much memory, entries are verified before others are indexed.
        """
        while self._arrived and self._left >= 0:
            place, value, stored = self._arrived.popleft()
            self._went += len(value)
            try:
                self.index(place, value, stored=stored)
            except Exception as error:  # noqa: BLE001 - one entry must not stop the others
                self._events_went += not stored
                self.failed(place, error, stored=stored)
            yield None
        for account in self._aliases:
            yield from self.at(Place(account, ""))
        while self._pending:
            yield from self._verify(next(iter(self._pending)))

    def at(self, place: Place) -> Iterator[Verified | None]:
        """Verify the entry of a place."""
        for stored in (True, False):
            yield from self._verify((place, stored))

    def is_waiting(self, place: Place) -> bool:
        """Return whether the entry of a place is not verified yet."""
        return (place, True) in self._pending or (place, False) in self._pending

    def states(self, hint: str, most: int) -> int:
        """Return how many lines of entries that state a name, permission or xkey are unverified.

        The number is exact up to `most`.
        """
        found = tuple(self._hinted.get(hint, ()))[: most + 1]
        return sum(len(entry.lines) for at in found if (entry := self._pending.get(at)))

    def hinted(self, hint: str) -> Iterator[Verified | None]:
        """Verify every entry that states a name, permission or xkey."""
        for at in tuple(self._hinted.get(hint, ())):
            yield from self._verify(at)

    def _verify(self, at: tuple[Place, bool]) -> Iterator[Verified | None]:
        entry = self._pending.get(at)
        while entry is not None:
            if not entry.step():
                yield None
                entry = self._pending.get(at)  # another one may have come
                continue
            del self._pending[at]
            self._forget(at, entry)
            if entry.stored:
                self.alarms.pop(entry.place, None)
            for fault in entry.faults:
                reason = (
                    "bearer" if isinstance(fault, ConfigurationError) else fault.code or "error"
                )
                self._ignore(reason, entry.place, fault, entry.stored)
            yield entry.result
            return

    # --- verified ---------------------------------------------------------------------------------

    def add(
        self, found: Verified, issuers: Iterable[str], has_begun: Callable[[Claims], bool]
    ) -> bool:
        """Add verified claims; return whether there are new ones.

        Per issuer, the newest that counts now remains, and what will count later. Of issuers that
        may not issue now, only what the bucket has remains, as the JWT that lists the issuer may
        not have been read yet.

        Args:
            found: The claims.
            issuers: The keys that may issue claims about this place now.
            has_begun: Whether a claim is not from the future.
        """
        place, allowed = found.place, frozenset(issuers)
        if not place.user:
            if found.stored:
                self._note(found)
                self.shown[place.account] = max(
                    (
                        each.claims.issued
                        for each in found.accounts
                        if each.claims.issuer in allowed and has_begun(each.claims)
                    ),
                    default=0,
                )
            accounts = self.accounts.get(place.account, ())
            kept = _newest(accounts, found.accounts, allowed, has_begun, stored=found.stored)
            self.accounts[place.account] = kept
            return bool(kept != accounts)
        users = self.users.setdefault(place.account, {})
        before = users.get(place.user, ()), self.certificates.get(place, ())
        texts = _newest(before[0], found.users, allowed, has_begun, stored=found.stored)
        after = texts, _merged(before[1], found.certificates)
        # Anyone can make a user, and send its claims in events.
        if not any(after if found.stored else texts):
            return False
        if place not in self.certificates and not self._make_room():
            return False
        users[place.user], self.certificates[place] = after
        self._note(found)
        return before != after

    def _note(self, found: Verified) -> None:
        if found.stored and found.place not in self.alarms:
            self._digests[found.place] = found.digest

    def judged(self, place: Place, *, admitted: bool) -> None:
        """Note whether a user is valid: others make room when the table is full."""
        self._unadmitted_size -= self._unadmitted.pop(place, 0)
        if not admitted and place in self.certificates:
            texts = self.users[place.account][place.user]
            size = sum(len(each.claims.text) for each in texts)
            size += _CERTIFICATE_SIZE * len(self.certificates[place])
            self._unadmitted[place] = size
            self._unadmitted_size += size
            while self._unadmitted_size > self._size:
                self._drop(next(iter(self._unadmitted)))

    def take_dropped(self) -> tuple[Place, ...]:
        """Return the users that have made room since the last call."""
        dropped, self._dropped = tuple(self._dropped), []
        return dropped

    def _make_room(self) -> bool:
        if len(self.certificates) >= self._most:
            if not self._unadmitted:
                why = f"{BUCKET}: over {self._most} valid users: revoke some, or use more accounts"
                self._ignore("full", BUCKET, ConfigurationError(why), True)
                return False
            self._drop(next(iter(self._unadmitted)))
        return True

    def _drop(self, place: Place) -> None:
        self._unadmitted_size -= self._unadmitted.pop(place)
        del self.certificates[place], self.users[place.account][place.user]
        self._digests.pop(place, None)
        self._dropped.append(place)

    # --- users that are needed before everything is read ------------------------------------------

    def want(self, user: str) -> None:
        """Ask for the entry of a user."""
        if user not in self.fetched and len(self.fetched) + len(self._wanted) < _MOST_WANTED:
            self._wanted[user] = None

    def take_wanted(self) -> tuple[str, ...]:
        """Return the users that were asked for since the last call."""
        wanted, self._wanted = tuple(self._wanted), {}
        return wanted

    def compare(self, sender: str, revision: int) -> None:
        """Note the revision that a message states."""
        if revision >= self.known_before:
            self.behind.pop(sender, None)
        elif sender in self.behind or len(self.behind) < _MOST_WANTED:
            self.behind[sender] = revision

    def __repr__(self) -> str:
        return f"<Published {len(self.certificates)} entries, {len(self._pending)} unverified>"


def name_hint(account: str, name: str) -> str:
    """Return the hint of a name: without its role, which the issuer decides."""
    return f"{account}/{fold_name(name.rpartition(':')[2])}"


def _newest(
    old: Any,
    new: Any,
    allowed: frozenset[str],
    has_begun: Callable[[Claims], bool],
    *,
    stored: bool,
) -> Any:
    """Return what remains of the claims about one place; see `Published.add`."""
    texts = {each.claims.text: each for each in (*old, *new)}
    last: dict[str, int] = {}
    for claims in (each.claims for each in texts.values()):
        if has_begun(claims):
            last[claims.issuer] = max(claims.issued, last.get(claims.issuer, 0))
    counts: Counter[str] = Counter()
    kept = []
    for text, each in texts.items():
        issuer = each.claims.issuer
        is_newest = issuer in allowed and each.claims.issued >= last.get(issuer, 0)
        counts[issuer] += is_newest
        # Nine of one time are a conflict as much as ninety are.
        if (is_newest and counts[issuer] <= 9) or (
            stored and any(text == one.claims.text for one in new)
        ):
            kept.append(each)
    return tuple(kept)


def _merged(old: tuple[Certificate, ...], new: tuple[Certificate, ...]) -> tuple[Certificate, ...]:
    """Return the newest certificates of both."""
    if all(each in old for each in new):
        return old
    every = {}
    for each in (*old, *new):
        claims = each.claims
        every[claims.not_before, claims.issued, claims.expires, claims.subject] = each
    return tuple(every[each] for each in sorted(every)[-MOST_CERTIFICATES:])
