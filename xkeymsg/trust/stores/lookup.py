"""Answers of a directory that is still being read and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from threading import RLock
from typing import Final

from xkeymsg.ambient import monotonic
from xkeymsg.envelope.admission import Admission
from xkeymsg.errors import NotLoadedError, SenderRevokedError
from xkeymsg.keys import XKey
from xkeymsg.nkey import is_public
from xkeymsg.trust.resolver import PERMISSION
from xkeymsg.trust.stores.published_entries import Published, name_hint
from xkeymsg.trust.stores.published_entry import Place, Verified, form_fault

__all__ = ("Lookup",)

_MOST_AT_ONCE: Final = 512
"""Claims that are verified before one question is answered: 0.1 ms each."""
_NOT_READ: Final = "the directory is not read yet: try again in a moment"


class Lookup:
    """Verifies what is asked for first, and the rest in slices.

    Args:
        published: The entries.
        accounts: The public keys of accounts, by alias.
        pins: Names that stand for one user key.
        lock: Held while anything is verified.
        take: Called with the claims of each verified entry, under the lock.
    """

    def __init__(
        self,
        published: Published,
        accounts: Mapping[str, str],
        pins: Mapping[str, str],
        lock: RLock,
        take: Callable[[Verified], None],
    ) -> None:
        self._published = published
        self._accounts, self._pins = accounts, pins
        self.lock = lock
        """Another one in a forked child: a thread of the parent may hold it."""
        self._take = take

    def verify(self, seconds: float) -> None:
        """Verify entries for a time; not at all while another thread does."""
        if self.lock.acquire(blocking=False):
            try:
                self._run(self._published.steps(), monotonic() + seconds)
            finally:
                self.lock.release()

    def ask(self, name: str) -> None:
        """Verify whatever a name may stand for.

        Before everything is read, only a key can be asked for: a second holder may still come.

        Raises:
            NotLoadedError: If it cannot be answered yet.
        """
        published = self._published
        if published.closed:
            raise NotLoadedError(published.closed)
        is_permission = name.startswith(PERMISSION)
        alias, _, own = ("", "", name) if is_permission else name.rpartition("/")
        user = self._pins.get(name, own)
        if is_public(user):
            if not published.loaded and user not in published.fetched:
                published.want(user)
                raise NotLoadedError(_NOT_READ)
            for place in (Place(account, user) for account in self._accounts.values()):
                if published.is_waiting(place):
                    with self.lock:
                        self._run(published.at(place))
        elif not published.loaded:
            raise NotLoadedError(_NOT_READ)
        elif account := self._accounts.get(alias, ""):
            self._look_up(f"{account} {name}" if is_permission else name_hint(account, own))

    def admit(self, judge: Callable[[], Admission | None], sender: XKey) -> Admission | None:
        """Return the verdict on a sender.

        Args:
            judge: Returns the present verdict.
            sender: Its key.

        Raises:
            SenderRevokedError: If its key or user is revoked.
            NotLoadedError: If it is not admitted, and the directory is not read yet.
        """
        with suppress(SenderRevokedError):
            if (found := judge()) is not None:
                return found
        self._look_up(str(sender))
        if self._published.loaded:
            return judge()
        with suppress(SenderRevokedError):
            if (found := judge()) is not None:
                return found
        raise NotLoadedError(f"unknown sender, and {_NOT_READ}")

    def take_accounts(self) -> None:
        """Verify the account JWTs at once: they decide about everybody."""
        with self.lock:
            for account in self._accounts.values():
                self._run(self._published.at(Place(account, "")))

    def take_now(self, place: Place, value: bytes) -> None:
        """Verify an entry at once; ignore one that is empty or beyond the limits."""
        if form_fault(place, value):
            return
        with self.lock:
            self._published.index(place, value, stored=True)
            self._run(self._published.at(place))

    def _look_up(self, hint: str) -> None:
        """Verify the entries that state a name, permission or xkey."""
        count = self._published.states(hint, _MOST_AT_ONCE)
        if count > _MOST_AT_ONCE:
            raise NotLoadedError("the directory is being verified: try again in a moment")
        if count:
            with self.lock:
                self._run(self._published.hinted(hint))

    def _run(self, steps: Iterator[Verified | None], end: float = float("inf")) -> None:
        for found in steps:
            if found is not None:
                try:
                    self._take(found)
                except Exception as error:  # noqa: BLE001 - one entry must not stop the others
                    self._published.failed(found.place, error, stored=found.stored)
            if monotonic() >= end:
                break
