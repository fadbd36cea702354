"""The pages of the console: what each shows, from the collectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from xkeymsg.cli.console.access import Accesses
from xkeymsg.cli.console.app import Page
from xkeymsg.cli.console.connection import ConnectionProblems
from xkeymsg.cli.console.explanations import EXPLANATIONS
from xkeymsg.cli.console.fleet import Fleet
from xkeymsg.cli.console.open_page import open_page
from xkeymsg.cli.console.people import KeyState, People, Person
from xkeymsg.cli.console.refused import Quarantines, QuarantineState
from xkeymsg.cli.console.seen import SeenSender, SeenSenders
from xkeymsg.cli.console.streams import SampledStream, Streams
from xkeymsg.cli.console.terminated import Terminations
from xkeymsg.errors import KeyFormatError
from xkeymsg.keys import XKey

__all__ = ("KeyRow", "Pages", "SenderRow")

_GRACE: Final = timedelta(seconds=60)
"""How long a sender may resolve names with an old revision of the directory."""
_MOST_SENDERS: Final = 200
_MOST_REFUSALS: Final = 200
"""Rows of each table of refused messages."""


def _now() -> datetime:
    return datetime.now(UTC)


class SenderRow(NamedTuple):
    """A sender of sampled messages."""

    seen: SeenSender
    name: str
    state: str
    """The state of its key; empty if nobody known holds it."""
    behind: int | None
    """How many revisions of the directory it lacks; None if it states none."""
    is_stale: bool
    """Whether it went on sealing by an old revision."""


class KeyRow(NamedTuple):
    """A key of a person."""

    person: Person
    key: KeyState
    is_first: bool
    """Whether it is the first of the person."""
    seen: SeenSender | None
    is_misused: bool
    """Whether a message was sealed with it after it was retired, or revoked."""
    erase: datetime | None
    """When receivers may delete it, if it is retired."""
    holding: tuple[str, ...]
    """The streams that hold messages of its time."""
    unread: tuple[str, ...]
    """The streams that may hold such messages, because they could not be read."""


class Pages:
    """What the pages show.

    Args:
        accesses: Who can read what.
        people: Who holds which keys.
        fleet: The daemons.
        quarantines: The messages in quarantine.
        terminations: The messages that consumers have terminated.
        streams: The samples of streams.
        seen: The senders in both.
        connection: What is wrong with the connection.
        retain: How long receivers keep retired keys, in seconds.
        websocket: The websocket of the NATS server, for browsers; empty without one.
        now: The clock.
    """

    def __init__(
        self,
        accesses: Accesses,
        people: People,
        fleet: Fleet,
        quarantines: Quarantines,
        terminations: Terminations,
        streams: Streams,
        seen: SeenSenders,
        *,
        connection: ConnectionProblems,
        retain: float,
        websocket: str,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._accesses, self._people, self._fleet = accesses, people, fleet
        self._quarantines, self._terminations = quarantines, terminations
        self._streams, self._seen = streams, seen
        self._connection = connection
        self._retain, self._websocket = retain, websocket
        self._now = now
        self._revision = 0, now()

    def all(self) -> list[Page]:
        """Return the pages, in the order of the navigation."""
        return [
            Page("/", "Who can read what", "access.html", self._access, self._compare),
            Page("/fleet", "Fleet", "fleet.html", self._show_fleet),
            Page("/refused", "Refused", "refused.html", self._refused),
            Page("/rotation", "Rotation", "rotation.html", self._rotation),
            Page("/streams", "Streams", "streams.html", self._show_streams),
            open_page(self._websocket),
        ]

    @property
    def _held(self) -> list[SampledStream | QuarantineState]:
        """All streams that may hold messages."""
        return [*self._streams.states.values(), *self._quarantines.states]

    def notices(self) -> list[str]:
        """Return what keeps the pages from being current, or right."""
        found = self._connection.problems
        if ahead := max((each.minutes_ahead for each in self._held), key=abs, default=0):
            off = f"{abs(ahead)} min {'ahead of' if ahead > 0 else 'behind'}"
            found.append(f"the clock of the NATS server is {off} this machine's: compare both")
        return found

    def _access(self, **form: Any) -> Mapping[str, Any]:
        shown = {"accesses": self._accesses, "people": self._people}
        return shown | {"compared": None, "chosen": "", "text": ""} | form

    async def _compare(self, body: bytes) -> Mapping[str, Any]:
        """Compare a policy that a form has sent with the present one."""
        try:
            fields = parse_qs(body.decode("ascii"), max_num_fields=2, strict_parsing=True)
            subject, text = (fields[name][0] for name in ("subject", "policy"))
        except (ValueError, KeyError):
            return self._access(compared="expected a subject and the text of a policy")
        text = text.replace("\r\n", "\n")
        compared = await self._accesses.compare_text(subject, text)
        return self._access(compared=compared, chosen=subject, text=text)

    def _show_fleet(self) -> Mapping[str, Any]:
        return {"fleet": self._fleet, "senders": self._senders()}

    def _senders(self) -> list[SenderRow]:
        directory = self._people.directory
        if directory is not None and (now := directory.report().revision) != self._revision[0]:
            self._revision = now, self._now()
        revision, since = self._revision
        states = {each.key: each.state for who in self._people.all for each in who.keys}
        rows = []
        known_first = sorted(self._seen.all(), key=lambda seen: not self._people.name_of(seen.key))
        for seen in known_first[:_MOST_SENDERS]:
            behind = None if seen.revision is None else max(0, revision - seen.revision)
            is_stale = bool(behind) and seen.created > since + _GRACE
            name, state = self._people.name_of(seen.key), states.get(seen.key, "")
            rows.append(SenderRow(seen, name, state, behind, is_stale))
        return rows

    def _refused(self) -> Mapping[str, Any]:
        refusals, by_sender = self._fleet.refusals, self._fleet.refusals_by_sender
        shown = by_sender[:_MOST_REFUSALS]
        return {
            "fleet": self._fleet,
            "refusals": refusals[:_MOST_REFUSALS],
            "more_refusals": len(refusals[_MOST_REFUSALS:]),
            "by_sender": [(each, self._name_of(each.sender.key)) for each in shown],
            "more_by_sender": len(by_sender[_MOST_REFUSALS:]),
            "losses": self._connection.losses,
            "has_streams": bool(self._streams.states),
            "quarantines": self._quarantines,
            "terminated": self._terminations.counts,
            "explained": {each.code for each in EXPLANATIONS},
            "people": self._people,
        }

    def _name_of(self, text: str) -> str:
        """Return the names of the holders of a key, as a daemon has written it."""
        try:
            return self._people.name_of(XKey.parse(text))
        except KeyFormatError:
            return ""

    def _rotation(self) -> Mapping[str, Any]:
        oldest = {each.name: each.oldest for each in self._held if each.messages}
        unread = [each.name for each in self._held if not each.is_known]
        rows = [
            self._row(person, key, number, oldest, unread)
            for person in self._people.all
            for number, key in enumerate(person.keys)
        ]
        has_streams = bool(self._streams.states)
        return {"rows": rows, "people": self._people, "has_streams": has_streams}

    def _row(
        self,
        person: Person,
        key: KeyState,
        number: int,
        oldest: Mapping[str, datetime | None],
        unread: list[str],
    ) -> KeyRow:
        seen, ended = self._seen.of(key.key), key.retired
        if key.state == "expired" and ended is None:
            ended = key.ends
        is_misused = seen is not None and (
            key.state == "revoked" or (ended is not None and seen.created > ended)
        )
        erase, holding, missing = None, tuple[str, ...](), tuple[str, ...]()
        if key.retired is not None:
            erase = _later(key.retired, self._retain)
            holding = tuple(name for name, at in oldest.items() if at and at <= key.retired)
            missing = tuple(name for name in unread if name not in holding)
        return KeyRow(person, key, not number, seen, is_misused, erase, holding, missing)

    def _show_streams(self) -> Mapping[str, Any]:
        return {"states": list(self._streams.states.values())}


def _later(at: datetime, seconds: float) -> datetime:
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
