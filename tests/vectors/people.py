"""Who appears in the vectors, and the numbers that are drawn for each: SHAKE-128 of a label."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Final

from tests.reference import crypto, ed25519, nkeystring
from tests.reference.seal import NO_USER, WHOLE


class Draw:
    """All randomness of one vector: the SHAKE-128 stream of its label."""

    def __init__(self, label: str) -> None:
        self._shake = hashlib.shake_128(f"xkm1 vectors/{label}".encode())
        self._at = 0

    def take(self, k: int) -> bytes:
        self._at += k
        return self._shake.digest(self._at)[self._at - k :]


@dataclass(frozen=True)
class Person:
    """Somebody with an xkey and a user key."""

    secret: bytes
    signing_seed: bytes
    xkey: bytes

    @cached_property
    def user(self) -> bytes:
        """The public key of the user, which few recipients need and which takes 2 ms to compute."""
        return ed25519.public(self.signing_seed)

    @property
    def seed_text(self) -> str:
        return nkeystring.seed_text(self.secret)

    @property
    def xkey_text(self) -> str:
        return nkeystring.xkey_text(self.xkey)

    @property
    def user_text(self) -> str:
        return nkeystring.user_text(self.user)

    @property
    def mapping(self) -> str:
        """As a line of the header `sender`."""
        return f"{self.xkey_text} {self.user_text}"


@cache
def person(name: str) -> Person:
    draw = Draw(f"person/{name}")
    secret, signing_seed = draw.take(32), draw.take(32)
    return Person(secret, signing_seed, crypto.pub(secret))


ALICE: Final = person("alice")  # sends
MALLORY: Final = person("mallory")  # sends too
BOB: Final = person("bob")  # reads
BOB_RETIRED: Final = person("bob's retired key")
CAROL: Final = person("carol")  # another recipient
DAVE: Final = person("dave")


@dataclass(frozen=True)
class To:
    """A recipient: whom, as which user, and the positions of the parts granted."""

    person: Person
    user: bytes = NO_USER
    grants: frozenset[int] = WHOLE
    spoiled: bool = False
    """The wrap is made with another key, as if it had been altered on the way."""


def to(who: Person, *grants: int, user: bytes = NO_USER, spoiled: bool = False) -> To:
    return To(who, user, frozenset(grants or WHOLE), spoiled)


def crowd(n: int) -> tuple[To, ...]:
    """Bob and others, n in all."""
    return (to(BOB), *(to(person(f"crowd/{i}")) for i in range(n - 1)))
