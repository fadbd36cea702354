"""Opens every vector with the package; `tests/vectors` opens them with the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from tests.cases import check_each
from tests.envelope.cast import FIELDS, PAYLOAD, Clock
from tests.envelope.forge import head_of
from tests.envelope.inside import open_at, share_memory
from tests.reference import nkeystring
from tests.vectors import scenario as scenarios
from tests.vectors.runner import FILES, Outcome, every_scenario, run
from tests.vectors.scenario import Scenario
from tests.vectors.vector import Vector
from xkeymsg import (
    ANYONE,
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
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.replay import ReplayMemory
from xkeymsg.limits import Replay


def senders_of(vector: Vector) -> Senders:
    """Return a set for entries `X…`, a mapping for `X… U…`, and ANYONE without entries."""
    entries = [entry.split() for entry in vector.sender]
    if not entries:
        return ANYONE
    if any(len(entry) == 2 for entry in entries):
        return {XKey.parse(key): user for key, user in entries}
    return {XKey.parse(key) for [key] in entries}


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
    common = vector.subject, None, vector.wire, position
    try:
        if vector.kind == "document":
            parts = open_at(opener, vector.now, vector.envelope, FIELDS, *common)
            head, content = parts.head, b"".join(parts.content.values())
        else:
            whole = open_at(opener, vector.now, vector.envelope, PAYLOAD, *common)
            head, content = whole.head, whole.content
    except XKeyMsgError as error:
        return Outcome(code=error.code, outside=error.public_code)
    message_id = derive.message_id(head.sender, head.ephemeral, head.nonce)
    return Outcome(content=content, message_id=message_id)


@pytest.mark.parametrize("file", FILES)
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
        now, clock.ms = clock.ms, numbers.get("started", 0)
        self._opener = Opener(XKeyPair.from_seed(scenario.identity), limits=limits)
        clock.ms = now
        self._opened = dict[str, Message]()

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
