"""The reference, plugged into the runner."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference import (
    Anyone,
    FileMemory,
    Limits,
    LiveMemory,
    Only,
    Opened,
    Position,
    Reader,
    RefusalError,
    StreamMemory,
    nkeystring,
    open_envelope,
)
from tests.reference.head import Head, read_head
from tests.vectors.report import reader_of, report_of
from tests.vectors.runner import Outcome
from tests.vectors.scenario import Scenario
from tests.vectors.vector import NOW, Vector


def memory_of(vector: Vector) -> FileMemory | LiveMemory | StreamMemory:
    if vector.policy.kind == "live":
        return LiveMemory(started=vector.policy.started)
    return StreamMemory() if vector.policy.kind == "stream" else FileMemory()


def open_vector(vector: Vector, memory: FileMemory | LiveMemory | StreamMemory) -> Opened:
    policy = vector.policy
    return open_envelope(
        vector.envelope,
        reader_of(vector),
        now=vector.now,
        memory=memory,
        position=Position(policy.stream, policy.sequence, policy.stored_at),
        wire=vector.wire,
    )


def refusal(vector: Vector, memory: FileMemory | LiveMemory | StreamMemory) -> RefusalError | None:
    try:
        open_vector(vector, memory)
    except RefusalError as refused:
        return refused
    return None


def open_with(vectors: Sequence[Vector]) -> list[Outcome]:
    memory = memory_of(vectors[-1])
    outcomes = []
    for vector in vectors:
        try:
            opened = open_vector(vector, memory)
        except RefusalError as refused:
            outcomes.append(Outcome(code=refused.code, outside=refused.outside))
        else:
            outcomes.append(
                Outcome(
                    content=opened.content,
                    message_id=opened.message_id,
                    report=report_of(opened),
                )
            )
    return outcomes


class ReferenceScope:
    """The reference, plugged into the runner of scenarios."""

    def __init__(self, scenario: Scenario) -> None:
        numbers = scenario.numbers
        default = Limits()
        self._limits = Limits(
            replay=numbers.get("limit-replay", default.replay),
            replay_unadmitted=numbers.get("limit-replay-unadmitted", default.replay_unadmitted),
            pending=numbers.get("limit-pending", default.pending),
        )
        self.rules = set[str]()
        """The requirements for which something was refused."""
        self._started = numbers.get("started", 0)
        self._scopes = dict[str, tuple[StreamMemory, LiveMemory]]()
        self.enter("first")
        self._now = NOW
        self._key = nkeystring.seed(scenario.identity)
        self._opened = dict[str, Head]()

    def enter(self, scope: str) -> None:
        new = StreamMemory(self._limits), LiveMemory(self._started, self._limits)
        self._stream, self._live = self._scopes.setdefault(scope, new)

    def now(self, ms: int) -> None:
        self._now = ms

    def wait(self, seconds: int) -> None:
        for stream, live in self._scopes.values():
            stream.at += seconds
            live.at += seconds

    def open(
        self, name: str, envelope: bytes, *, admitted: bool, position: tuple[str, int, int] | None
    ) -> str:
        head, _ = read_head(envelope, Limits())
        reader = Reader(keys=(self._key,), admission=Only({head.S}) if admitted else Anyone())
        place = None if position is None else Position(*position)
        memory = self._live if place is None else self._stream
        try:
            opened = open_envelope(envelope, reader, now=self._now, memory=memory, position=place)
        except RefusalError as refused:
            self.rules.add(refused.rule)
            if refused.code != "replay":
                return refused.code
            return "replay-pending" if refused.pending else "replay-final"
        assert opened.content == name.encode()
        self._opened[name] = opened.head
        return "success"

    def settle(self, name: str, *, handled: bool) -> None:
        self._stream.settle(self._opened[name], handled=handled)

    def release(self, name: str) -> None:
        self._stream.release(self._opened[name])
