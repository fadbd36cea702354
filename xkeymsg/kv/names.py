"""Names of buckets and keys, and blinded names (docs/spec/kv.md, "Names", "Blinded names")."""

from __future__ import annotations

import base64
import re
from typing import Final

from xkeymsg import primitives
from xkeymsg.display import SafeRepr
from xkeymsg.errors import ConfigurationError, MalformedError, SubjectMismatchError

__all__ = ("NAME_KEY", "BlindNames", "check_bucket_name", "check_key", "check_pattern")

NAME_KEY: Final = "_xkm.names"
"""The key of the entry that holds the secret of blinded names."""

_RESERVED: Final = "_xkm"
_BUCKET: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_TOKEN: Final = re.compile(r"[-/_=a-zA-Z0-9]+")
_LABEL: Final = primitives.label(b"xkm1/kv-name")
_SIZE: Final = 16
"""Bytes of a blinded token; 22 characters of base64url."""


def check_bucket_name(name: str) -> str:
    """Return the name of a bucket, if it is valid.

    Raises:
        ConfigurationError: If it is not.
        TypeError: If it is not a str.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a bucket must be a str, not {type(name).__name__}")
    if not _BUCKET.fullmatch(name):
        raise ConfigurationError("invalid bucket name (allowed: letters, digits, '-' and '_')")
    return name


def check_key(key: str) -> str:
    """Return a key, if it is valid.

    Raises:
        MalformedError: If it is not, or is reserved (K-3, K-4).
        TypeError: If it is not a str.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key must be a str, not {type(key).__name__}")
    tokens = key.split(".")
    if not all(map(_TOKEN.fullmatch, tokens)):
        raise MalformedError(
            "invalid key (allowed: letters, digits, '-', '/', '_', '=', and '.' between them)"
        )
    if tokens[0] == _RESERVED:
        raise MalformedError(f"keys below {_RESERVED} are reserved")
    return key


def check_pattern(pattern: str) -> str:
    """Return a key or a pattern of keys, if it is valid.

    Raises:
        MalformedError: If it is not, or is reserved.
        TypeError: If it is not a str.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern must be a str, not {type(pattern).__name__}")
    tokens = pattern.split(".")
    fixed = [each for each in tokens[:-1] if each != "*"]
    fixed += [each for each in tokens[-1:] if each not in ("*", ">")]
    check_key(".".join(fixed or ["x"]))
    return pattern


class BlindNames(SafeRepr):
    """Maps keys to the names that the broker sees.

    Each token becomes a keyed hash of the key up to that token: equal tokens below different
    parents look different. A prefix stays a prefix, so that watching by prefix works.

    Args:
        secret: The 32 bytes of the bucket's secret of names.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) != primitives.KEY_SIZE:
            raise MalformedError("the secret of blinded names must have 32 bytes")
        self._secret = secret

    def blind(self, key: str) -> str:
        """Return the blinded name of a key."""
        tokens, path = [], ""
        for token in key.split("."):
            path = f"{path}.{token}" if path else token
            name = primitives.digest(_LABEL, path.encode(), key=self._secret, size=_SIZE)
            tokens.append(base64.urlsafe_b64encode(name).rstrip(b"=").decode())
        return ".".join(tokens)

    def blind_pattern(self, pattern: str) -> str:
        """Return the blinded form of a pattern: wildcards may only follow its other tokens.

        Raises:
            ConfigurationError: If a token follows a wildcard.
        """
        tokens = pattern.split(".")
        fixed = next((at for at, each in enumerate(tokens) if each in ("*", ">")), len(tokens))
        rest = tokens[fixed:]
        if any(each not in ("*", ">") for each in rest):
            raise ConfigurationError(
                "blinded names: in a pattern, only wildcards can follow a wildcard"
            )
        blinded = self.blind(".".join(tokens[:fixed])).split(".") if fixed else []
        return ".".join([*blinded, *rest])

    def check(self, key: str | None, name: str) -> str:
        """Return the sealed key of an entry, if its blinded name is the one on the wire (K-22).

        Raises:
            SubjectMismatchError: If it is not, or the entry has no sealed key.
            MalformedError: If the key is invalid (K-3).
        """
        if key is None or self.blind(key) != name:
            raise SubjectMismatchError("the sealed key is not the one of this blinded name")
        return check_key(key)
