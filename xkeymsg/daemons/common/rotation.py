"""Keeps a daemon's keys as its store, their certificates and the clock say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from time import monotonic
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from xkeymsg.ambient import now_ns
from xkeymsg.client.tasks import Background
from xkeymsg.client.threads import in_thread
from xkeymsg.daemons.common.health import Health
from xkeymsg.daemons.common.identity import DaemonIdentity
from xkeymsg.daemons.common.key_section import KeySection
from xkeymsg.daemons.common.logs import Log, reason
from xkeymsg.daemons.common.reports import code_of
from xkeymsg.daemons.common.sections import NatsSection
from xkeymsg.directory.directory import Directory
from xkeymsg.directory.rotation import (
    OwnKeys,
    RotationStep,
    RotationTimes,
    certified_key,
    new_certificate,
    shown_keys,
)
from xkeymsg.errors import ConfigurationError, KeyStoreError, TrustError
from xkeymsg.key_stores.opening import list_certificates
from xkeymsg.key_stores.protocol import WritableProvider
from xkeymsg.key_stores.providers import ask, parse_store
from xkeymsg.keys import Keyring, XKey, XKeyPair
from xkeymsg.nkey import Prefix, Signer
from xkeymsg.transport.credentials import read_login
from xkeymsg.trust.chain import Authority
from xkeymsg.trust.claims import Certificate, User
from xkeymsg.trust.creds import parse_creds
from xkeymsg.trust.identity import CertifiedKey
from xkeymsg.trust.stores.signers import own_authority

__all__ = ("DaemonRotation", "Holds", "RotationMetrics", "rotation_conditions")

_HAVE_ALL: Final = "secrets"
"""The readiness condition: the secret of every key that others seal to is here."""
_LOOK: Final = 5.0
"""Seconds between two looks at the store, at most."""
_SOON: Final = 0.2
_NOTICE: Final = 0.05
_SETTLE: Final = 1.0
_AGAIN: Final = 60.0
"""Seconds between two attempts to delete a key."""
_STEPS: Final = 4
"""Changes of the store in one round."""

Holds = Callable[[int], Awaitable[str]]
"""Returns why a key is still needed that was used until a time in seconds; empty if it is not."""


def rotation_conditions(key: KeySection) -> tuple[str, ...]:
    """Return the names of the readiness conditions that `DaemonRotation` sets."""
    return () if key.rotation is None else (_HAVE_ALL,)


class _Seen(NamedTuple):
    """What the store and the files of retired keys have."""

    pairs: Mapping[XKey, XKeyPair]
    stored: frozenset[XKey]
    """The keys of the store; other pairs are of files, or of stores with retired keys."""
    certificates: Mapping[XKey, str]
    known: tuple[CertifiedKey, ...]
    """What the certificates say."""
    asked: int
    """The time for which `xkeymsg rotate --now` has asked for a newer key."""


class DaemonRotation:
    """Rotates the keys of a daemon, or follows another program that does.

    No step is remembered: each round compares the store, the directory and the clock. The daemon
    opens with every key that it holds, and seals with the newest one whose certificate the
    directory has shown.

    Args:
        key: The settings.
        nats: The login, whose user signs certificates.
        directory: The directory.
        identity: The keys in use.
        use: Called with other keys to use.
        holds: Tells what still needs a retired key.
    """

    def __init__(
        self,
        key: KeySection,
        nats: NatsSection,
        directory: Directory,
        identity: DaemonIdentity,
        *,
        log: Log,
        health: Health,
        registry: CollectorRegistry,
        use: Callable[[Keyring], None],
        holds: Holds | None = None,
    ) -> None:
        self._directory, self._identity = directory, identity
        self._nats, self._use, self._holds = nats, use, holds
        self._log, self._health = log, health
        self._is_owner = key.rotation == "self"
        self._store = key.key_store or ""
        self._published: object = None
        self._gone: set[XKey] = set()
        self._kept: set[XKey] = set()
        self._deleted: set[XKey] = set()
        self._resume = 0.0
        self._again, self._certified = asyncio.Event(), asyncio.Event()
        self._told = ""
        self._missing: list[CertifiedKey] = []
        self._must_reread = self._is_reread = False
        # Of a store that cannot be written, a program may have to be run for each look.
        self._is_watched = bool(self._store) and isinstance(
            parse_store(self._store).provider, WritableProvider
        )
        self._metrics = RotationMetrics(registry)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Rotate for the duration of a block; an empty store gets its first key before.

        Raises:
            ConfigurationError: If the store cannot be written.
            KeyStoreError: If the store fails, or another process owns it.
            TrustError: If the credentials are malformed.
        """
        with ExitStack() as stack:
            if self._is_owner:
                place = parse_store(self._store)
                if not isinstance(place.provider, WritableProvider):
                    raise ConfigurationError(
                        f'key.rotation = "self": {place.name} cannot be written; set "follow", and'
                        " run `xkeymsg rotate --out`"
                    )
                provider = place.provider
                ask(lambda: stack.enter_context(provider.lock(place.address)))
                if not (seen := await self._see()).stored:
                    await self._take(RotationStep("create"), seen)
                    now = _now()
                    [first] = (seen := await self._see()).stored
                    await self._take(RotationStep("certify", first, now), seen)
            await self._adopt(await self._see())
            async with Background() as background:
                background.spawn(self._run())
                yield

    async def certified(self) -> None:
        """Wait until the directory has shown the certificate of the key that seals.

        Receivers refuse messages that are sealed with another one.
        """
        if not self._certified.is_set():
            self._log.info("waiting", why="the own certificate is not published yet")
            await self._certified.wait()
            await asyncio.sleep(_SETTLE)  # others see it a moment later

    def look_again(self) -> None:
        """Read the settings and the store now; one that runs a program is read only then."""
        self._resume = 0.0
        self._must_reread = True
        self._again.set()

    async def _run(self) -> None:
        while True:
            pause, shown = self._look, self._shown
            try:
                if await self._round():
                    pause = min(_SOON, pause)
                self._told = ""
            except Exception as error:  # noqa: BLE001 - the next round may succeed
                self._metrics.failures.inc()
                if self._told != (why := reason(error)):
                    self._told = why
                    self._log.error("rotation", code=code_of(error), why=why)
            self._again.clear()
            await self._wait(pause, shown)

    async def _wait(self, seconds: float, shown: tuple[CertifiedKey, ...]) -> None:
        """Wait, but not once the directory shows other certificates of the own user.

        Others may seal to a new key at once, and its secret may be in the store.
        """
        end = monotonic() + seconds
        while (left := end - monotonic()) > 0 and self._shown == shown:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _NOTICE)):
                    await self._again.wait()
                    return

    async def _round(self) -> bool:
        """Take the steps that are due; return whether the next round is due soon."""
        is_loaded = self._directory.is_loaded  # before `_see`: it must know what is revoked
        seen, changed = await self._see(), False
        await self._adopt(seen)
        if not is_loaded:
            return True
        try:
            for _ in range(_STEPS if self._is_owner else 0):
                own = self._own(seen)
                step = own.step(self._times, since=seen.asked) or own.renewal()
                if step is None:
                    break
                await self._take(step, seen)
                seen, changed = await self._see(), True
            if self._is_owner and monotonic() >= self._resume:
                self._resume = monotonic() + min(_AGAIN, self._look)
                await self._delete(seen)
                seen = await self._see()
        finally:
            await self._adopt(seen)  # what others seal to once it is published can be opened
            changed = await self._publish(seen) or changed
        return changed

    # --- what there is ----------------------------------------------------------------------------

    async def _see(self) -> _Seen:
        return await in_thread(self._read)

    def _read(self) -> _Seen:
        pairs, stored = self._read_pairs()
        certificates, known = {}, []
        user, _ = self._login()
        for text in (list_certificates(self._store) if self._store else {}).values():
            try:
                certificate = Certificate.decode(text)
            except TrustError:
                continue  # it is signed again
            own = (certificate.account, certificate.claims.issuer)
            if certificate.claims.issued > _now() + self._authority.policy.skew:
                continue  # the clock was wrong then: nobody accepts it
            if own == (user.account, user.claims.subject) and certificate.key in pairs:
                certificates[certificate.key] = text
                known.append(certified_key(certificate, self._authority.accounts))
        asked = 0
        if self._is_owner:
            provider, address = self._owned()
            asked = ask(provider.asked, address)
        return _Seen(pairs, stored, certificates, tuple(known), asked)

    def _read_pairs(self) -> tuple[dict[XKey, XKeyPair], frozenset[XKey]]:
        before = {pair.public: pair for pair in self._pairs}
        if self._must_reread:
            self._must_reread = False
            opened = self._reread().opened()
        elif self._is_watched:
            opened = self._identity.section.open_all()
        else:
            return before, frozenset()
        # The same object for the same key: it has computed with the keys of senders already.
        found = {each.public: before.get(each.public, each) for each in opened.pairs}
        stored = frozenset(each.public for each in opened.pairs[: opened.stored])
        if self._is_owner and (lost := self._kept - found.keys() - self._deleted):
            self._health.set(_HAVE_ALL, False)
            raise KeyStoreError(
                f"the key store lacks {len(lost)} keys that are in use; is it mounted? Restore"
                " them, or restart to forget them"
            )
        return found, stored

    def _reread(self) -> KeySection:
        before, new = self._identity.section, self._identity.section.reread()
        fixed = (before.rotation, before.key_store, before.user)
        if (new.rotation, new.key_store, new.user) != fixed:
            raise ConfigurationError(
                "rotation, key_store or user of [key] have changed: restart to use them"
            )
        before.close()
        times, self._identity.section, self._is_reread = self._times, new, True
        if times != self._times:
            self._log.info("rotation times", **self._times._asdict())
        return new

    @property
    def _times(self) -> RotationTimes:
        key = self._identity.section
        return RotationTimes(int(key.interval), max(1, int(key.lead)), int(key.retain))

    @property
    def _look(self) -> float:
        return min(_LOOK, self._identity.section.lead / 4)

    @property
    def _pairs(self) -> tuple[XKeyPair, ...]:
        keyring = self._identity.keyring
        return keyring.active, *keyring.retired

    def _login(self) -> tuple[User, Signer]:
        creds = self._nats.options("").creds
        if creds is None:
            raise ConfigurationError("rotation requires creds in [nats]")
        claims, signer = parse_creds(read_login(creds))
        if claims.subject != self._identity.user:
            raise ConfigurationError("the creds in [nats] belong to another user now: restart")
        return User.decode(claims.text), signer

    @property
    def _authority(self) -> Authority:
        return own_authority(self._directory.trust.members)

    def _own(self, seen: _Seen) -> OwnKeys:
        accounts = self._authority.accounts
        held = seen.pairs.keys()
        return OwnKeys(held, seen.known, self._shown, _now(), accounts, stored=seen.stored)

    # --- steps ------------------------------------------------------------------------------------

    async def _take(self, step: RotationStep, seen: _Seen) -> None:
        if step.action == "create":
            await in_thread(self._create)
        elif step.key is not None:
            await in_thread(self._certify, step.key, step.not_before, seen)

    def _owned(self) -> tuple[WritableProvider, str]:
        """Return the provider and the address of the store."""
        place = parse_store(self._store)
        assert isinstance(place.provider, WritableProvider)  # noqa: S101 - checked at the start
        return place.provider, place.address

    def _create(self) -> None:
        provider, address = self._owned()
        public = ask(lambda: provider.create(address, Prefix.CURVE).public())
        self._log.info("key created", key=public)

    def _certify(self, key: XKey, not_before: int, seen: _Seen) -> None:
        provider, address = self._owned()
        user, signer = self._login()
        text = new_certificate(
            user, signer, key, not_before, now=_now(), known=(*seen.known, *self._shown),
            accounts=self._authority.accounts,
        )  # fmt: skip
        ask(provider.put_certificate, address, str(key), text)
        self._log.info("key certified", key=str(key), seconds=not_before - _now())

    @property
    def _shown(self) -> tuple[CertifiedKey, ...]:
        return shown_keys(self._directory.trust.members, self._identity.user or "")

    async def _publish(self, seen: _Seen) -> bool:
        """Publish what has changed; from then on the directory repairs the entry."""
        user, _ = await in_thread(self._login)
        texts, without = frozenset(seen.certificates.values()), frozenset(self._gone)
        if user.bearer or self._published == (user.claims.text, texts, without):
            return False
        await self._directory.publish(user.claims.text, texts, without=without)
        self._published = user.claims.text, texts, without
        self._log.info("keys published", certificates=len(texts))
        return True

    async def _delete(self, seen: _Seen) -> None:
        """Delete the secrets that were kept long enough, and that nothing needs."""
        own, retain = self._own(seen), self._times.retain
        if retain is None or own.current is None or not own.is_shown(own.current):
            return
        skew = self._authority.policy.skew
        provider, address = self._owned()
        for step in own.retired(retain):
            key = step.key
            if key is None or key in self._gone:
                continue
            if key in seen.certificates:
                until = step.not_before + self._times.lead + skew
                if until > _now():
                    return  # others may still seal to it
                if why := "" if self._holds is None else await self._holds(until):
                    self._resume = monotonic() + _AGAIN
                    self._log.often("warning", "key kept", "key", key=str(key), why=why)
                    return
                self._deleted.add(key)
                await in_thread(ask, provider.delete, address, str(key))
                self._log.info("key deleted", key=str(key))
            elif key in seen.pairs:
                continue  # of a file that is configured
            self._gone.add(key)

    # --- use --------------------------------------------------------------------------------------

    async def _adopt(self, seen: _Seen) -> None:
        """Use the keys that are here, and report them."""
        own = self._own(seen)
        sealing = own.sealing or own.current
        order = [each.key for each in reversed(own.ordered)]
        order = [each for each in (*order, *own.uncertified) if each in seen.pairs]
        if not order:
            raise KeyStoreError("the key store is empty")
        self._kept = set(order)
        active = order[0] if sealing is None else sealing.key
        pairs = [seen.pairs[each] for each in (active, *(e for e in order if e != active))]
        changed = [pair.public for pair in pairs] != [pair.public for pair in self._pairs]
        if changed:
            self._identity.keyring = Keyring(pairs[0], retired=pairs[1:], user=self._identity.user)
        if changed or self._is_reread:  # the sender's signing key may be another one, too
            self._is_reread = False
            self._use(self._identity.keyring)
        if changed:
            self._log.info("keys", active=str(active), others=len(pairs) - 1)
        if sealing is not None and own.is_shown(sealing):
            self._certified.set()
        self._report(own, sealing)

    def _report(self, own: OwnKeys, sealing: CertifiedKey | None) -> None:
        missing = own.missing
        self._health.set(_HAVE_ALL, not missing)
        self._identity.begun = None if sealing is None else sealing.not_before
        self._metrics.next.set(own.next_rotation(self._times) - _now() if self._is_owner else 0)
        retired = len(own.ordered) - len(own.upcoming) - (own.current is not None)
        counts = {"upcoming": len(own.upcoming), "current": int(own.current is not None)}
        for state, number in (counts | {"retired": retired, "missing": len(missing)}).items():
            self._metrics.keys.labels(state).set(number)
        if missing and missing != self._missing:
            self._log.error(
                "secret missing", key=str(missing[-1].key), seconds=missing[-1].not_before - _now(),
                why="the own user has certified a key that this daemon lacks: give it the secret;"
                " if none of you made it, the user's key is stolen: revoke the user",
            )  # fmt: skip
        self._missing = missing


class RotationMetrics:
    """The metrics of rotation."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.keys = Gauge("xkeymsg_keys", "Own keys, by state.", ["state"], registry=registry)
        self.next = Gauge(
            "xkeymsg_key_next_rotation_seconds",
            "Seconds until another key becomes current; 0 if another program decides.",
            registry=registry,
        )
        self.failures = Counter(
            "xkeymsg_rotation_failures", "Steps of a rotation that failed.", registry=registry
        )


def _now() -> int:
    return now_ns() // 1_000_000_000
