"""The reference, plugged into the runner."""

from __future__ import annotations

from collections.abc import Sequence

from tests.reference import (
    Anyone,
    FileMemory,
    Limits,
    LiveMemory,
    Mapped,
    Only,
    Opened,
    Position,
    Reader,
    RefusalError,
    StreamMemory,
    nkeystring,
    open_envelope,
)
from tests.vectors.runner import Outcome
from tests.vectors.vector import Vector


def admission(vector: Vector) -> Anyone | Only | Mapped:
    if not vector.sender:
        return Anyone()
    if all(" " not in line for line in vector.sender):
        return Only({nkeystring.xkey(line) for line in vector.sender})
    pairs = dict(line.split(" ") for line in vector.sender)
    return Mapped({nkeystring.xkey(x): nkeystring.user(u) for x, u in pairs.items()})


def reader_of(vector: Vector) -> Reader:
    return Reader(
        keys=tuple(nkeystring.seed(text) for text in vector.identity),
        user=None if vector.user is None else nkeystring.user(vector.user),
        zero_user=vector.zero_user,
        admission=admission(vector),
        subjects=vector.subject,
        kind=vector.kind,
        require_signature=vector.require_signature,
        limits=Limits(envelope=vector.limit_envelope),
    )


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
            outcomes.append(Outcome(content=opened.content, message_id=opened.message_id))
    return outcomes
