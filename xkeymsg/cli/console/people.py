"""Who holds which keys and permissions: the peers file, or claims and the directory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from xkeymsg.ambient import now_ns
from xkeymsg.cli.console.changes import Changes
from xkeymsg.client.threads import in_thread
from xkeymsg.daemons.common.sections import NatsSection, SourcesSection
from xkeymsg.daemons.common.trust import load_trust
from xkeymsg.directory.directory import Directory
from xkeymsg.errors import TrustError, XKeyMsgError
from xkeymsg.keys import Recipient, XKey
from xkeymsg.transport.link import Link
from xkeymsg.trust.identity import CertifiedKey, Identity, by_age
from xkeymsg.trust.stores.chains import Trust
from xkeymsg.trust.stores.peers_file import PeersFile

__all__ = ("KeyState", "People", "Person")

_EVERY: Final = 2.0
"""Seconds between two looks at the files."""
_SILENT: Final = 600.0
"""Seconds without an answer of the directory that are a problem."""
_MOST: Final = 2000
"""People that a page shows."""


class KeyState(NamedTuple):
    """A key of a person."""

    key: XKey
    state: Literal["current", "next", "retired", "revoked", "expired", "pinned"]
    begins: datetime | None = None
    """When others begin to seal to it."""
    ends: datetime | None = None
    """When its certificate ends."""
    retired: datetime | None = None
    """When another key followed it."""


class Person(NamedTuple):
    """A peer, or a user of an account."""

    name: str
    user: str
    """`U…`; empty without one."""
    permissions: tuple[str, ...]
    keys: tuple[KeyState, ...]
    """The oldest first."""
    problem: str = ""
    """Why nobody can seal to it."""


class People:
    """Peers, or users, with their keys.

    Args:
        section: The source of trust; None for none.
        nats: The connection, whose login names the own account.
        changes: Is notified of changes of the pages with names or keys.
    """

    def __init__(self, section: SourcesSection | None, nats: NatsSection, changes: Changes) -> None:
        self._changes = changes
        self._trust: PeersFile | Trust | None = None
        self.directory: Directory | None = None
        """The directory that is followed, if any."""
        if section is not None:
            self._trust = load_trust(section, nats.creds)
            if section.directory and isinstance(self._trust, Trust):
                self.directory = Directory(self._trust, wait=0.0)
        self._told = ""
        self._all: list[Person] = []
        self._names: dict[XKey, str] = {}
        self._look()

    @property
    def problem(self) -> str:
        """What is wrong with the source; empty for nothing."""
        if self._trust is not None and self._trust.error is not None:
            return str(self._trust.error)[:300]
        if self.directory is None:
            return ""
        report = self.directory.report()
        if not report.loaded:
            return f"the directory is not read yet: {self._told or 'its entries are awaited'}"
        if report.silent > _SILENT:
            why = f": {self._told}" if self._told else ""
            return f"the directory does not answer, its last state counts{why}"
        return str(report.alarms[0])[:300] if report.alarms else ""

    @property
    def is_configured(self) -> bool:
        """Whether there is a source of trust."""
        return self._trust is not None

    @property
    def has_certificates(self) -> bool:
        """Whether keys have times."""
        return isinstance(self._trust, Trust)

    @property
    def all(self) -> list[Person]:
        """Everyone, by name; at most 2,000."""
        return self._all[:_MOST]

    @property
    def count(self) -> int:
        """The number of people."""
        return len(self._all)

    def name_of(self, key: XKey | None) -> str:
        """Return the names of the holders of a key; empty if nobody known holds it."""
        return "" if key is None else self._names.get(key, "")

    def name_of_reader(self, reader: Recipient) -> str:
        """Return the names of a recipient, or its key."""
        return self.name_of(reader.key) or str(reader.key)

    def resolve(self, names: Iterable[str]) -> tuple[tuple[Recipient, ...], list[str]]:
        """Return the recipients that names stand for, and why others stand for nobody."""
        found: dict[Recipient, None] = {}
        problems = []
        for name in names:
            try:
                if self._trust is not None:
                    found |= dict.fromkeys(self._trust.resolve(name))
            except XKeyMsgError as error:
                problems.append(str(error)[:300])
        return tuple(found), problems

    def always_to(self) -> tuple[Recipient, ...]:
        """Return the recipients that every message is also sealed to."""
        return () if self._trust is None else self._trust.always_to()

    @asynccontextmanager
    async def following(self, link: Link) -> AsyncIterator[None]:
        """Follow the directory for the duration of a block, if one is configured.

        Raises:
            ConfigurationError: If its bucket is not safe.
        """
        try:
            if self.directory is None:
                yield
                return
            async with self.directory.following(link, self._hear):
                yield
        finally:
            if isinstance(self._trust, Trust):
                self._trust.close()

    def _hear(self, error: XKeyMsgError) -> None:
        self._told = str(error)[:300]

    async def run(self) -> None:
        """Follow the files until cancelled."""
        trust = self._trust
        while trust is not None:
            await asyncio.sleep(_EVERY)
            before = self._all, self.problem
            with suppress(XKeyMsgError):  # `problem` tells it
                await in_thread(trust.reload)
            self._look()
            if (self._all, self.problem) != before:
                for page in ("/", "/fleet", "/refused", "/rotation"):
                    self._changes.note(page)

    def _look(self) -> None:
        trust, now = self._trust, now_ns() // 1_000_000_000
        if isinstance(trust, PeersFile):
            self._all = [
                Person(
                    each.name,
                    each.user or "",
                    each.permissions,
                    tuple(KeyState(key, "pinned") for key in each.xkeys),
                )
                for each in trust.current.peers.values()
            ]
        elif isinstance(trust, Trust):
            self._all = [
                _person(f"{alias}/{who.name}" if alias else who.name, who, now)
                for (alias, _), who in sorted(trust.members.identities.items())
            ]
            self._all.sort(key=lambda each: (each.name, each.user))
        names: dict[XKey, str] = {}
        for person in self._all:
            for each in person.keys:
                if person.name not in (known := names.get(each.key, "")).split(", "):
                    names[each.key] = f"{known}, {person.name}" if known else person.name
        self._names = names


def _person(name: str, identity: Identity, now: int) -> Person:
    problem, current = "", None
    try:
        current = identity.current(now)
    except TrustError as error:
        problem = str(error)[:300]
    keys: dict[XKey, CertifiedKey] = {}
    for each in sorted(identity.keys, key=by_age):
        if each.key not in keys or each.not_before <= now:
            keys[each.key] = each
    ordered = sorted(keys.values(), key=by_age)
    states = []
    for at, each in enumerate(ordered):
        later = [other.not_before for other in ordered[at + 1 :] if other.not_before <= now]
        retired = min(later) if later else None
        states.append(_state(each, current, retired, now))
    return Person(
        name or identity.user, identity.user, tuple(sorted(identity.permissions)),
        tuple(states), problem,
    )  # fmt: skip


def _state(
    each: CertifiedKey, current: CertifiedKey | None, retired: int | None, now: int
) -> KeyState:
    state: Literal["current", "next", "retired", "revoked", "expired"] = "retired"
    if each.revoked:
        state = "revoked"
    elif each.not_before > now:
        state = "next"
    elif current is not None and each.key == current.key:
        state, retired = "current", None
    elif each.not_after < now:
        state = "expired"
    return KeyState(
        each.key, state, _time(each.not_before), _time(each.not_after),
        None if retired is None else _time(retired),
    )  # fmt: skip


def _time(seconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
