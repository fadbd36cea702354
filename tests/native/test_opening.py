"""What the native core opens, what it leaves to Python, and what that costs."""

from __future__ import annotations

import pytest

from tests.envelope.cast import ALICE, BOB, CAROL, code_of
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
