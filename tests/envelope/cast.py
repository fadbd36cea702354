"""Who appears in the stories, and the clock they live by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

import pytest

from xkeymsg import Opener, Recipient, UserKey, XKey, XKeyMsgError, XKeyPair, nkey

NOW: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z, in milliseconds."""


def pair(number: int) -> XKeyPair:
    """A key pair that is the same in every run."""
    return XKeyPair(hashlib.sha256(b"xkey %d" % number).digest())


def user(number: int) -> UserKey:
    return UserKey(nkey.encode_seed(nkey.Prefix.USER, hashlib.sha256(b"user %d" % number).digest()))


def raw_user(key: UserKey) -> bytes:
    return nkey.decode_public(nkey.Prefix.USER, key.public)


def user_seed(key: UserKey) -> bytes:
    """The 32 secret bytes."""
    return nkey.decode_seed(nkey.Prefix.USER, key._pair.seed.decode())


ALICE, BOB, CAROL, DAVE, EVE, MALLORY = (pair(-number) for number in range(6))
ALICE_USER, BOB_USER, MALLORY_USER = (user(number) for number in range(3))

SUBJECT: Final = "orders.new"


class Clock:
    """A clock that stands until it is set: `clock()` is nanoseconds, `clock.ms` milliseconds."""

    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms * 1_000_000


def reader(own: XKeyPair = BOB, senders: Iterable[XKey] = (ALICE.public,)) -> Opener:
    """An opener that checks everything but age and replay."""
    return Opener(own, senders=senders, replay="file")


def code_of(opener: Opener, envelope: bytes, subject: str = ">") -> str:
    """The code with which an opener refuses an envelope."""
    with pytest.raises(XKeyMsgError) as caught:
        opener.open(envelope, subject=subject)
    return caught.value.code


def to(*readers: XKeyPair) -> tuple[Recipient, ...]:
    return tuple(Recipient(one.public) for one in readers)


def open_fields(opener: Opener, envelope: bytes, now: int = NOW) -> dict[int, bytes]:
    """Open a document as the layer above does: what it gets of each part, by number."""
    opened = opener._open_at(now, envelope, opener._fields, ">", None, None, None)
    return opened.content[0]
