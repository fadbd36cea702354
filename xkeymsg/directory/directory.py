"""`Directory`: keeps a `Trust` up to date from the bucket, and publishes the own entry."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from xkeymsg.ambient import monotonic, random_bytes
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.tasks import Background
from xkeymsg.client.threads import in_thread
from xkeymsg.directory.bucket import check_bucket
from xkeymsg.directory.entries import OwnEntry
from xkeymsg.directory.events import DirectoryEvents
from xkeymsg.directory.publisher import EntryPublisher
from xkeymsg.directory.reader import BucketEntry, BucketReader
from xkeymsg.directory.report import DirectoryReport, account_in
from xkeymsg.directory.settings import STREAM, subject_of
from xkeymsg.errors import ConfigurationError, DeliveryError, TransportError, XKeyMsgError
from xkeymsg.keys import XKey
from xkeymsg.shown import SafeRepr
from xkeymsg.transport.link import Link
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.published import BUCKET
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("AGAIN", "EVERY", "REPAIR", "Directory")

_SLICE: Final = 0.005
"""Seconds of verification in a row."""
EVERY: Final = 30.0
"""Seconds between two questions for the last sequence and for the own account's JWT."""
AGAIN: Final = 5.0
"""Seconds between two reloads because of a gap, a reconnect or a failure."""
REPAIR: Final = 60.0
"""Seconds between two looks at the own entry."""
_TICK: Final = 0.25
_SOON: Final = 0.05


class Directory(SafeRepr):
    """Keeps a `Trust` up to date from the bucket `XKEYS`, over the connection of a client.

        trust = Trust.load("HOSPITAL", anchor="O…", creds="alice.creds")
        directory = Directory(trust)
        async with connect(url, key=alice, trust=trust, directory=directory, creds=…) as client:
            await directory.publish(jwt, certificates)

    Bucket and broker are not trusted: they can withhold entries and delay them, and neither forge
    nor remove any. Until everything has been read, names are not resolved: `NotLoadedError`.

    Args:
        trust: The trust of the same client.
        wait: Seconds for which `connect` waits until everything has been read. After that, it goes
            on, and names cannot be resolved yet.
        stale_after: Seconds without an answer of the bucket after which an error is reported.
        fail_closed: Whether nothing is resolved then, either.

    Raises:
        ConfigurationError: If a duration is invalid.
    """

    def __init__(
        self,
        trust: Trust,
        *,
        wait: float = 10.0,
        stale_after: float = 600.0,
        fail_closed: bool = False,
    ) -> None:
        if not (wait >= 0 and stale_after >= EVERY):
            raise ConfigurationError(f"wait must not be negative, stale_after at least {EVERY:g}")
        self.trust = trust
        self._wait, self._stale_after, self._fail_closed = wait, stale_after, fail_closed
        self._published, self._lookup = trust.attach()
        self._loaded = asyncio.Event()
        self._work = asyncio.Event()
        self._due, self._again = asyncio.Event(), asyncio.Event()
        self._heard = monotonic()
        self._is_checked = False
        self._revisions: deque[tuple[float, int]] = deque(maxlen=64)
        self._own: OwnEntry | None = None
        self._repaired = 0.0
        self._told: dict[str, str] = {}
        self._tell: Callable[[XKeyMsgError], None] = lambda _: None
        self._link: Link | None = None
        self._api: API | None = None

    # --- for applications -------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether everything in the bucket has been read."""
        return self._loaded.is_set()

    async def loaded(self, timeout: float) -> None:
        """Wait until everything in the bucket has been read.

        Raises:
            DeliveryError: If it takes longer than `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._loaded.wait()
        except TimeoutError:
            why = self._told.get("read") or "wait longer, or see `xkeymsg directory verify`"
            raise DeliveryError(f"the directory is not read within {timeout:g} s: {why}") from None

    async def publish(
        self, jwt: str, certificates: Iterable[str], *, without: Collection[XKey] = ()
    ) -> int:
        """Publish the own entry, read it back, and repair it from now on.

        What the entry has already stays, as far as it is valid: another replica may have written
        it. Call it again when a claim is new.

        Args:
            jwt: The own user JWT.
            certificates: The certificates of the own xkeys.
            without: Xkeys whose certificates leave the entry, because their secret is deleted.

        Returns:
            The sequence of the entry.

        Raises:
            ConfigurationError: If the JWT is a bearer JWT, or the bucket is not safe.
            ConflictError: If another JWT in the entry has the same `iat`: issue it again.
            DeliveryError: If there is no connection; or the server refuses or does not answer.
            TrustError: If a claim is malformed.
        """
        own = OwnEntry(jwt, certificates, without=without)
        sequence = await self._publisher().publish(own, self._issuers(own.place))
        self._own, self._repaired = own, monotonic()
        return sequence

    async def publish_account(self) -> int:
        """Publish the newest known JWT of the own account, and return the entry's sequence.

        Raises:
            DeliveryError: If there is no connection; or the server refuses or does not answer.
        """
        authority = self.trust.members.known[""].authority
        text, signers = authority.accounts[0].claims.text, authority.operator.signers
        return await self._publisher().publish_account(text, signers)

    def report(self) -> DirectoryReport:
        """Return figures for monitoring."""
        published = self._published
        return DirectoryReport(
            loaded=self.is_loaded,
            entries=len(published.certificates),
            unverified=published.pending,
            revision=published.revision,
            silent=monotonic() - self._heard,
            ignored=Counter(published.ignored),
            behind=len(published.behind),
            alarms=tuple(published.alarms.values()),
            is_checked=self._is_checked,
        )

    def _publisher(self) -> EntryPublisher:
        if self._api is None:
            raise DeliveryError("the directory has no connection")
        return EntryPublisher(self._api, self._reader(self._api))

    def _reader(self, api: API) -> BucketReader:
        return BucketReader(api, frozenset(self.trust.accounts.values()))

    def _issuers(self, place: Place) -> Collection[str]:
        for known in self.trust.members.known.values():
            if known.authority.account == place.account:
                return known.authority.issuers
        return ()

    # --- following --------------------------------------------------------------------------------

    @asynccontextmanager
    async def following(
        self, link: Link, tell: Callable[[XKeyMsgError], None]
    ) -> AsyncIterator[None]:
        """Follow the bucket for the duration of a block; `connect` does it.

        Args:
            link: The connection.
            tell: Called with each new problem.

        Raises:
            ConfigurationError: If the bucket is not safe.
            XKeyMsgError: If the connection is closed.
        """
        self._link, self._api, self._tell = link, API(link), tell
        background = Background()
        try:
            events = DirectoryEvents(link, self._published, self._work, self._due)
            subscription = await events.subscribe()
            await self._check_bucket()
            for task in (
                events.follow(subscription, lambda: _jittered(AGAIN)),
                self._verify(),
                self._watch(link),
                self._read(self._reader(self._api)),
                self._ask_server(),
                self._repair(),
                self._fetch(self._reader(self._api)),
            ):
                background.spawn(task)
            with suppress(DeliveryError):
                await self.loaded(self._wait)
            yield
        finally:
            await background.close()
            self._link = self._api = None

    async def _check_bucket(self) -> None:
        """Check the bucket if that is permitted: in another account, it is not."""
        if self._api is not None and self._may(f"{self._api_prefix}.STREAM.INFO.{STREAM}"):
            with suppress(TransportError):
                await check_bucket(self._api)
                self._is_checked = True

    @property
    def _api_prefix(self) -> str:
        return "" if self._api is None else self._api.prefix

    def _may(self, subject: str) -> bool:
        """Return whether the own user may publish on a subject, as far as trust knows."""
        own = self.trust.members.identities.get(("", self.trust.user or ""))
        return own is None or own.may_send(subject)

    async def _verify(self) -> None:
        """Verify in slices, so that the loop does everything else in between."""
        published = self._published
        while True:
            self._work.clear()
            while published.pending:
                self._lookup.verify(_SLICE)
                if self.trust.has_news:
                    await in_thread(self.trust.take_news)
                await asyncio.sleep(_SLICE if published.loaded else 0)
            await self._work.wait()

    async def _read(self, reader: BucketReader) -> None:
        """Read everything; then ask for the last sequence, and read what is missing."""
        full = True
        while True:
            begun, failed = monotonic(), False
            self._due.clear()
            try:
                if full:
                    await self._load(reader)
                full = not full and await self._catch_up(reader)
                self._problem("read")
            except TransportError as error:
                failed = True
                self._problem("read", error)
            except ConfigurationError as error:
                self._published.alarms[BUCKET] = error
                self._problem("read", error)
            self._note_revision()
            wait = _jittered(AGAIN if failed or full else EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(begun + wait - monotonic()):
                    await self._due.wait()
            await asyncio.sleep(min(wait, begun + _jittered(AGAIN) - monotonic()))

    async def _load(self, reader: BucketReader) -> None:
        """Read everything."""
        published = self._published
        await self._check_bucket()
        last, is_all = 0, False
        if self._may(f"{self._api_prefix}.CONSUMER.CREATE.{STREAM}"):
            with suppress(DeliveryError):  # another account has Direct Get only
                last, is_all = await reader.consume(self._take, lambda: published.has_room)
        if not is_all:
            last = await reader.pages(last + 1, self._take)
        await _until(lambda: published.is_indexed)
        published.revision = last
        published.alarms.pop(BUCKET, None)
        published.loaded = True
        self._heard = monotonic()
        self._loaded.set()

    async def _catch_up(self, reader: BucketReader) -> bool:
        """Read what is new; return whether the bucket counts from 1 again."""
        published = self._published
        last = await reader.last()
        self._heard = monotonic()
        if last < published.revision:
            return True
        if last > published.revision:
            published.revision = await reader.pages(published.revision + 1, self._take)
        return False

    def _take(self, entry: BucketEntry) -> Coroutine[Any, Any, None] | None:
        if not self._published.has_room:
            return self._put_later(entry)
        self._put(entry)
        return None

    async def _put_later(self, entry: BucketEntry) -> None:
        await _until(lambda: self._published.has_room)
        self._put(entry)

    def _put(self, entry: BucketEntry) -> None:
        self._published.put(entry.place, entry.value, stored=True)
        self._work.set()

    async def _fetch(self, reader: BucketReader) -> None:
        """Read the entries of users that are needed before everything has been read."""
        published = self._published
        while not published.loaded:
            for user in published.take_wanted():
                try:
                    for account in self.trust.accounts.values():
                        for place in (Place(account, ""), Place(account, user)):  # revoked first
                            entry = await reader.get(place)
                            if entry is not None:
                                take = partial(self._lookup.take_now, place, entry.value)
                                await in_thread(take)
                    await in_thread(self.trust.take_news)
                    published.fetched.add(user)
                except TransportError as error:
                    self._problem("read", error)
            await asyncio.sleep(_SOON)

    # --- accounts and the own entry ---------------------------------------------------------------

    def look_again(self) -> None:
        """Ask the bucket and the server now, instead of within half a minute."""
        self._due.set()
        self._again.set()

    async def _ask_server(self) -> None:
        """Ask the server for the own account's JWT: `nsc push` tells nobody else."""
        subject = f"$SYS.REQ.ACCOUNT.{self.trust.account}.INFO"
        link = self._link
        assert link is not None  # noqa: S101 - set by `following`
        while self._may(subject):
            try:
                raw = await link.request(subject, b"", timeout=5.0)
                text = account_in(raw.data)
                await in_thread(partial(self.trust.take_account, text))
                if self.trust.has_news:
                    await in_thread(self.trust.take_news)
                if self.is_loaded:
                    await self._show_account()
                self._problem("account")
            except DeliveryError as error:
                why = f"the server does not show the JWT of the own account ({error}): run"
                why += " `xkeymsg trust share-directory`, or revocations come by the directory only"
                self._problem("account", DeliveryError(why))
            except XKeyMsgError as error:
                self._problem("account", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_jittered(EVERY)):
                    await self._again.wait()
            self._again.clear()

    async def _show_account(self) -> None:
        """Publish the own account's JWT if the bucket lacks it, with the right to."""
        account, published = self.trust.account, self._published
        ours = self.trust.members.known[""].authority.accounts[0].claims
        shown = published.shown.get(account, 0)
        if published.is_waiting(Place(account, "")) or ours.issued <= shown:
            return
        if self.trust.user and self._may(subject_of(Place(account, ""))):
            await self.publish_account()
        else:
            raise ConfigurationError(
                "the directory lacks the newest JWT of the own account; run `xkeymsg directory"
                " publish`"
            )

    async def _repair(self) -> None:
        """Publish the own entry again if anything of it is missing."""
        while True:
            await asyncio.sleep(_TICK)
            own = self._own
            if own is None or monotonic() < self._repaired + REPAIR:
                continue
            try:
                await self._publisher().publish(own, self._issuers(own.place), attempts=2)
                self._problem("own entry")
            except XKeyMsgError as error:
                self._problem("own entry", error)
            self._repaired = monotonic() + _jittered(1)

    # --- problems ---------------------------------------------------------------------------------

    def _note_revision(self) -> None:
        now = monotonic()
        self._revisions.append((now, self._published.revision))
        before = [revision for at, revision in self._revisions if at <= now - 2 * EVERY]
        self._published.known_before = before[-1] if before else 0

    async def _watch(self, link: Link) -> None:
        """Watch for reconnects and silence."""
        reconnects, bound = link.reconnects, self._stale_after
        while True:
            if link.reconnects != reconnects:
                reconnects = link.reconnects
                self._due.set()
            error = None
            if monotonic() - self._heard > bound:
                error = DeliveryError(f"the directory has not answered for {bound:g} s or more")
            self.trust.close_resolving(str(error) if error and self._fail_closed else "")
            self._problem("stale", error)
            await asyncio.sleep(_TICK)

    def _problem(self, what: str, error: XKeyMsgError | None = None) -> None:
        """Report a problem once, until it changes."""
        text = "" if error is None else str(error)
        if self._told.get(what, "") != text:
            self._told[what] = text
            if error is not None:
                self._tell(error)

    def __repr__(self) -> str:
        state = "loaded" if self.is_loaded else "not loaded"
        return f"<Directory {state}, revision {self._published.revision}>"


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another thread makes it true
        await asyncio.sleep(_SLICE)


def _jittered(seconds: float) -> float:
    return seconds * (1 + int.from_bytes(random_bytes(2), "big") / 0x40000)
