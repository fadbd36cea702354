"""What the native core opens, what it leaves to Python, and what that costs."""

from __future__ import annotations

import time

import pytest

from tests.envelope.cast import ALICE, BOB, CAROL, code_of, pair, to
from tests.envelope.forge import Pieces, Rogue
from tests.envelope.inside import caches
from xkeymsg import AtRest, Keyring, Opener, native, primitives

pytestmark = pytest.mark.skipif(native.core is None, reason="the native core is not in use")


def test_the_form_of_the_tags_is_checked_before_an_x25519(monkeypatch: pytest.MonkeyPatch) -> None:
    # E-88: with a key on a token, an X25519 can also fail.
    opener = Opener(Keyring(CAROL, retired=[BOB]), {ALICE.public}, replay=AtRest())
    envelope, shared = Rogue().envelope(b"x"), list[bytes]()
    opener.open(envelope, subject=">")
    x25519 = primitives.x25519

    def counted(secret: bytes, public: bytes) -> bytes | None:
        shared.append(public)
        return x25519(secret, public)

    monkeypatch.setattr(primitives, "x25519", counted)
    # As after two hours of messages to one key, with a session that does not end.
    caches(opener)[0].senders.younger.clear()
    malformed = Pieces.of(envelope)._replace(tags=b"").join()
    assert code_of(opener, malformed) == "malformed"
    assert not shared
    assert opener.open(envelope, subject=">").data == b"x"
    assert shared == [bytes(ALICE.public)] * 2


def test_the_cost_of_a_strangers_tags_is_not_squared_with_the_number_of_own_keys() -> None:
    # Anybody can copy the head of a message, and write a thousand tags after it.
    tags = sorted(b"%08d" % number for number in range(1024))
    pieces = Pieces.of(Rogue().envelope())
    envelope = pieces._replace(tags=b"".join(tags), wraps=bytes(49 * len(tags))).join()

    def seconds(count: int) -> float:
        own = [pair(number) for number in range(count)]
        opener = Opener(Keyring(own[0], retired=own[1:]), {ALICE.public}, replay=AtRest())
        for each in own:
            opener.open(Rogue(to=to(each)).envelope(), subject=">")
        took = []
        for _ in range(9):
            started = time.process_time()
            assert code_of(opener, envelope) == "not_a_recipient"
            took.append(time.process_time() - started)
        return min(took)

    assert seconds(300) < 60 * seconds(15)
