"""Every vector, opened by the package; `tests/vectors` opens them with the reference."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.vectors.by_file import check_each
from tests.vectors.runner import FILES, Outcome, run
from tests.vectors.vector import Vector
from xkeymsg import ANYONE, Keyring, Limits, Opener, StreamPosition, XKey, XKeyMsgError, XKeyPair
from xkeymsg.envelope import derive
from xkeymsg.envelope.admission import Senders
from xkeymsg.envelope.replay import LiveMemory, StreamMemory


def senders_of(vector: Vector) -> Senders:
    """`X…` is a member of a set, `X… U…` an entry of a mapping, and none at all is ANYONE."""
    entries = [entry.split() for entry in vector.sender]
    if not entries:
        return ANYONE
    if any(len(entry) == 2 for entry in entries):
        return {XKey.parse(key): user for key, user in entries}
    return {XKey.parse(key) for [key] in entries}


def opener_of(vector: Vector) -> Opener:
    active, *retired = map(XKeyPair.from_seed, vector.identity)
    keyring = Keyring(active, retired=retired, user=vector.user, without_user=vector.zero_user)
    return Opener(
        keyring,
        senders_of(vector),
        replay="live" if vector.policy.kind == "live" else "file",
        require_signature=vector.require_signature,
        limits=Limits(envelope=vector.limit_envelope),
    )


def open_with(vectors: Sequence[Vector]) -> Sequence[Outcome]:
    live = LiveMemory(Limits(), vectors[-1].policy.started)
    stream = StreamMemory(Limits())
    return [open_one(vector, live, stream) for vector in vectors]


def open_one(vector: Vector, live: LiveMemory, stream: StreamMemory) -> Outcome:
    opener = opener_of(vector)
    opener._live, opener._stream = live, stream
    policy = vector.policy
    position = None
    if policy.kind == "stream":
        position = StreamPosition(policy.stream, policy.sequence, policy.stored_at)
    common = vector.subject, None, vector.wire, position
    try:
        if vector.kind == "document":
            parts = opener._open_at(vector.now, vector.envelope, opener._fields, *common)
            head, content = parts.head, b"".join(parts.content[0].values())
        else:
            whole = opener._open_at(vector.now, vector.envelope, opener._payload, *common)
            head, content = whole.head, whole.content[0]
    except XKeyMsgError as error:
        return Outcome(code=error.code, outside=error.outside)
    message_id = derive.message_id(head.sender, head.ephemeral, head.nonce)
    return Outcome(content=content, message_id=message_id)


@pytest.mark.parametrize("file", FILES)
def test_vectors(file: str) -> None:
    check_each(FILES[file], lambda vector: run(vector, open_with))
