"""The actors of the tests, and their clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import pytest

from xkeymsg import AtRest, Opener, Recipient, UserKey, XKey, XKeyMsgError, XKeyPair, nkey
from xkeymsg.envelope.content import Headers
from xkeymsg.envelope.head import Head
from xkeymsg.envelope.open import fields, payload
from xkeymsg.opener import Form

NOW: Final = 1_767_225_600_000
"""2026-01-01T00:00:00Z, in milliseconds."""


def pair(number: int) -> XKeyPair:
    """Return a key pair that is the same in every run."""
    return XKeyPair(hashlib.sha256(b"xkey %d" % number).digest())


def user(number: int) -> UserKey:
    return UserKey(nkey.encode_seed(nkey.Prefix.USER, hashlib.sha256(b"user %d" % number).digest()))


def raw_user(key: UserKey) -> bytes:
    return nkey.decode_public(nkey.Prefix.USER, key.public)


def raw_secret(own: XKeyPair) -> bytes:
    """Return the 32 secret bytes."""
    return nkey.decode_seed(nkey.Prefix.CURVE, own.seed())


ALICE, BOB, CAROL, DAVE, EVE, MALLORY = (pair(-number) for number in range(6))
ALICE_USER, BOB_USER, MALLORY_USER = (user(number) for number in range(3))

SUBJECT: Final = "orders.new"


class Clock:
    """A clock that runs only when set: `clock()` is nanoseconds, `clock.ms` milliseconds."""

    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms * 1_000_000


def reader(own: XKeyPair = BOB, senders: Iterable[XKey] = (ALICE.public,)) -> Opener:
    """Return an opener that checks everything except age and replay."""
    return Opener(own, senders=senders, replay=AtRest())


def code_of(opener: Opener, envelope: bytes, subject: str = ">") -> str:
    """Return the code with which an opener refuses an envelope."""
    with pytest.raises(XKeyMsgError) as caught:
        opener.open(envelope, subject=subject)
    return caught.value.code


def to(*readers: XKeyPair) -> tuple[Recipient, ...]:
    return tuple(Recipient(one.public) for one in readers)


class Raw(NamedTuple):
    """An opened message with the unparsed contents of its parts."""

    head: Head
    content: Any
    admitted: bool
    signer: str | None
    content_type: str | None
    headers: Headers


FIELDS: Final[Form[Any, Any]] = Form(fields, Raw)
"""The contents of a document's parts by position, as passed to the layer above."""
PAYLOAD: Final[Form[Any, Any]] = Form(payload, Raw)
