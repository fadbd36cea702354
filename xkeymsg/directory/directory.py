"""`Directory`: keeps a `Trust` up to date from the bucket, and publishes the own entry."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from xkeymsg.ambient import monotonic
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.tasks import Background
from xkeymsg.client.threads import in_thread
from xkeymsg.directory.bucket import check_bucket
from xkeymsg.directory.events import DirectoryEvents
from xkeymsg.directory.own_claims import OwnClaims
from xkeymsg.directory.reader import BucketEntry, BucketReader
from xkeymsg.directory.report import DirectoryReport
from xkeymsg.directory.settings import STREAM
from xkeymsg.directory.tasks import DirectoryTasks, jittered
from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, DeliveryError, TransportError, XKeyMsgError
from xkeymsg.keys import XKey
from xkeymsg.transport.link import Link
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.published_entries import BUCKET
from xkeymsg.trust.stores.published_entry import Place

__all__ = ("AGAIN", "EVERY", "FULL", "Directory")

_SLICE: Final = 0.003
"""Seconds of verification in a row; the last step ends within 0.005 s."""
EVERY: Final = 30.0
"""Seconds between two questions for the last sequence."""
AGAIN: Final = 5.0
"""Seconds between two reloads because of a gap, a reconnect or a failure."""
FULL: Final = 3600.0
"""Seconds between two loads of everything: a bucket that was made again may have grown past what
was read before anybody looked.
"""
_ACCOUNTS: Final = 10.0
"""Seconds for which `connect` waits for account JWTs of bucket and server, whatever `wait` is."""
_TICK: Final = 0.25
_SOON: Final = 0.05


class Directory(SafeRepr):
    """Keeps a `Trust` up to date from the bucket `XKEYS`, over one client's connection at a time.

        trust = Trust.load("HOSPITAL", anchor="O…", creds="alice.creds")
        directory = Directory(trust)
        async with connect(url, key=alice, trust=trust, directory=directory, creds=…) as client:
            await directory.publish(jwt, certificates)

    Bucket and broker are not trusted: they can withhold entries and delay them, and neither forge
    nor remove any. Until everything has been read, names are not resolved: `NotLoadedError`.

    Args:
        trust: The trust of the same client.
        wait: Seconds for which `connect` waits until everything has been read. After that, it goes
            on, and names cannot be resolved yet. Account JWTs are awaited for up to 10 seconds
            in any case: they say which senders are revoked.
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
        self._loaded, self._accounts_read = asyncio.Event(), asyncio.Event()
        self._work = asyncio.Event()
        self._due = asyncio.Event()
        self._heard = monotonic()
        self._is_checked = False
        self._revisions: deque[tuple[float, int]] = deque(maxlen=64)
        self._tasks = DirectoryTasks()
        self._own = OwnClaims(trust, self._published, self._tasks)
        self._api: API | None = None

    # --- for applications -------------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether everything in the bucket has been read, and the account JWTs are verified."""
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
            why = self._tasks.why("read") or "wait longer, or see `xkeymsg directory verify`"
            raise DeliveryError(f"the directory is not read within {timeout:g} s: {why}") from None

    async def publish(
        self,
        jwt: str,
        certificates: Iterable[str],
        *,
        without: Collection[XKey] = (),
        held: Collection[XKey] = (),
    ) -> int:
        """Publish the own entry, read it back, and repair it from now on.

        What the entry has already stays, as far as it is valid: another replica may have written
        it. Call it again when a claim is new.

        Args:
            jwt: The own user JWT.
            certificates: The certificates of the own xkeys.
            without: Xkeys whose certificates leave the entry, because their secret is deleted.
            held: Own xkeys whose certificates are repaired, too, once they were in the entry.

        Returns:
            The sequence of the entry; 0 if `held` is given, and there is nothing to repair.

        Raises:
            ConfigurationError: If the JWT is a bearer JWT, or the bucket is not safe.
            ConflictError: If another JWT in the entry has the same `iat`: issue it again.
            DeliveryError: If there is no connection; or the server refuses or does not answer.
            TrustError: If a claim is malformed.
        """
        return await self._own.publish(self._api, jwt, certificates, without, held)

    @property
    def may_publish(self) -> bool:
        """Whether the own user is known, and may write its entry."""
        return self._own.may_publish

    async def publish_account(self) -> int:
        """Publish the newest known JWT of the own account, and return the entry's sequence.

        Raises:
            DeliveryError: If there is no connection; or the server refuses or does not answer.
        """
        return await self._own.publish_account(self._api)

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
            failed=tuple(sorted(self._tasks.failed)),
        )

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
            ConfigurationError: If the bucket is not safe, or another connection is followed.
            XKeyMsgError: If the connection is closed.
        """
        if self._api is not None:
            raise ConfigurationError("the directory is in use: each connection needs its own")
        api = self._api = API(link)
        self._tasks.tell = tell
        self._begin()
        reader = BucketReader(api, frozenset(self.trust.accounts.values()))
        background = Background()
        try:
            events = DirectoryEvents(link, self._published, self._work, self._due)
            await events.subscribe()
            await self._check_bucket()
            for what, work in {
                "events": lambda: events.follow(lambda: jittered(AGAIN)),
                "verify": self._verify,
                "watch": lambda: self._watch(link),
                "read": lambda: self._read(reader),
                "account": lambda: self._own.ask_server(link, api),
                "repair": lambda: self._own.repair(api),
                "fetch": lambda: self._fetch(reader),
            }.items():
                background.spawn(self._tasks.keep(what, work))
            begun = monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(_ACCOUNTS):
                    await self._accounts_read.wait()
            with suppress(DeliveryError):
                await self.loaded(max(0.0, begun + self._wait - monotonic()))
            yield
        finally:
            await background.close()
            self._api = None

    def _begin(self) -> None:
        """Forget what another connection has read: claims may have been revoked since."""
        self._published.loaded = False
        self._published.fetched.clear()
        for each in (self._loaded, self._accounts_read, self._own.asked):
            each.clear()
        self._heard = monotonic()

    async def _check_bucket(self) -> None:
        """Check the bucket if that is permitted: in another account, it is not."""
        if self._api is not None and self._own.may(f"{self._api_prefix}.STREAM.INFO.{STREAM}"):
            with suppress(TransportError):
                await check_bucket(self._api)
                self._is_checked = True

    @property
    def _api_prefix(self) -> str:
        return "" if self._api is None else self._api.prefix

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
        full, loaded = True, 0.0
        while True:
            begun, failed = monotonic(), False
            full = full or begun >= loaded + jittered(FULL)
            self._due.clear()
            try:
                if full:
                    await self._load(reader)
                    loaded = begun
                full = not full and await self._catch_up(reader)
                self._tasks.problem("read")
            except TransportError as error:
                failed = True
                self._tasks.problem("read", error)
            except ConfigurationError as error:
                self._published.alarms[BUCKET] = error
                self._tasks.problem("read", error)
            self._note_revision()
            wait = jittered(AGAIN if failed or full else EVERY)
            with suppress(TimeoutError):
                async with asyncio.timeout(begun + wait - monotonic()):
                    await self._due.wait()
            await asyncio.sleep(min(wait, begun + jittered(AGAIN) - monotonic()))

    async def _load(self, reader: BucketReader) -> None:
        """Read everything."""
        published = self._published
        await self._check_bucket()
        last, is_all = 0, False
        if self._own.may(f"{self._api_prefix}.CONSUMER.CREATE.{STREAM}"):
            with suppress(DeliveryError):  # another account has Direct Get only
                last, is_all = await reader.consume(self._take, lambda: published.has_room)
        if not is_all:
            last = await reader.pages(last + 1, self._take)
        await _until(lambda: published.is_indexed)
        await self._own.asked.wait()
        await in_thread(self._take_accounts)  # what is revoked there must not be resolved
        published.revision = last
        published.alarms.pop(BUCKET, None)
        published.loaded = True
        self._heard = monotonic()
        if not self._loaded.is_set():
            self._loaded.set()
            self._own.again.set()  # the bucket may lack what the server has shown

    def _take_accounts(self) -> None:
        self._lookup.take_accounts()
        self.trust.take_news()

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
        """Read the account JWTs, and entries that are needed before everything has been read."""
        published = self._published
        try:
            await self._read_now(reader, "")
        except TransportError as error:
            self._tasks.problem("read", error)
        await self._own.asked.wait()
        self._accounts_read.set()
        while not published.loaded:
            for user in published.take_wanted():
                try:
                    await self._read_now(reader, "", user)  # revoked first
                    published.fetched.add(user)
                except TransportError as error:
                    self._tasks.problem("read", error)
            await asyncio.sleep(_SOON)

    async def _read_now(self, reader: BucketReader, *users: str) -> None:
        """Read and judge the entries of users in each account; "" stands for that of the account.

        Raises:
            DeliveryError: If there is no answer.
        """
        for account in self.trust.accounts.values():
            for place in (Place(account, user) for user in users):
                entry = await reader.get(place)
                if entry is not None:
                    await in_thread(partial(self._lookup.take_now, place, entry.value))
        await in_thread(self.trust.take_news)

    def look_again(self) -> None:
        """Ask the bucket and the server now, instead of within half a minute."""
        self._due.set()
        self._own.again.set()

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
                self.look_again()
            error, failed = None, self._tasks.failed
            if monotonic() - self._heard > bound:
                error = DeliveryError(f"the directory has not answered for {bound:g} s or more")
            why = str(error or (failed and "a task of the directory has failed") or "")
            self.trust.close_resolving(why if self._fail_closed else "")
            self._tasks.problem("stale", error)
            await asyncio.sleep(_TICK)

    def __repr__(self) -> str:
        state = "loaded" if self.is_loaded else "not loaded"
        return f"<Directory {state}, revision {self._published.revision}>"


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another thread makes it true
        await asyncio.sleep(_SLICE)
