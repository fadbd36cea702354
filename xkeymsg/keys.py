"""Curve keys ("xkeys"): X25519 keys in the string form of nkeys, `X…` public, `SX…` secret.

Every object here is immutable.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NoReturn

from xkeymsg import nkey, primitives
from xkeymsg.ambient import random_bytes
from xkeymsg.arguments import Immutable
from xkeymsg.errors import BadKeyError, ConfigurationError, KeyFormatError
from xkeymsg.refusals import refusing

__all__ = ("Keyring", "Recipient", "XKey", "XKeyPair", "decode_user")

_PAIR_KEYS: Final = 1024
"""Cached pair keys of a key pair (32 bytes each, plus the cache's overhead): a hostile sender that
changes its key with every message costs one X25519 each time, and no more memory."""


class XKey(Immutable):
    """A public curve key, of a recipient or a sender.

    `str()` returns its string `X…`, `bytes()` its 32 raw bytes. Keys are comparable and hashable,
    but not ordered. Immutable.
    """

    __slots__ = ("_raw",)
    _raw: bytes

    def __init__(self, raw: bytes) -> None:
        """Initialize from the 32 raw bytes.

        Raises:
            KeyFormatError: If they are not 32 bytes, not a canonical point, or a point of small
                order, with which everybody shares the same secret.
            TypeError: If `raw` is not bytes.
        """
        if type(raw) is not bytes:
            raise TypeError(f"a raw key must be bytes, not {type(raw).__name__}")
        if len(raw) != primitives.KEY_SIZE:
            raise KeyFormatError(f"a raw key has 32 bytes, not {len(raw)}")
        if not primitives.is_safe_point(raw):
            raise KeyFormatError("the key is not a canonical point, or is of small order")
        object.__setattr__(self, "_raw", raw)

    @classmethod
    @refusing
    def parse(cls, text: str) -> XKey:
        """Parse a public key string `X…`.

        Raises:
            KeyFormatError: If it is not the canonical string of a usable key: wrong length, prefix
                or checksum, lower case, white space, or a point of small order.
            TypeError: If `text` is not a str.
        """
        return cls(nkey.decode_public(nkey.Prefix.CURVE, text))

    @property
    def fingerprint(self) -> str:
        """Five groups of four characters, for comparing keys by voice.

        100 bits of a hash of the key: finding another key with the bits of a given one is
        infeasible. Two keys with equal bits take about 2^50 attempts, but one party makes both.
        """
        bits = (
            int.from_bytes(primitives.digest(b"xkm1/fingerprint", self._raw, size=16), "big") >> 28
        )
        text = "".join(nkey.ALPHABET[bits >> shift & 31] for shift in range(95, -1, -5))
        return "-".join(text[i : i + 4] for i in range(0, 20, 4))

    def __bytes__(self) -> bytes:
        return self._raw

    def __str__(self) -> str:
        return nkey.encode_public(nkey.Prefix.CURVE, self._raw)

    def __repr__(self) -> str:
        return f"XKey({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self._raw == other._raw if isinstance(other, XKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._raw)

    def __reduce__(self) -> tuple[type[XKey], tuple[bytes]]:
        return XKey, (self._raw,)


class XKeyPair(Immutable):
    """A secret curve key with its public key.

    Only `seed()` returns the secret: `repr`, `str`, errors and logs show the public key, and
    pickling and copying are refused. Pair keys of xkv1 are cached (bounded, thread-safe): while
    one is, messages between two keys cost no X25519. Python cannot wipe memory: see SECURITY.md.
    """

    __slots__ = ("_pair_key", "_secret", "public")

    @refusing
    def __init__(self, secret: bytes) -> None:
        """Initialize from the 32 secret bytes; use `generate` or `from_seed` instead.

        Raises:
            KeyFormatError: If they are not 32 bytes.
            TypeError: If `secret` is not bytes.
        """
        if type(secret) is not bytes:
            raise TypeError(f"a raw secret key must be bytes, not {type(secret).__name__}")
        if len(secret) != primitives.KEY_SIZE:
            raise KeyFormatError(f"a raw secret key has 32 bytes, not {len(secret)}")
        self._secret = secret
        self.public = XKey(primitives.x25519_public(secret))
        """The public key."""

        @lru_cache(maxsize=_PAIR_KEYS)
        def pair_key(peer: bytes) -> bytes:
            return primitives.box_pair_key(peer, secret)

        self._pair_key = pair_key

    @classmethod
    def generate(cls) -> XKeyPair:
        """Generate a pair from the operating system's randomness."""
        return cls(random_bytes(primitives.KEY_SIZE))

    @classmethod
    @refusing
    def from_seed(cls, seed: str) -> XKeyPair:
        """Parse a seed string `SX…`.

        Raises:
            KeyFormatError: If it is not the canonical string of a seed. The message reveals nothing
                of it.
            TypeError: If `seed` is not a str.
        """
        return cls(nkey.decode_seed(nkey.Prefix.CURVE, seed))

    def seed(self) -> str:
        """Return the secret as a seed string `SX…`; nothing else exports it."""
        return nkey.encode_seed(nkey.Prefix.CURVE, self._secret)

    def _dh(self, peer: XKey) -> bytes | None:
        """Return the X25519 shared secret with `peer` (32 bytes), or None if it is all zeros.

        For key derivation inside this package: never use it as a key directly.
        """
        return primitives.x25519(self._secret, bytes(peer))

    def derive(self, label: bytes) -> bytes:
        """Derive 32 secret bytes for another purpose, such as unguessable names.

        They are derived from the pair's shared secret with itself, so that a key that only computes
        X25519 (a token) can derive them too. They reveal nothing about the secret, nor about the
        bytes of another label.

        Args:
            label: A name unique to the purpose, at most 16 bytes and not ending in NUL: labels are
                padded with NUL, so that others would collide.

        Raises:
            ConfigurationError: If the label is too long, or ends in NUL.
            BadKeyError: If the shared secret is all zeros, which no sound key yields.
            TypeError: If the label is not bytes.
        """
        if type(label) is not bytes:
            raise TypeError(f"a label must be bytes, not {type(label).__name__}")
        if len(label) > primitives.LABEL_SIZE or label.endswith(b"\0"):
            raise ConfigurationError("a label must have at most 16 bytes, and not end in NUL")
        shared = self._dh(self.public)
        if shared is None:
            raise BadKeyError("a shared secret is all zeros")
        return primitives.digest(primitives.label(label), b"", key=shared, size=32)

    def __repr__(self) -> str:
        return f"<XKeyPair {self.public}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret key cannot be pickled or copied")


def decode_user(text: str) -> bytes:
    """Decode a public user key `U…`; the all-zero key is reserved and refused.

    32 zero bytes mean a key without a user. If they could be certified as a user's key together
    with another user's xkey, the holder of that xkey could open messages meant for this user.

    Raises:
        KeyFormatError: If it is not a public user key, or is the all-zero key.
        TypeError: If it is not a str.
    """
    raw = nkey.decode_public(nkey.Prefix.USER, text)
    if not any(raw):
        raise KeyFormatError("a user key of zeros is reserved: it means no user")
    return raw


class Recipient(Immutable):
    """A public key, and the user for which it was resolved.

    The user's nkey is mixed into the keys of the envelope (spec, "Pair keys"): a message for user M
    under a key that M has certified does not open as a message for another user with that key.
    """

    __slots__ = ("_hash", "key", "user")

    @refusing
    def __init__(self, key: XKey, user: str | None = None) -> None:
        """Initialize with a key, and the user's public nkey `U…` if a directory lists one.

        Raises:
            KeyFormatError: If `user` is not a public user key.
            TypeError: If `key` is not an XKey.
        """
        if not isinstance(key, XKey):
            raise TypeError(f"a recipient's key must be an XKey, not {type(key).__name__}")
        self.key = key
        self.user = bytes(32) if user is None else decode_user(user)
        """The raw user key, or 32 zero bytes for a key without one."""
        self._hash = hash((bytes(key), self.user))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recipient):
            return NotImplemented
        return self.key == other.key and self.user == other.user

    def __hash__(self) -> int:
        return self._hash

    def _user_text(self) -> str | None:
        return nkey.encode_public(nkey.Prefix.USER, self.user) if any(self.user) else None

    def __repr__(self) -> str:
        return f"Recipient({self.key!r}, user={self._user_text()!r})"

    def __reduce__(self) -> tuple[type[Recipient], tuple[XKey, str | None]]:
        return Recipient, (self.key, self._user_text())


class Keyring(Immutable):
    """A reader's keys: the active one, and retired ones that still open older messages."""

    __slots__ = ("accept_unbound", "active", "retired", "user")

    @refusing
    def __init__(
        self,
        active: XKeyPair,
        *,
        retired: Iterable[XKeyPair] = (),
        user: str | None = None,
        accept_unbound: bool = True,
    ) -> None:
        """Initialize with the keys and their user.

        Args:
            active: The key that senders should use.
            retired: Earlier keys, newest first.
            user: The public nkey `U…` under which a directory lists the keys.
            accept_unbound: Whether, if a user is set, to also open messages sealed to the bare key.

        Raises:
            KeyFormatError: If `user` is not a public user key.
            TypeError: If a key is not an XKeyPair.
        """
        self.active = active
        self.retired = tuple(retired)
        for pair in (active, *self.retired):
            if not isinstance(pair, XKeyPair):
                kind = type(pair).__name__
                raise TypeError(f"a key of a keyring must be an XKeyPair, not {kind}")
        self.user = None if user is None else decode_user(user)
        self.accept_unbound = accept_unbound

    @classmethod
    def of(cls, keys: XKeyPair | Keyring) -> Keyring:
        """Return a keyring as it is, and a key pair as a keyring without retired keys.

        Raises:
            TypeError: If it is neither.
        """
        return keys if isinstance(keys, Keyring) else cls(keys)

    @property
    def combinations(self) -> tuple[tuple[XKeyPair, bytes], ...]:
        """Each own key with each user that it may be addressed under, in trial order."""
        users = [] if self.user is None else [self.user]
        if self.user is None or self.accept_unbound:
            users.append(bytes(32))
        return tuple((pair, user) for pair in (self.active, *self.retired) for user in users)

    def __repr__(self) -> str:
        return f"<Keyring {self.active.public} and {len(self.retired)} retired>"
