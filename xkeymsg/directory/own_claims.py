"""The claims that a directory publishes for its owner: the account's JWT, and the own entry."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

from xkeymsg.ambient import monotonic
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.threads import in_thread
from xkeymsg.directory.entries import OwnEntry
from xkeymsg.directory.publisher import EntryPublisher
from xkeymsg.directory.reader import BucketReader
from xkeymsg.directory.report import account_in
from xkeymsg.directory.settings import subject_of
from xkeymsg.directory.tasks import DirectoryTasks, jittered
from xkeymsg.errors import ConfigurationError, DeliveryError, XKeyMsgError
from xkeymsg.keys import XKey
from xkeymsg.transport.link import Link
from xkeymsg.trust.chain import account_issuers
from xkeymsg.trust.identity import Identity
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.published_entries import Published
from xkeymsg.trust.stores.published_entry import Place
from xkeymsg.trust.stores.signers import own_authority

__all__ = ("EVERY", "REPAIR", "OwnClaims")

EVERY: Final = 30.0
"""Seconds between two questions for the own account's JWT."""
REPAIR: Final = 60.0
"""Seconds between two looks at the own entry."""
_TICK: Final = 0.25


class OwnClaims:
    """Publishes and repairs the own entry, and shows the account JWT of the server.

    Args:
        trust: What is known.
        published: What the bucket has shown.
        tasks: Reports problems.
    """

    def __init__(self, trust: Trust, published: Published, tasks: DirectoryTasks) -> None:
        self._trust, self._published, self._tasks = trust, published, tasks
        self._own: OwnEntry | None = None
        self._repaired = 0.0
        self.again = asyncio.Event()
        """Set to ask the server now."""
        self.asked = asyncio.Event()
        """Set once the server has answered, has not answered in time, or may not be asked."""

    async def publish(
        self,
        api: API | None,
        jwt: str,
        certificates: Iterable[str],
        without: Collection[XKey],
        held: Collection[XKey],
    ) -> int:
        """Publish the own entry, and repair it from now on; see `Directory.publish`."""
        own = OwnEntry(jwt, certificates, without=without, held=held)
        sequence = await self._publisher(api).publish(own, self._issuers(own.place))
        self._own, self._repaired = own, monotonic()
        return sequence

    async def publish_account(self, api: API | None) -> int:
        """Publish the newest known JWT of the own account; see `Directory.publish_account`."""
        authority = own_authority(self._trust.members)
        text = authority.accounts[0].claims.text
        signers = account_issuers(authority.policy, authority.operator)
        return await self._publisher(api).publish_account(text, signers)

    def _publisher(self, api: API | None) -> EntryPublisher:
        if api is None:
            raise DeliveryError("the directory has no connection")
        return EntryPublisher(api, BucketReader(api, frozenset(self._trust.accounts.values())))

    def _issuers(self, place: Place) -> Collection[str]:
        for known in self._trust.members.known.values():
            if known.authority.account == place.account:
                return known.authority.issuers
        return ()

    @property
    def _identity(self) -> Identity | None:
        return self._trust.members.identities.get(("", self._trust.user or ""))

    def may(self, subject: str) -> bool:
        """Return whether the own user may publish on a subject, as far as trust knows."""
        own = self._identity
        return own is None or own.may_send(subject)

    @property
    def may_publish(self) -> bool:
        """Whether the own user is known, and may write its entry."""
        own = self._identity
        return own is not None and own.may_send(subject_of(Place(own.account, own.user)))

    async def ask_server(self, link: Link, api: API) -> None:
        """Ask the server for the own account's JWT: `nsc push` tells nobody else."""
        subject = f"$SYS.REQ.ACCOUNT.{self._trust.account}.INFO"
        while True:
            try:
                if self.may(subject):
                    await self._ask(link, api, subject)
            finally:
                self.asked.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(jittered(EVERY)):
                    await self.again.wait()
            self.again.clear()

    async def _ask(self, link: Link, api: API, subject: str) -> None:
        trust = self._trust
        try:
            raw = await link.request(subject, b"", timeout=5.0)
            text = account_in(raw.data)
            await in_thread(partial(trust.take_account, text))
            if trust.has_news:
                await in_thread(trust.take_news)
            if self._published.loaded:
                await self._show_account(api)
            self._tasks.problem("account")
        except DeliveryError as error:
            why = f"the server does not show the JWT of the own account ({error}): run"
            why += " `xkeymsg trust share-directory`, or revocations come by the directory only"
            self._tasks.problem("account", DeliveryError(why))
        except XKeyMsgError as error:
            self._tasks.problem("account", error)

    async def _show_account(self, api: API) -> None:
        """Publish the own account's JWT if the bucket lacks it, with the right to."""
        account, published = self._trust.account, self._published
        ours = own_authority(self._trust.members).accounts[0].claims
        shown = published.shown.get(account, 0)
        if published.is_waiting(Place(account, "")) or ours.issued <= shown:
            return
        if self._trust.user and self.may(subject_of(Place(account, ""))):
            await self.publish_account(api)
        else:
            raise ConfigurationError(
                "the directory lacks the newest JWT of the own account: run `xkeymsg trust push`"
                " or `xkeymsg directory publish --all`"
            )

    async def repair(self, api: API) -> None:
        """Publish the own entry again if anything of it is missing."""
        while True:
            await asyncio.sleep(_TICK)
            own = self._own
            if own is None or monotonic() < self._repaired + REPAIR:
                continue
            self._repaired = monotonic() + jittered(1)
            try:
                await self._publisher(api).publish(own, self._issuers(own.place), attempts=2)
                self._tasks.problem("own entry")
            except XKeyMsgError as error:
                self._tasks.problem("own entry", error)
