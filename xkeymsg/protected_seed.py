"""Seeds protected with a passphrase, as one line of text (docs/spec/text.md).

    xks1.PASSES.KIB.PUBLIC.SALT.SEALED

Parameters are bounded before any memory is used. The line in front of SEALED is authenticated with
the seed.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from typing import Final, NamedTuple

from xkeymsg import nkey, primitives
from xkeymsg.errors import KeyFormatError, KeyStoreError
from xkeymsg.keys import XKeyPair
from xkeymsg.refusals import refusing

__all__ = (
    "SALT_SIZE",
    "Cost",
    "ProtectedSeed",
    "is_protected",
    "key_of_seed",
    "protect",
    "public_of_seed",
)

SALT_SIZE: Final = 16
_VERSION: Final = "xks1."
_ZERO: Final = bytes(12)
_LEAST_KIB, _MOST_KIB = 8 << 10, 256 << 10
_MOST_PASSES: Final = 16
_MOST_WORK: Final = 1 << 20
"""Passes times KiB."""
_MOST_PASSPHRASE: Final = 1024
_LINE: Final = re.compile(
    r"xks1\.([1-9][0-9]?)\.([1-9][0-9]{3,5})\.([XUAO][A-Z2-7]{55})\.([\w-]{22})\.([\w-]{99})",
    re.ASCII,
)
_KINDS: Final = {
    "SU": nkey.Prefix.USER,
    "SA": nkey.Prefix.ACCOUNT,
    "SO": nkey.Prefix.OPERATOR,
}


class Cost(NamedTuple):
    """The cost of Argon2id."""

    passes: int = 3
    kib: int = 64 << 10

    def check(self) -> None:
        """Refuse a cost that is out of bounds.

        Raises:
            KeyStoreError: If it is.
        """
        is_bounded = 1 <= self.passes <= _MOST_PASSES and _LEAST_KIB <= self.kib <= _MOST_KIB
        if not is_bounded or self.passes * self.kib > _MOST_WORK:
            raise KeyStoreError("the protected seed has Argon2id parameters out of bounds")


class ProtectedSeed(NamedTuple):
    """A protected seed, parsed; only `release` verifies it."""

    cost: Cost
    public: str
    salt: bytes
    sealed: bytes

    @classmethod
    def parse(cls, line: str) -> ProtectedSeed:
        """Parse a line.

        Raises:
            KeyStoreError: If it is not in the one form, or its cost is out of bounds.
        """
        if not line.startswith(_VERSION):
            raise KeyStoreError("the protected seed has an unknown version")
        match = _LINE.fullmatch(line)
        if match is None:
            raise KeyStoreError("the protected seed is malformed")
        passes, kib, public, salt, sealed = match.groups()
        cost = Cost(int(passes), int(kib))
        cost.check()
        parsed = cls(cost, public, _decode(salt), _decode(sealed))
        if not nkey.is_public(public) or parsed.text() != line:
            raise KeyStoreError("the protected seed is malformed")
        return parsed

    def front(self) -> str:
        """Return the authenticated part of the line, with the last dot."""
        salt = _encode(self.salt)
        return f"{_VERSION}{self.cost.passes}.{self.cost.kib}.{self.public}.{salt}."

    def text(self) -> str:
        """Return the line."""
        return self.front() + _encode(self.sealed)

    @refusing
    def release(self, passphrase: str) -> str:
        """Return the seed.

        Raises:
            KeyStoreError: If the passphrase is wrong or invalid, the line was changed, or there is
                not enough memory.
        """
        key = _derived(passphrase, self.salt, self.cost)
        try:
            opened = primitives.AEAD(key).decrypt(_ZERO, self.sealed, self.front().encode())
        except primitives.InvalidTag:
            opened = b""
        if not opened:
            raise KeyStoreError("wrong passphrase, or the protected seed was changed")
        seed = opened.decode("ascii", "replace")
        if public_of_seed(seed) != self.public:
            raise KeyStoreError("the protected seed does not belong to its public key")
        return seed

    def __repr__(self) -> str:
        return f"<ProtectedSeed of {self.public}>"


def is_protected(line: str) -> bool:
    """Return whether a line is a protected seed of this or a later version."""
    return re.match(r"xks[0-9]+\.", line, re.ASCII) is not None


@refusing
def protect(seed: str, passphrase: str, *, salt: bytes, cost: Cost | None = None) -> str:
    """Return the line of a seed that is protected with a passphrase.

    Args:
        seed: The seed `SX…`, `SU…`, `SA…` or `SO…`.
        passphrase: The passphrase.
        salt: 16 random bytes, different for each call.
        cost: The cost; by default, 3 passes over 64 MiB.

    Raises:
        KeyStoreError: If an argument is invalid, or there is not enough memory.
    """
    cost = cost or Cost()
    cost.check()
    front = ProtectedSeed(cost, public_of_seed(seed), salt, b"").front()
    key = _derived(passphrase, salt, cost)
    return front + _encode(primitives.AEAD(key).encrypt(_ZERO, seed.encode(), front.encode()))


@refusing
def key_of_seed(seed: str) -> XKeyPair | nkey.SigningKey:
    """Return the key of a seed `SX…`, `SU…`, `SA…` or `SO…`.

    Raises:
        KeyStoreError: If it is not a seed.
    """
    kind = _KINDS.get(seed[:2])
    try:
        return XKeyPair.from_seed(seed) if kind is None else nkey.SigningKey(seed, kind)
    except KeyFormatError as error:
        raise KeyStoreError(str(error)) from None


@refusing
def public_of_seed(seed: str) -> str:
    """Return the public key of a seed.

    Raises:
        KeyStoreError: If it is not a seed.
    """
    return str(key_of_seed(seed).public)


def _derived(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    try:
        secret = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        secret = b""
    if not 0 < len(secret) <= _MOST_PASSPHRASE or any(byte < 0x20 for byte in secret):
        raise KeyStoreError(
            f"a passphrase must be one line of 1 to {_MOST_PASSPHRASE} bytes of UTF-8"
        )
    key = primitives.argon2id(secret, salt, passes=cost.passes, kib=cost.kib)
    if key is None:
        raise KeyStoreError(f"not enough memory for the passphrase: {cost.kib // 1024} MiB")
    return key


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
