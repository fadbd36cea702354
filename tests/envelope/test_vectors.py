"""Opens every vector with the package; `tests/vectors` opens them with the reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pytest

from tests.cases import check_each, for_each
from tests.envelope.cast import FIELDS, PAYLOAD, Clock, Raw
from tests.envelope.forge import head_of
from tests.envelope.inside import open_at, share_memory
from tests.reference import nkeystring
from tests.reference.fields_text import dumps
from tests.vectors import scenario as scenarios
from tests.vectors.runner import FILES, Outcome, every_scenario, run
from tests.vectors.scenario import Scenario
from tests.vectors.vector import Report, Vector
from xkeymsg import (
    ANYONE,
    WITHHELD,
    AtRest,
    Keyring,
    Limits,
    Live,
    Message,
    Opener,
    ReplayError,
    StaleError,
    Stream,
    StreamPosition,
    XKey,
    XKeyMsgError,
    XKeyPair,
)
from xkeymsg.envelope import derive, replay
from xkeymsg.envelope.admission import Admission, Senders
from xkeymsg.envelope.replay import ReplayMemory
from xkeymsg.envelope.unlock import Read
from xkeymsg.limits import Replay
from xkeymsg.opener import DOCUMENT, Form


def senders_of(vector: Vector) -> Senders:
    """Return a set if no user is known, a mapping if one is for each, trust, or ANYONE."""
    if not vector.sender:
        return ANYONE
    users = {XKey.parse(sender): known for sender, known in vector.senders()}
    if not any(users.values()):
        return set(users)
    if all(len(known) == 1 for known in users.values()):
        return {sender: user for sender, [user] in users.items()}
    return SeveralUsers(users)


class SeveralUsers:
    """Trust that knows any number of users for a sender."""

    def __init__(self, users: Mapping[XKey, Iterable[str]]) -> None:
        self._users = users

    def admit(self, sender: XKey, subject: str, at: int) -> Admission | None:
        if sender not in self._users:
            return None
        return Admission(frozenset(map(nkeystring.user, self._users[sender])))


REPLAY: Final[Mapping[str, Replay]] = {"live": Live(), "stream": Stream(), "file": AtRest()}


def opener_of(vector: Vector) -> Opener:
    active, *retired = map(XKeyPair.from_seed, vector.identity)
    keyring = Keyring(active, retired=retired, user=vector.user, accept_unbound=vector.zero_user)
    return Opener(
        keyring,
        senders_of(vector),
        replay=REPLAY[vector.policy.kind],
        require_signature=vector.require_signature,
        limits=Limits(envelope=vector.limit_envelope),
    )


def _contents_and_document(message: Read, limits: Limits) -> Any:
    contents, content_type, headers = FIELDS.parse(message, limits)
    (document, withheld), _, _ = DOCUMENT.parse(message, limits)
    return (b"".join(contents.values()), document, withheld), content_type, headers


BOTH: Final[Form[Any, Any]] = Form(_contents_and_document, Raw)
"""A document, with the contents of its parts."""


def open_with(vectors: Sequence[Vector]) -> Sequence[Outcome]:
    memory = ReplayMemory(Limits(), vectors[-1].policy.started)
    return [open_one(vector, memory) for vector in vectors]


def open_one(vector: Vector, memory: ReplayMemory) -> Outcome:
    opener = opener_of(vector)
    share_memory(opener, memory)
    policy = vector.policy
    position = None
    if policy.kind == "stream":
        position = StreamPosition(policy.stream, policy.sequence, policy.stored_at)
    form = BOTH if vector.kind == "document" else PAYLOAD
    try:
        opened: Raw = open_at(
            opener, vector.now, vector.envelope, form, vector.subject, None, vector.wire, position
        )
    except XKeyMsgError as error:
        return Outcome(code=error.code, outside=error.public_code)
    head, content, withheld = opened.head, opened.content, 0
    report = dict[str, object]()
    if vector.kind == "document":
        content, document, withheld = opened.content
        report = {"document": dumps(document, WITHHELD)}
    return Outcome(
        content=content,
        message_id=derive.message_id(head.sender, head.ephemeral, head.nonce),
        report={**report_of(vector, opened), "withheld": withheld, **report},
    )


def report_of(vector: Vector, opened: Raw) -> Report:
    head = opened.head
    identity = None
    if dict(vector.senders()).get(str(XKey(head.sender))):
        assert head.identity is not None
        identity = nkeystring.user_text(head.identity)
    assert opened.signer in (None, identity)
    return {
        "sender": str(XKey(head.sender)),
        "admitted": opened.admitted,
        "identity": identity,
        "signed": opened.signer is not None,
        "subject": head.subject,
        "created": head.created_ms,
        "revision": head.revision,
        "expires": head.expires_ms,
        "content-type": opened.content_type,
        "headers": [list(header) for header in opened.headers.pairs],
    }


@for_each("file", FILES)
def test_vectors(file: str) -> None:
    check_each(FILES[file], lambda vector: run(vector, open_with))


class PackageScope:
    """The package as a memory for the runner of scenarios."""

    def __init__(self, scenario: Scenario, clock: Clock) -> None:
        self.seconds = 10_000.0
        self._clock, numbers = clock, scenario.numbers
        default = Limits()
        limits = Limits(
            replay_bytes=numbers.get("limit-replay", default.replay_bytes),
            replay_bytes_unadmitted=numbers.get(
                "limit-replay-unadmitted", default.replay_bytes_unadmitted
            ),
            replay_pending=numbers.get("limit-pending", default.replay_pending),
        )
        self._started = numbers.get("started", 0)
        self._openers = dict[str, Opener]()
        self._key, self._limits = XKeyPair.from_seed(scenario.identity), limits
        self.enter("first")
        self._opened = dict[str, Message]()

    def enter(self, scope: str) -> None:
        if scope not in self._openers:
            now, self._clock.ms = self._clock.ms, self._started
            self._openers[scope] = Opener(self._key, limits=self._limits)
            self._clock.ms = now
        self._opener = self._openers[scope]

    def now(self, ms: int) -> None:
        self._clock.ms = ms

    def wait(self, seconds: int) -> None:
        self.seconds += seconds

    def open(
        self, name: str, envelope: bytes, *, admitted: bool, position: tuple[str, int, int] | None
    ) -> str:
        sender = XKey.parse(nkeystring.xkey_text(head_of(envelope).S))
        try:
            message = self._opener.open(
                envelope,
                subject=">",
                senders={sender} if admitted else ANYONE,
                position=None if position is None else StreamPosition(*position),
            )
        except ReplayError as error:
            pending = "replay-pending" if error.pending else "replay-final"
            return pending if error.code == "replay" else error.code
        except StaleError as error:
            return error.code
        assert (message.data, message.admitted) == (name.encode(), admitted)
        self._opened[name] = message
        return "success"

    def settle(self, name: str, *, handled: bool) -> None:
        self._opener.settle(self._opened[name], handled=handled)

    def release(self, name: str) -> None:
        self._opener.release(self._opened[name])


@pytest.mark.parametrize("scenario", every_scenario(), ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = PackageScope(scenario, clock)
    monkeypatch.setattr(replay, "monotonic", lambda: scope.seconds)
    scenarios.run(scenario, scope)
