"""Nkey strings: base32 of prefix, key and checksum; the only module that imports `nkeys`.

A public key is `base32(prefix || key || crc16)`, 56 characters. A seed is
`base32(18 << 3 | prefix >> 5, (prefix & 31) << 3, key, crc16)`, 58 characters, the last of
which has two spare bits. The checksum is CRC-16/XMODEM, little-endian, of all preceding bytes.
(Source: github.com/nats-io/nkeys, strkey.go.)

Decoding is strict, so that a key has exactly one string: upper case only, no white space, no
padding, exact length, zero spare bits, correct checksum. The `nkeys` package on PyPI does not check
a seed's checksum, so that a mistyped seed yields another, valid key; therefore this module checks
seeds before `nkeys` gets them.
"""

from __future__ import annotations

import binascii
from enum import IntEnum
from typing import Final, NoReturn, Protocol

import nkeys

from xkeymsg.display import SafeRepr, cut
from xkeymsg.errors import KeyFormatError
from xkeymsg.refusals import refusing
from xkeymsg.text import may_be_secret

__all__ = (
    "ALPHABET",
    "Prefix",
    "Signer",
    "SigningKey",
    "UserKey",
    "decode_public",
    "decode_seed",
    "encode_public",
    "encode_seed",
    "is_public",
    "is_seed",
    "quoted_name",
)


ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Prefix(IntEnum):
    """The kind of a key: the first byte of its string, which determines the first letter."""

    ACCOUNT = 0
    OPERATOR = 14 << 3
    USER = 20 << 3
    CURVE = 23 << 3

    def __init__(self, byte: int) -> None:
        self.letter = ALPHABET[byte >> 3]
        """The first letter of a public key of this kind."""
        self.public = f"a public key {self.letter}…"
        """What to call one in an error."""


_SEED: Final = 18 << 3
_PUBLIC_LENGTH: Final = 56
_SEED_LENGTH: Final = 58

# `int(…, 32)` is the fastest base32 decoder of the standard library, by a factor of ten; its digits
# are 0-9 a-v. Every byte outside our alphabet becomes "!", which `int` refuses; the white
# space, signs and underscores that `int` accepts therefore do not get through.
_DIGITS: Final = b"0123456789abcdefghijklmnopqrstuv"
_TO_DIGITS: Final = bytes(
    _DIGITS[ALPHABET.index(chr(byte))] if chr(byte) in ALPHABET else ord("!") for byte in range(256)
)


def _decode(text: str, length: int, what: str) -> int:
    """Return the characters of `text` as one number, five bits each."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if len(text) != length:
        raise KeyFormatError(f"{what} has {length} characters, not {len(text)}")
    number = _number(text)
    if number is None:
        raise KeyFormatError(f"{what} must contain only A-Z and 2-7")
    return number


def _number(text: str) -> int | None:
    """Return base32 text as a number, or None: Python's exception would quote the text."""
    try:
        return int(text.encode("ascii").translate(_TO_DIGITS), 32)
    except ValueError:  # UnicodeEncodeError too
        return None


def is_seed(text: str) -> bool:
    """Return whether a text has the form of a seed, and must not be shown, whatever its use."""
    text = text.strip().upper()
    return len(text) == _SEED_LENGTH and text[0] == "S" and _number(text) is not None


def is_public(text: str) -> bool:
    """Return whether a text has the form of a public key, of any kind."""
    return len(text) == _PUBLIC_LENGTH and text[0] in "XUANO" and _number(text) is not None


def quoted_name(name: str) -> str:
    """Quote a name or public key for an error; show only its length if it could be a secret."""
    if may_be_secret(name) and not is_public(name):
        return f"a text of {len(name)} characters"
    return repr(cut(name))


def _check(body: bytes, what: str) -> bytes:
    """Verify the checksum of `body` and return the rest."""
    checked = body[:-2]
    if binascii.crc_hqx(checked, 0) != body[-2] | body[-1] << 8:
        raise KeyFormatError(f"the checksum of {what} is wrong: it was mistyped")
    return checked


def _encode(body: bytes, length: int) -> str:
    body += binascii.crc_hqx(body, 0).to_bytes(2, "little")
    number = int.from_bytes(body, "big") << (length * 5 - len(body) * 8)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(length * 5 - 5, -1, -5))


def decode_public(prefix: Prefix, text: str) -> bytes:
    """Decode a public key string of the kind `prefix` into its 32 bytes.

    Raises:
        KeyFormatError: If it is not the canonical string of such a key.
        TypeError: If `text` is not a str.
    """
    what = prefix.public
    if type(text) is str and len(text) != _PUBLIC_LENGTH and is_seed(text):
        raise KeyFormatError(f"expected {what}, not a secret seed: never share a seed")
    body = _check(_decode(text, _PUBLIC_LENGTH, what).to_bytes(35, "big"), what)
    if body[0] != prefix:
        raise KeyFormatError(f"{what} must begin with {prefix.letter}")
    return body[1:]


def encode_public(prefix: Prefix, raw: bytes) -> str:
    """Encode 32 bytes as a public key string."""
    return _encode(bytes([prefix]) + raw, _PUBLIC_LENGTH)


def decode_seed(prefix: Prefix, text: str) -> bytes:
    """Decode a seed string of the kind `prefix` into its 32 secret bytes.

    Raises:
        KeyFormatError: If it is not the canonical string of such a seed. The message reveals
            nothing of the text.
        TypeError: If `text` is not a str.
    """
    what = f"a seed S{prefix.letter}…"
    if type(text) is str and is_public(text):
        raise KeyFormatError(f"expected {what}, not a public key")
    number = _decode(text, _SEED_LENGTH, what)
    if number & 3:
        raise KeyFormatError(f"the spare bits in the last character of {what} must be zero")
    body = _check((number >> 2).to_bytes(36, "big"), what)
    if body[:2] != bytes([_SEED | prefix >> 5, (prefix & 31) << 3]):
        raise KeyFormatError(f"{what} must begin with S{prefix.letter}")
    return body[2:]


def encode_seed(prefix: Prefix, raw: bytes) -> str:
    """Encode 32 secret bytes as a seed string."""
    return _encode(bytes([_SEED | prefix >> 5, (prefix & 31) << 3]) + raw, _SEED_LENGTH)


class Signer(Protocol):
    """An Ed25519 signer: a `UserKey`, a `SigningKey`, a key pair of `nkeys`, or a token."""

    @property
    def public_key(self) -> bytes:
        """The public key as ASCII."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the 64 bytes of the Ed25519 signature over `data`."""


class SigningKey(SafeRepr):
    """An Ed25519 nkey of an operator, an account or a user.

    It checks the seed strictly, and signs with the `nkeys` package.
    """

    __slots__ = ("_pair", "public")

    @refusing
    def __init__(self, seed: str, kind: Prefix) -> None:
        """Initialize from a seed `SO…`, `SA…` or `SU…`, and the expected kind of key.

        Raises:
            KeyFormatError: If it is not a seed of that kind.
        """
        decode_seed(kind, seed)
        self._pair = nkeys.from_seed(bytearray(seed, "ascii"))
        self.public = str(self._pair.public_key.decode("ascii"))
        """The public key, `O…`, `A…` or `U…`."""

    @property
    def public_key(self) -> bytes:
        """The public key as ASCII."""
        return self.public.encode()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.public}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")

    def sign(self, data: bytes) -> bytes:
        """Return the 64 bytes of the Ed25519 signature (RFC 8032) over `data`."""
        return bytes(self._pair.sign(data))


class UserKey(SigningKey):
    """A user's Ed25519 nkey, with which a program logs in to NATS."""

    __slots__ = ()

    @refusing
    def __init__(self, seed: str) -> None:
        """Initialize from a seed `SU…`.

        Raises:
            KeyFormatError: If it is not the seed of a user key.
        """
        super().__init__(seed, Prefix.USER)
